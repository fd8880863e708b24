"""C. Guessing the PIN. (C04 and C05, many at once: tests/races.)"""

from __future__ import annotations

import re
from http import HTTPStatus

import pytest
from django.core import mail

from django_verigator.addresses import client_address
from django_verigator.models import Challenge, Counter, VerigatorUser

from .actors import HOME, LOGIN, PENDING, PIN, RECOVERY, RESEND, STEP_2
from .conftest import BOTH, each_store

PROVIDERS = BOTH
LOCKED = "Signing in is locked for a while."
STOPPED = "Set a new password, or ask our support"


def guess(site, browser, number, start=0):
    """So many wrong PINs; returns the last page."""
    return [browser.give_pin(site.wrong(start + each)) for each in range(number)][-1].content.decode()


@pytest.mark.threat("C01")
def test_five_wrong_pins_end_a_code(site, alice):
    browser = site.pending(alice)
    assert "Too many tries with this PIN" in guess(site, browser, 6)
    assert "Too many tries with this PIN" in browser.give_pin(site.pin(alice)).content.decode()
    assert browser.is_nobody()
    assert site.tries() == 5


@pytest.mark.threat("C02")
def test_a_new_code_brings_no_new_tries_for_the_user(site, alice):
    site.configure(PIN_LENGTH=6)
    browser = site.pending(alice)
    for _ in range(4):
        guess(site, browser, 4)
        site.wait(130)
        browser.resend()
    assert LOCKED in browser.give_pin(site.pin(alice)).content.decode()
    assert browser.is_nobody()
    assert site.tries() == 10


@pytest.mark.threat("C03")
def test_a_new_login_brings_no_new_tries(site, alice):
    site.configure(PIN_LENGTH=6)
    for _ in range(4):
        browser = site.pending(alice)
        guess(site, browser, 4)
        browser.post("/accounts/verify/cancel/")
    browser = site.pending(alice)
    assert LOCKED in browser.give_pin(site.pin(alice)).content.decode()
    assert browser.is_nobody()
    assert site.tries() == 10


@pytest.mark.threat("C06")
@pytest.mark.parametrize("proxies", [(), ("10.0.0.0/8",)], ids=["spoofed", "through a trusted proxy"])
def test_other_addresses_bring_no_new_tries(site, alice, proxies):
    site.configure(TRUSTED_PROXIES=proxies, PIN_LENGTH=6)
    site.room()
    for number in range(15):
        browser = site.pending(alice, REMOTE_ADDR="10.0.0.1", HTTP_X_FORWARDED_FOR=f"9.9.{number}.9")
        browser.give_pin(site.wrong(number))
    assert {challenge.ip for challenge in Challenge.objects.all()} == (
        {f"9.9.{number}.9" for number in range(15)} if proxies else {"10.0.0.1"}
    )
    assert LOCKED in browser.give_pin(site.pin(alice)).content.decode()
    assert site.tries() == 10


@pytest.mark.threat("C07")
def test_one_address_cannot_guess_at_many_accounts(site):
    site.configure(LIMITS={"TRIES_PER_ADDRESS_HOUR": 6})
    pages = []
    for number in range(9):
        user = site.user(f"user{number}", f"+3725551{number}001")
        browser = site.pending(user, REMOTE_ADDR="9.9.9.9", HTTP_X_FORWARDED_FOR=f"8.8.8.{number}")
        pages.append(guess(site, browser, 1))
    assert [LOCKED in page for page in pages] == [False] * 6 + [True] * 3
    assert site.tries() == 6
    # Somebody at home is not kept out by it.
    elsewhere = site.pending(user, REMOTE_ADDR="7.7.7.7")
    assert elsewhere.give_pin(site.pin(user))["Location"] == HOME


@pytest.mark.threat("C07")
@pytest.mark.parametrize(
    ("remote", "forwarded", "found"),
    [
        ("10.0.0.1", "6.6.6.6, 9.9.9.9, 10.0.0.2", "9.9.9.9"),
        ("10.0.0.1", "9.9.9.9:51234", "9.9.9.9"),
        ("10.0.0.1", "[2001:4860:4860::8888]:443", "2001:4860:4860::8888"),
        ("::ffff:10.0.0.1", "9.9.9.9", "9.9.9.9"),
        ("10.0.0.1", "::ffff:9.9.9.9", "9.9.9.9"),
        ("10.0.0.1", "10.3.3.3", "10.3.3.3"),  # a visitor within the network
        ("", "9.9.9.9", "9.9.9.9"),  # a Unix socket
        ("10.0.0.1", "", None),
        ("10.0.0.1", "unknown", None),
        ("10.0.0.1", "9.9.9.9, unknown", None),
        ("8.8.8.8", "9.9.9.9", "8.8.8.8"),
    ],
)
def test_visitors_are_not_counted_as_their_proxy(rf, settings, remote, forwarded, found):
    settings.VERIGATOR = {**settings.VERIGATOR, "TRUSTED_PROXIES": ["10.0.0.0/8"]}
    header = {"HTTP_X_FORWARDED_FOR": forwarded} if forwarded else {}
    assert client_address(rf.get("/", REMOTE_ADDR=remote, **header)) == found


@pytest.mark.threat("C07", "C06")
def test_a_socket_without_address_brings_no_spoofed_one(rf, settings):
    settings.VERIGATOR = {**settings.VERIGATOR, "TRUSTED_PROXIES": []}
    assert client_address(rf.get("/", REMOTE_ADDR="", HTTP_X_FORWARDED_FOR="9.9.9.9")) is None


@pytest.mark.threat("C07")
def test_visitors_whom_the_proxy_does_not_name_share_no_counter(site):
    site.configure(TRUSTED_PROXIES=["10.0.0.0/8"], LIMITS={"TRIES_PER_ADDRESS_HOUR": 2})
    for number in range(4):
        user = site.user(f"user{number}", f"+3725551{number}001")
        browser = site.pending(user, REMOTE_ADDR="10.0.0.1", HTTP_X_FORWARDED_FOR="unknown")
        guess(site, browser, 1)
    assert browser.give_pin(site.pin(user))["Location"] == HOME


@pytest.mark.threat("C07")
def test_addresses_of_one_network_count_as_one(site):
    site.configure(LIMITS={"TRIES_PER_ADDRESS_HOUR": 3})
    for number in range(5):
        user = site.user(f"user{number}", f"+3725551{number}001")
        browser = site.pending(user, REMOTE_ADDR=f"2001:4860:4860::{number:x}")
        page = guess(site, browser, 1)
    assert LOCKED in page
    assert site.tries() == 3


@pytest.mark.threat("C09")
def test_many_pins_in_one_post_are_one_try_at_most(site, alice):
    browser = site.pending(alice)
    pins = [site.wrong(number) for number in range(50)]
    browser.post(PIN, {"pin": [*pins, site.wrong(77)]})
    assert site.tries() == 1
    for data in ({"pin[]": pins}, {"pin": "1" * 10_000}, {"pin": ",".join(pins)}, {"pin": str(pins)}):
        browser.post(PIN, data)
    browser.post(PIN, pins, content_type="application/json")
    browser.post(PIN, {"pin": pins}, content_type="application/json")
    browser.post(PIN, b"pin=" + b"&pin=".join(pin.encode() for pin in pins), content_type="text/plain")
    assert site.tries() == 1
    assert browser.is_nobody()


@pytest.mark.threat("C10")
def test_sending_is_limited_where_checking_is_not_and_the_other_way_round(site, alice, bob):
    site.configure(LIMITS={"TRIES_PER_USER_HOUR": 100, "TRIES_PER_USER_DAY": 100})
    for _ in range(8):
        site.pending(alice)
    assert site.sends(alice) == 5
    site.room(TRIES_PER_USER_HOUR=3)
    browser = site.pending(bob)
    guess(site, browser, 5)
    assert site.tries(bob) == 3


@pytest.mark.threat("C11")
def test_recovery_codes_and_pins_share_one_budget(site, alice):
    site.configure(PIN_LENGTH=6)
    browser = site.logged_in(alice)
    codes = site.codes(alice, browser)
    guesser = site.pending(alice)
    for number in range(7):
        assert "not one of your unused" in guesser.give_code(f"0000-0000-0000-{number:04}").content.decode()
    guess(site, guesser, 3)
    assert LOCKED in guesser.give_pin(site.pin(alice)).content.decode()
    assert LOCKED in guesser.give_code(codes[0]).content.decode()
    assert guesser.is_nobody()
    assert site.tries(alice) == 1 + 3


@pytest.mark.threat("C12")
@each_store
def test_no_cookie_brings_tries_back(site, alice):
    """What is counted is neither in the session nor in a cookie: throwing them away, or going back, is vain."""
    site.room()
    browser = site.pending(alice)
    early = browser.copy()
    for number in range(7):
        rolled_back = early.copy()
        rolled_back.give_pin(site.wrong(number))
    assert site.tries() == 5
    for number in range(7):
        fresh = site.browser()
        fresh.give_password(alice)
        fresh.cookies.pop("sessionid", None)
        fresh.give_pin(site.wrong(10 + number))
    assert site.tries() == 10
    assert fresh.is_nobody()


@pytest.mark.threat("C13", "R26")
def test_a_restart_or_an_empty_cache_brings_no_tries(site, alice):
    browser = site.pending(alice)
    for number in range(8):
        browser.give_pin(site.wrong(number))
        site.clear_caches()
    assert site.tries() == 5
    browser = site.pending(alice)
    for number in range(8):
        browser.give_pin(site.wrong(number))
        site.clear_caches()
    assert site.tries() == 10


@pytest.mark.threat("C14")
@pytest.mark.parametrize(("pin_length", "stop"), [(4, 10), (6, 100)])
def test_patience_ends_at_the_hard_stop(site, alice, pin_length, stop):
    site.configure(PIN_LENGTH=pin_length, TRUSTED_BROWSER_DAYS=90)
    trusted = site.logged_in(alice, trust="on")
    trusted.post("/plain/logout/")
    before = site.tries()
    for _ in range(stop // 10 + 3):
        site.wait(12 * 3600 + 1)
        for _ in range(2):
            browser = site.pending(alice)
            page = guess(site, browser, 5)
    assert site.tries() - before == stop
    assert STOPPED in page
    assert STOPPED in browser.give_pin(site.pin(alice)).content.decode()
    assert browser.is_nobody()
    # Her own browser still lets Alice in, and the stop ends with another password.
    assert trusted.give_password(alice)["Location"] == HOME
    alice.set_password("n3w horse!")
    alice.save()
    site.person(alice).password = "n3w horse!"
    site.wait(24 * 3600)
    browser = site.pending(alice)
    assert browser.give_pin(site.pin(alice))["Location"] == HOME


@pytest.mark.threat("C14")
def test_support_ends_the_hard_stop(site, alice, staff):
    made_with = alice.get_session_auth_hash()
    VerigatorUser.objects.filter(user=alice).update(consecutive_failures=10, failures_auth_hash=made_with)
    desk = site.logged_in(staff)
    browser = site.pending(alice)
    assert STOPPED in browser.get(PIN).content.decode()
    assert site.sends(alice) == 0
    data = {"action": "unlock", "_selected_action": [site.link(alice).pk]}
    desk.post("/admin/django_verigator/verigatoruser/", data)
    browser.resend()
    assert browser.give_pin(site.pin(alice))["Location"] == HOME


@pytest.mark.threat("C15")
def test_without_the_password_nobody_is_locked_out(site, alice, mallory):
    real = site.pending(alice)
    for number in range(60):
        mallory.cookies[PENDING] = f"{number}:1wAbCd:{'x' * 43}"
        for url in (PIN, RECOVERY):
            assert mallory.post(url, {"pin": site.wrong(), "code": "0", "username": "alice"})["Location"] == LOGIN
        mallory.give_password(alice, "a guess")
    assert site.tries() == 0
    assert not Counter.objects.filter(scope__startswith="tries/", count__gt=0).exists()
    assert real.give_pin(site.pin(alice))["Location"] == HOME


def without_tokens(response):
    return re.sub(r'value="\w{64}"', "", response.content.decode())


@pytest.mark.threat("C16", "F12")
@pytest.mark.parametrize(("pin_length", "text"), [(6, LOCKED), (4, STOPPED)])
def test_a_locked_user_gets_one_answer_whatever_was_typed(site, alice, pin_length, text):
    site.configure(PIN_LENGTH=pin_length)
    codes = site.codes(alice, site.logged_in(alice))
    browser = site.pending(alice)
    guess(site, browser, 5)
    browser = site.pending(alice)
    guess(site, browser, 5)
    before = site.tries()
    browser = site.pending(alice)
    answers = [browser.give_pin(pin) for pin in (site.wrong(), site.pin(alice), site.wrong(1))]
    assert [response.status_code for response in answers] == [HTTPStatus.OK] * 3
    assert len({without_tokens(response) for response in answers}) == 1
    assert text in without_tokens(answers[0])
    by_code = [browser.give_code(code) for code in ("0000-0000-0000-0000", codes[0])]
    assert len({without_tokens(response) for response in by_code}) == 1
    assert text in without_tokens(by_code[0])
    assert site.tries() == before
    assert browser.is_nobody()


@pytest.mark.threat("C16")
@pytest.mark.parametrize(("pin_length", "text"), [(6, LOCKED), (4, STOPPED)])
def test_a_locked_user_is_told_at_once_and_gets_no_text_that_is_of_no_use(site, alice, pin_length, text):
    site.configure(PIN_LENGTH=pin_length)
    for _ in range(2):
        page = guess(site, site.pending(alice), 5)
    assert text in page
    sent = site.sends(alice)
    browser = site.pending(alice)
    assert text in browser.page
    assert RESEND not in browser.page
    assert text in browser.resend().content.decode()
    assert site.sends(alice) == sent
    site.wait(3601)
    assert (RESEND in site.pending(alice).page) is (text == LOCKED)


@pytest.mark.threat("C17")
def test_a_burst_is_told_once_to_the_user_the_log_and_the_site(site, alice, heard):
    for _ in range(3):
        guess(site, site.pending(alice), 5)
    assert [event for event, _ in heard].count("locked") == 1
    assert [event for event, _ in heard].count("verification_failed") == 10
    assert len(mail.outbox) == 1
    assert mail.outbox[0].to == ["alice@example.com"]
    assert len([line for line in site.oracle.transcript.lines if "django_verigator locked user=" in line]) == 1


@pytest.mark.threat("C15")
def test_each_page_of_step_two_needs_the_password_first(site, alice, mallory):
    for url in STEP_2:
        assert mallory.post(url, {"username": "alice"})["Location"] == LOGIN
    assert site.sends() == 0
