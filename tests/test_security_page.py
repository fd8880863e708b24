"""The user's own page: a new phone, recovery codes, trusted browsers; and what support does."""

from __future__ import annotations

import re
from contextlib import nullcontext
from datetime import date, datetime, timedelta
from http import HTTPStatus
from types import SimpleNamespace

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth import SESSION_KEY
from django.contrib.auth.models import Group, Permission
from django.core.management import CommandError, call_command
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone, translation

from django_verigator import signals
from django_verigator.addresses import rate_limit_key
from django_verigator.backends import backends, locmem
from django_verigator.exceptions import ConnectionFailedError
from django_verigator.flows import browsers, notices, recovery
from django_verigator.flows.browsers import cookie_name
from django_verigator.flows.notices import send_notice
from django_verigator.flows.session import PROOF_KEY
from django_verigator.models import (
    Challenge,
    Counter,
    PhoneChange,
    RecoveryCode,
    RemoteDeletion,
    TrustedBrowser,
    VerigatorUser,
)
from django_verigator.records import links
from django_verigator.testing import login_verified
from tests.site.models import User

from .conftest import PASSWORD, PHONE, WRONG_PIN, give_password, sent_pin

pytestmark = pytest.mark.usefixtures("pins")
PIN_PAGE = "/accounts/verify/"
RECOVERY = "/accounts/verify/recovery/"
SECURITY = "/accounts/security/"
CHANGE = "/accounts/security/phone/"
CONFIRM = "/accounts/security/phone/confirm/"
CODES = "/accounts/security/recovery-codes/"
BROWSERS = "/accounts/security/browsers/"
NUMBER = "+37255500099"


@pytest.fixture
def use(settings):
    def change(**keys):
        settings.VERIGATOR = {**settings.VERIGATOR, **keys}

    return change


@pytest.fixture
def commit(django_capture_on_commit_callbacks):
    return django_capture_on_commit_callbacks


def proof_is_old(client: Client) -> None:
    session = client.session
    session[PROOF_KEY] = {**session[PROOF_KEY], "at": 0}
    session.save()


def log_in(client: Client, **extra: str) -> Client:
    give_password(client)
    assert client.post(PIN_PAGE, {"pin": sent_pin(), **extra}).status_code == HTTPStatus.FOUND
    return client


# --- the page ---------------------------------------------------------------------------------------------------------


def test_security_page__shows_the_masked_phone_and_the_last_sign_ins(alice, browser):
    log_in(browser)
    page = browser.get(SECURITY).content.decode()
    assert "••• 67" in page
    assert PHONE not in page
    assert "verified" in page
    assert "no-store" in browser.get(SECURITY)["Cache-Control"]


def history(client: Client) -> list[str]:
    """The lines of "Recent activity", without markup."""
    section = client.get(SECURITY).content.decode().partition("Recent activity")[2]
    lines = re.findall(r"<li>(.*?)</li>", section, re.DOTALL)
    return [re.sub(r"<br>", " · ", line).replace('<span class="vg-hint">', "").replace("</span>", "") for line in lines]


def test_recent_activity__says_how_it_was_proved(alice, browser):
    code = recovery.renew(alice)[0]
    give_password(browser)
    browser.post(RECOVERY, {"code": code})
    assert history(browser)[0].startswith("verified · ")
    assert " · login · recovery code · " in history(browser)[0]
    log_in(Client())
    assert " · login · SMS · " in history(browser)[0]
    for method, channel, words in (("call", "", "call"), ("whatsapp", "", "WhatsApp"), ("sms", "viber", "Viber")):
        Challenge.objects.filter(method="sms").update(method=method, delivery_channel=channel)
        assert f" · login · {words} · " in history(browser)[0]
        Challenge.objects.filter(method=method).update(method="sms")


def test_recent_activity__tells_a_replaced_pin_and_a_single_failed_try(alice, browser):
    give_password(Client())
    thief = Client()
    give_password(thief)
    thief.post(PIN_PAGE, {"pin": WRONG_PIN})
    log_in(browser)
    newest, tried, first = history(browser)
    assert newest.startswith("verified · ")
    assert tried.startswith("replaced by a newer PIN, 1 try · ")
    assert first.startswith("replaced by a newer PIN · ")


def test_recent_activity__cannot_be_flooded_with_rows_that_say_nothing(alice, browser):
    log_in(browser)
    for number in range(20):
        Challenge.objects.create(user=alice, nonce_digest=str(number), outcome=Challenge.Outcome.REFUSED)
    assert [line.partition(" · ")[0] for line in history(browser)] == ["verified"]


def test_recovery_code_where_nothing_was_sent__is_recent_activity(alice, browser):
    code = recovery.renew(alice)[0]
    browser.force_login(alice)  # caught: nothing is sent by itself
    browser.get("/verified/")
    browser.post(RECOVERY, {"code": code})
    assert not Challenge.objects.exclude(sent_at=None).exists()
    assert "recovery code" in history(browser)[0]


@pytest.mark.parametrize(
    ("language", "shown"),
    [("en", "Nov. 21, 2026, 1:17 p.m. ·"), ("de", "21. November 2026, 13:17 ·"), ("et", "21. november 2026, 13:17 ·")],
)
def test_times__are_written_as_the_language_writes_them(alice, browser, settings, language, shown):
    settings.LANGUAGE_CODE = language
    log_in(browser)
    Challenge.objects.update(created_at=datetime(2026, 11, 21, 13, 17, tzinfo=timezone.get_default_timezone()))
    assert shown in browser.get(SECURITY).content.decode()


@pytest.mark.threat("A14")
def test_pending_login__reaches_none_of_the_account_pages(alice, browser):
    give_password(browser)
    for url in (SECURITY, CHANGE, CODES, BROWSERS):
        assert browser.get(url)["Location"].startswith("/accounts/login/")
        assert browser.post(url, {"phone": NUMBER, "password": PASSWORD})["Location"].startswith("/accounts/login/")
    assert not PhoneChange.objects.exists()
    assert not RecoveryCode.objects.exists()


def test_user_without_a_phone__is_offered_to_add_one(carol, browser):
    browser.force_login(carol)
    assert "/accounts/enrol/?next=/accounts/security/" in browser.get(SECURITY).content.decode()
    assert browser.get(CHANGE)["Location"].startswith("/accounts/enrol/")


# --- the phone --------------------------------------------------------------------------------------------------------


def test_new_phone__counts_after_its_pin_and_ends_everything_else(alice, browser, mailoutbox, use, commit):
    use(TRUSTED_BROWSER_DAYS=30)
    alice.email = "alice@example.com"
    alice.save()
    other = log_in(Client(), trust="on")
    log_in(browser)
    assert browser.post(CHANGE, {"phone": "+372 5550 0099", "password": PASSWORD})["Location"] == CONFIRM
    assert locmem.outbox[-1].to == NUMBER
    assert VerigatorUser.objects.get(user=alice).phone_number == PHONE
    assert "ending in <b>99</b>" in browser.get(CONFIRM).content.decode()

    old = VerigatorUser.objects.get(user=alice)
    with commit(execute=True):
        assert browser.post(CONFIRM, {"pin": sent_pin()})["Location"] == SECURITY
    link = VerigatorUser.objects.get(user=alice)
    assert (link.phone_number, link.state) == (NUMBER, "registered")
    assert [row.verigator_id for row in RemoteDeletion.objects.all()] == [old.verigator_id]
    assert browser.get("/verified/").status_code == HTTPStatus.OK
    assert other.get("/recent/")["Location"].startswith("/accounts/login/")
    assert give_password(other)["Location"] == PIN_PAGE, "its trust has ended as well"
    assert [mail.subject for mail in mailoutbox] == ["The phone of your account was changed"]
    assert NUMBER not in mailoutbox[0].body


@pytest.mark.threat("J01")
@pytest.mark.parametrize("password", ["", "wrong"])
def test_new_phone__needs_the_password(alice, browser, password):
    log_in(browser)
    sent = len(locmem.outbox)
    assert browser.post(CHANGE, {"phone": NUMBER, "password": password}).status_code == HTTPStatus.OK
    assert len(locmem.outbox) == sent
    assert not PhoneChange.objects.exists()


@pytest.mark.threat("J01")
def test_new_phone__needs_a_fresh_proof_of_the_old_one(alice, browser):
    log_in(browser)
    proof_is_old(browser)
    assert browser.post(CHANGE, {"phone": NUMBER, "password": PASSWORD})["Location"] == PIN_PAGE
    assert not PhoneChange.objects.exists()
    Challenge.objects.update(resend_at=None)
    browser.post("/accounts/verify/resend/")
    assert locmem.outbox[-1].to == PHONE
    browser.post(PIN_PAGE, {"pin": sent_pin()})
    assert browser.post(CHANGE, {"phone": NUMBER, "password": PASSWORD})["Location"] == CONFIRM


@pytest.mark.threat("J02")
def test_unconfirmed_phone__gets_no_login_codes(alice, browser):
    log_in(browser)
    browser.post(CHANGE, {"phone": NUMBER, "password": PASSWORD})
    give_password(Client())
    assert locmem.outbox[-1].to == PHONE


@pytest.mark.threat("D07")
def test_pin_of_a_new_phone__is_no_login_and_back(alice, browser):
    log_in(browser)
    browser.post(CHANGE, {"phone": NUMBER, "password": PASSWORD})
    pin_of_the_change = sent_pin()
    thief = Client()
    thief.cookies["verigator_token_sessionid"] = browser.cookies["verigator_token_sessionid"].value
    assert thief.post(PIN_PAGE, {"pin": pin_of_the_change})["Location"] == "/accounts/login/"
    assert SESSION_KEY not in thief.session
    assert VerigatorUser.objects.get(user=alice).phone_number == PHONE


@pytest.mark.threat("J03")
def test_somebody_else_s_change__is_out_of_reach(alice, carol, browser):
    log_in(browser)
    browser.post(CHANGE, {"phone": NUMBER, "password": PASSWORD})
    bob = Client()
    bob.force_login(carol)
    bob.cookies["verigator_token_sessionid"] = browser.cookies["verigator_token_sessionid"].value
    assert bob.post(CONFIRM, {"pin": sent_pin()})["Location"] == "/private/"
    assert VerigatorUser.objects.get(user=alice).phone_number == PHONE
    assert VerigatorUser.objects.get(user=carol).phone_number == ""


@pytest.mark.threat("E06")
def test_new_phones__are_bounded_by_minute_and_day(alice, browser):
    log_in(browser)
    assert browser.post(CHANGE, {"phone": "+37255500090", "password": PASSWORD}).status_code == HTTPStatus.FOUND
    page = browser.post(CHANGE, {"phone": "+37255500091", "password": PASSWORD})
    assert "Too many new numbers" in page.content.decode()
    for number in range(2, 6):
        Counter.objects.filter(scope="changes/user/minute").update(expires_at=timezone.now())
        browser.post(CHANGE, {"phone": f"+3725550009{number}", "password": PASSWORD})
    assert len({message.to for message in locmem.outbox} - {PHONE}) == 3


def test_new_phone__that_is_the_old_one_is_refused(alice, browser):
    log_in(browser)
    assert (
        "This is your number already." in browser.post(CHANGE, {"phone": PHONE, "password": PASSWORD}).content.decode()
    )


# --- recovery codes ---------------------------------------------------------------------------------------------------


def make_codes(client: Client) -> list[str]:
    response = client.post(CODES, {"password": PASSWORD})
    return list(response.context["codes"])


def test_recovery_codes__are_shown_once_and_let_in_once_when_nothing_can_be_sent(
    alice, browser, monkeypatch, mailoutbox, commit
):
    alice.email = "alice@example.com"
    alice.save()
    log_in(browser)
    codes = make_codes(browser)
    assert len(set(codes)) == 10
    assert codes[0] not in browser.get(CODES).content.decode()
    assert "10 unused codes are left" in browser.get(SECURITY).content.decode()

    def down(*args, **kwargs):
        raise ConnectionFailedError(sent=False)

    monkeypatch.setattr(backends.default, "start", down)
    client = Client()
    give_password(client, next="/verified/")
    assert "Use a recovery code" in client.get(PIN_PAGE).content.decode()
    with commit(execute=True):
        assert client.post(RECOVERY, {"code": codes[0]})["Location"] == "/verified/"
    assert client.get("/verified/").status_code == HTTPStatus.OK
    assert client.get("/recent/").status_code == HTTPStatus.OK, "a real proof, also for max_age"
    assert "Unused codes left: 9." in mailoutbox[0].body

    again = Client()
    give_password(again)
    assert "not one of your unused" in again.post(RECOVERY, {"code": codes[0]}).content.decode()
    assert SESSION_KEY not in again.session


@pytest.mark.threat("K06")
@pytest.mark.parametrize(
    "typed",
    [
        str.lower,
        lambda code: code.replace("-", " "),
        lambda code: f" {code} ".replace("-", ""),
        lambda code: code.replace("0", "O").replace("1", "l"),
    ],
)
def test_recovery_code__is_forgiven_its_form(alice, browser, typed):
    code = recovery.renew(alice)[0]
    give_password(browser)
    assert browser.post(RECOVERY, {"code": typed(code)})["Location"] == "/private/"


@pytest.mark.parametrize("code", ["", "x", "0000-0000-0000-0000", "ÄÖÜ" * 6, "1" * 5000, "\x00" * 16])
def test_recovery_code__that_is_none_is_refused(alice, browser, code):
    recovery.renew(alice)
    give_password(browser)
    assert browser.post(RECOVERY, {"code": code}).status_code == HTTPStatus.OK
    assert SESSION_KEY not in browser.session


@pytest.mark.threat("K03")
def test_old_set_and_somebody_else_s_code__are_refused(alice, carol, browser):
    old, strange = recovery.renew(alice), recovery.renew(carol)
    recovery.renew(alice)
    give_password(browser)
    for code in (old[0], strange[0]):
        assert "not one of your unused" in browser.post(RECOVERY, {"code": code}).content.decode()


@pytest.mark.threat("K02")
def test_recovery_codes__are_stored_as_digests_and_outlive_a_rotated_key(alice, browser, settings):
    code = recovery.renew(alice)[0]
    stored = str(list(RecoveryCode.objects.values()))
    assert code not in stored
    assert recovery.normalise(code) not in stored
    settings.SECRET_KEY_FALLBACKS = [settings.SECRET_KEY]
    settings.SECRET_KEY = "another"
    give_password(browser)
    assert browser.post(RECOVERY, {"code": code})["Location"] == "/private/"


@pytest.mark.threat("C11")
def test_recovery_codes__share_the_budget_of_the_pin(alice, browser, use):
    use(LIMITS={"TRIES_PER_USER_HOUR": 3})
    code = recovery.renew(alice)[0]
    give_password(browser)
    browser.post(PIN_PAGE, {"pin": WRONG_PIN})
    for _ in range(2):
        browser.post(RECOVERY, {"code": "0000-0000-0000-0000"})
    assert "locked for a while" in browser.post(RECOVERY, {"code": code}).content.decode()
    assert "locked for a while" in browser.post(PIN_PAGE, {"pin": sent_pin()}).content.decode()
    assert RecoveryCode.objects.filter(used_at=None).count() == 10


@pytest.mark.threat("K05")
def test_new_codes__need_password_and_a_fresh_proof(alice, browser):
    log_in(browser)
    browser.post(CODES, {"password": "wrong"})
    assert not RecoveryCode.objects.exists()
    proof_is_old(browser)
    assert browser.post(CODES, {"password": PASSWORD})["Location"] == PIN_PAGE
    assert not RecoveryCode.objects.exists()


def test_recovery_code__steps_up_but_confirms_no_phone(alice, browser):
    code, other = recovery.renew(alice)[:2]
    log_in(browser)
    proof_is_old(browser)
    browser.get("/recent/")
    assert browser.post(RECOVERY, {"code": code})["Location"] == "/recent/"
    browser.post(CHANGE, {"phone": NUMBER, "password": PASSWORD})
    assert browser.post(RECOVERY, {"code": other})["Location"] == "/private/"
    assert VerigatorUser.objects.get(user=alice).phone_number == PHONE


# --- password managers ------------------------------------------------------------------------------------------------


def test_password_forms__name_the_account_to_who_is_signed_in(alice, carol, browser):
    field = '<input type="text" autocomplete="username" value="{}" hidden readonly>'.format
    log_in(browser)
    for url in (CHANGE, CODES):
        assert field("alice") in browser.get(url).content.decode()
    other = Client()
    other.force_login(carol)
    assert field("carol") in other.get("/accounts/enrol/").content.decode()


@pytest.mark.threat("F04")
def test_enrolment_in_a_pending_login__names_no_account(carol, browser, use):
    use(REQUIRED="all")
    browser.force_login(carol)
    browser.get("/private/")
    page = browser.get("/accounts/enrol/").content.decode()
    assert 'type="password"' in page, "this login came another way, so the password is asked for"
    assert "carol" not in page


# --- trusted browsers -------------------------------------------------------------------------------------------------


def test_trusted_browsers__are_off_by_default(alice, browser):
    give_password(browser)
    assert 'name="trust"' not in browser.get(PIN_PAGE).content.decode()
    browser.post(PIN_PAGE, {"pin": sent_pin(), "trust": "on"})
    assert not TrustedBrowser.objects.exists()


def test_trusted_browser__skips_the_pin_but_is_no_proof(alice, browser, use):
    use(TRUSTED_BROWSER_DAYS=30)
    log_in(browser, trust="on")
    browser.post("/plain/logout/")
    sent = len(locmem.outbox)
    assert give_password(browser)["Location"] == "/private/"
    assert len(locmem.outbox) == sent
    assert browser.get("/verified/").status_code == HTTPStatus.OK
    assert browser.get("/recent/")["Location"] == PIN_PAGE
    page = browser.get(SECURITY).content.decode()
    assert "last used" in page


WINDOWS = "Mozilla/5.0 (Windows NT 10.0; Win64; x64)"
PIXEL = "Mozilla/5.0 (Linux; Android 10; K)"
IPHONE = "Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko)"
BLINK = "AppleWebKit/537.36 (KHTML, like Gecko)"


@pytest.mark.parametrize(
    ("user_agent", "label"),
    [
        (f"Mozilla/5.0 (X11; Linux x86_64) {BLINK} Chrome/131.0.0.0 Safari/537.36", "Chrome on Linux"),
        ("Mozilla/5.0 (X11; Linux x86_64; rv:133.0) Gecko/20100101 Firefox/133.0", "Firefox on Linux"),
        (f"{WINDOWS} {BLINK} Chrome/131.0.0.0 Safari/537.36 Edg/131.0.2903.70", "Edge on Windows"),
        (f"{WINDOWS} {BLINK} Chrome/130.0.0.0 Safari/537.36 OPR/115.0.0.0", "Opera on Windows"),
        (f"{PIXEL} {BLINK} Chrome/131.0.0.0 Mobile Safari/537.36", "Chrome on Android"),
        (f"{PIXEL} {BLINK} SamsungBrowser/27.0 Chrome/125.0.0.0 Mobile Safari/537.36", "Samsung Internet on Android"),
        (f"{PIXEL} {BLINK} Chrome/131.0.0.0 Mobile Safari/537.36 EdgA/131.0.0.0", "Edge on Android"),
        (f"{IPHONE} Version/17.5 Mobile/15E148 Safari/604.1", "Safari on iOS"),
        (f"{IPHONE} CriOS/131.0.6778.73 Mobile/15E148 Safari/604.1", "Chrome on iOS"),
        (f"{IPHONE} FxiOS/133.0 Mobile/15E148 Safari/605.1.15", "Firefox on iOS"),
        (
            "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko)"
            " Version/17.6 Safari/605.1.15",
            "Safari on macOS",
        ),
        (f"Mozilla/5.0 (X11; CrOS x86_64 14541.0.0) {BLINK} Chrome/131.0.0.0 Safari/537.36", "Chrome"),
        ("kiosk/1.0 " + "x" * 100, "kiosk/1.0 " + "x" * 70),
        ("kiosk\x00\udc80/1.0\n", "kiosk/1.0"),
        ("", ""),
    ],
)
@pytest.mark.fault("X19")
def test_trusted_browser__has_a_short_name(user_agent, label):
    assert browsers.label_of(user_agent) == label


def test_buttons_that_end_trust__say_of_which_browser(alice, browser, use):
    use(TRUSTED_BROWSER_DAYS=30)
    agent = f"Mozilla/5.0 (X11; Linux x86_64) {BLINK} Chrome/131.0.0.0 Safari/537.36"
    log_in(Client(HTTP_USER_AGENT=agent), trust="on")
    log_in(browser)
    page = browser.get(SECURITY).content.decode()
    (named_by,) = re.findall(r'aria-labelledby="(.*?)">End<', page)
    texts = [re.search(rf'id="{name}"[^>]*>(.*?)</(?:button|p)>', page, re.DOTALL)[1] for name in named_by.split()]
    assert texts[0] == "End"
    assert "Chrome on Linux" in texts[1]
    assert "last used" in texts[1]


@pytest.mark.threat("B07")
def test_cookie__is_closed_and_tells_nothing(alice, browser, use):
    use(TRUSTED_BROWSER_DAYS=30)
    log_in(browser, trust="on")
    name = next(name for name in browser.cookies if name.startswith("verigator_browser_token_"))
    cookie = browser.cookies[name]
    assert cookie["httponly"]
    assert cookie["secure"]
    assert cookie["samesite"] == "Lax"
    assert cookie["max-age"] == 30 * 24 * 3600
    assert cookie.value not in str(list(TrustedBrowser.objects.values()))


@pytest.mark.threat("B01", "B02")
def test_cookie__of_another_user_or_forged_is_worth_nothing(alice, browser, use, db):
    use(TRUSTED_BROWSER_DAYS=30)
    bob = User.objects.create_user("bob", password=PASSWORD, phone_number=NUMBER)
    log_in(browser, trust="on")
    name = next(name for name in browser.cookies if name.startswith("verigator_browser_token_"))

    thief = Client()
    thief.cookies[cookie_name(bob.pk)] = browser.cookies[name].value
    assert give_password(thief, "bob")["Location"] == PIN_PAGE
    for forged in ("", "x", browser.cookies[name].value[:-1], "\x00", "a" * 4000):
        forger = Client()
        forger.cookies[name] = forged
        assert give_password(forger)["Location"] == PIN_PAGE


@pytest.mark.threat("B03", "B04")
def test_trust__ends_with_password_epoch_time_and_setting(alice, browser, use):
    use(TRUSTED_BROWSER_DAYS=30, LIMITS={"SENDS_PER_PHONE_10_MINUTES": 50})
    log_in(browser, trust="on")
    browser.post("/plain/logout/")
    ends = [
        lambda: TrustedBrowser.objects.update(expires_at=timezone.now()),
        lambda: VerigatorUser.objects.update(trust_version="another"),
        lambda: (alice.set_password(PASSWORD), alice.save()),
        lambda: TrustedBrowser.objects.all().delete(),
        lambda: use(TRUSTED_BROWSER_DAYS=0),
    ]
    for end in ends:
        client = Client()
        log_in(client, trust="on")
        client.post("/plain/logout/")
        assert give_password(client)["Location"] == "/private/"
        client.post("/plain/logout/")
        end()
        assert give_password(client)["Location"] == PIN_PAGE


def test_trusted_browsers__are_ended_by_their_user_alone(alice, browser, use):
    use(TRUSTED_BROWSER_DAYS=30)
    bob = User.objects.create_user("bob", password=PASSWORD)
    log_in(browser, trust="on")
    row = TrustedBrowser.objects.get()
    thief = Client()
    login_verified(thief, bob)
    for pk in (str(row.pk), "", "x", "9" * 40):
        thief.post(BROWSERS, {"browser": pk})
    assert TrustedBrowser.objects.exists()
    browser.post(BROWSERS, {"browser": str(row.pk)})
    assert not TrustedBrowser.objects.exists()
    log_in(Client(), trust="on")
    browser.post(BROWSERS)
    assert not TrustedBrowser.objects.exists()


def test_trusted_browser__costs_one_statement_more(alice, browser, use):
    use(TRUSTED_BROWSER_DAYS=30)
    log_in(browser, trust="on")
    browser.post("/plain/logout/")
    with CaptureQueriesContext(connection) as context:
        give_password(browser)
    verbs = [query["sql"].split()[0] for query in context.captured_queries]
    # user, link, browser; session: a free key, insert, save; last_login
    assert [verb for verb in verbs if verb != "SAVEPOINT" and verb != "RELEASE"] == (
        ["SELECT", "SELECT", "UPDATE", "SELECT", "INSERT", "UPDATE", "UPDATE"]
    )


# A Django release raises the iterations of its hasher, so that a password typed once more is stored anew.


@pytest.fixture
def newer_hasher(alice, browser, settings):
    """Alice is logged in from before the site got a newer hasher."""
    give_password(browser)
    browser.post(PIN_PAGE, {"pin": sent_pin()})
    before = User.objects.get(pk=alice.pk).password
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.PBKDF2PasswordHasher", *settings.PASSWORD_HASHERS]
    yield
    assert User.objects.get(pk=alice.pk).password != before


@pytest.mark.parametrize("phone", [NUMBER, "no number"])
def test_password_that_is_stored_anew__ends_no_session(newer_hasher, alice, browser, phone):
    response = browser.post("/accounts/security/phone/", {"phone": phone, "password": PASSWORD})
    assert response.status_code == (HTTPStatus.FOUND if phone == NUMBER else HTTPStatus.OK)
    assert browser.get("/verified/").status_code == HTTPStatus.OK
    if phone == NUMBER:
        browser.post("/accounts/security/phone/confirm/", {"pin": sent_pin()})
        assert VerigatorUser.objects.get(user=alice).phone_number == NUMBER


# --- limits -----------------------------------------------------------------------------------------------------------


@pytest.mark.threat("C14")
def test_hard_stop__is_ended_by_support_or_a_new_password(alice, browser, use, mailoutbox):
    use(LIMITS={"TRIES_PER_USER_HOUR": 100, "TRIES_PER_USER_DAY": 100, "SENDS_PER_PHONE_10_MINUTES": 50})
    for _ in range(2):
        give_password(browser)
        for _ in range(5):
            browser.post(PIN_PAGE, {"pin": WRONG_PIN})
    give_password(browser)
    assert "Set a new password, or ask our support" in browser.post(PIN_PAGE, {"pin": sent_pin()}).content.decode()
    call_command("verigator_reset", "alice", unlock=True)
    browser.post("/accounts/verify/resend/")
    assert browser.post(PIN_PAGE, {"pin": sent_pin()})["Location"] == "/private/"

    VerigatorUser.objects.update(consecutive_failures=10, failures_auth_hash=alice.get_session_auth_hash())
    client = Client()
    give_password(client)
    assert "Set a new password" in client.post(PIN_PAGE, {"pin": sent_pin()}).content.decode()
    alice.set_password("another one")
    alice.save()
    client.post("/accounts/login/", {"username": "alice", "password": "another one"})
    assert client.post(PIN_PAGE, {"pin": sent_pin()})["Location"] == "/private/"


def test_hard_stop__is_100_where_pins_are_longer(alice, browser, use):
    use(PIN_LENGTH=6)
    VerigatorUser.objects.update(consecutive_failures=99)
    give_password(browser)
    browser.post(PIN_PAGE, {"pin": WRONG_PIN})
    assert "Set a new password" in browser.post(PIN_PAGE, {"pin": sent_pin()}).content.decode()


@pytest.mark.threat("C07")
def test_guesses_from_one_address_on_many_accounts__stop(db, use, django_capture_on_commit_callbacks):
    use(LIMITS={"TRIES_PER_ADDRESS_HOUR": 3})
    for number in range(5):
        with django_capture_on_commit_callbacks(execute=True):
            User.objects.create_user(f"u{number}", password=PASSWORD, phone_number=f"+3725550{number}067")
    pages = []
    for number in range(5):
        client = Client(REMOTE_ADDR="8.8.8.8")
        give_password(client, f"u{number}")
        pages.append(client.post(PIN_PAGE, {"pin": WRONG_PIN}).content.decode())
    assert ["locked for a while" in page for page in pages] == [False, False, False, True, True]


@pytest.mark.parametrize(
    ("address", "counted"),
    [
        ("8.8.8.8", "8.8.8.8"),
        ("2001:4860:4860::8888", "2001:4860:4860::/64"),
        ("2001:4860:4860::8844", "2001:4860:4860::/64"),
        ("10.0.0.1", ""),
        ("127.0.0.1", ""),
        ("", ""),
        (None, ""),
    ],
)
def test_address__is_counted_by_what_it_says_of_who_is_behind_it(address, counted):

    assert rate_limit_key(address) == counted


@pytest.mark.threat("C06", "A19")
def test_forwarded_addresses__count_from_trusted_proxies_only(alice, browser, use):
    give_password(browser)
    assert Challenge.objects.latest("created_at").ip == "127.0.0.1"
    spoofed = Client(REMOTE_ADDR="8.8.8.8", HTTP_X_FORWARDED_FOR="1.2.3.4")
    give_password(spoofed)
    assert Challenge.objects.latest("created_at").ip == "8.8.8.8"
    use(TRUSTED_PROXIES=["10.0.0.0/8"])
    proxied = Client(REMOTE_ADDR="10.0.0.1", HTTP_X_FORWARDED_FOR="6.6.6.6, 1.2.3.4, 10.0.0.2")
    give_password(proxied)
    assert Challenge.objects.latest("created_at").ip == "1.2.3.4"


@pytest.mark.threat("E04")
def test_block_of_numbers__trips_the_prefix_limit(db, use, django_capture_on_commit_callbacks):
    use(LIMITS={"SENDS_PER_PREFIX_HOUR": 3})
    for number in range(5):
        with django_capture_on_commit_callbacks(execute=True):
            User.objects.create_user(f"u{number}", password=PASSWORD, phone_number=f"+3725000000{number}")
        give_password(Client(), f"u{number}")
    assert len(locmem.outbox) == 3


@pytest.mark.threat("E11")
def test_site_budget__spares_confirmed_users_and_is_told(alice, use, django_capture_on_commit_callbacks):
    use(LIMITS={"SENDS_PER_SITE_HOUR": 1})
    heard = []

    def listen(sender, scope, **kwargs):
        heard.append(scope)

    VerigatorUser.objects.filter(user=alice).update(confirmed_at=timezone.now())
    for number in range(3):
        with django_capture_on_commit_callbacks(execute=True):
            User.objects.create_user(f"u{number}", password=PASSWORD, phone_number=f"+3725000{number}111")
    signals.limit_reached.connect(listen)
    try:
        for number in range(3):
            client = Client()
            give_password(client, f"u{number}")
    finally:
        signals.limit_reached.disconnect(listen)
    assert len(locmem.outbox) == 1
    assert heard == ["sends/site/hour", "sends/site/hour"]
    give_password(Client())
    assert locmem.outbox[-1].to == PHONE


def test_signals__of_somebody_who_is_signed_in_are_sent_by_the_user_model_too(alice, browser):
    heard = []

    def listen(sender, challenge, **kwargs):
        heard.append(challenge.purpose)

    signals.code_sent.connect(listen, sender=User)
    try:
        log_in(browser)
        browser.post(CHANGE, {"phone": NUMBER, "password": PASSWORD})
    finally:
        signals.code_sent.disconnect(listen, sender=User)
    assert heard == ["login", "phone"]


@pytest.mark.threat("E05")
@pytest.mark.parametrize("number", ["+881612345678", "+3729001234", "+449012345678"])
def test_satellite_and_premium_numbers__get_nothing(db, use, browser, number):
    use(REQUIRED="all")
    User.objects.create_user("bob", password=PASSWORD)
    give_password(browser, "bob")
    page = browser.post("/accounts/enrol/", {"phone": number})
    assert "this kind of number" in page.content.decode()
    assert locmem.outbox == []


@pytest.mark.threat("E05")
def test_countries__are_checked_on_the_server(alice, browser, use):
    use(COUNTRIES=["LV"])
    give_password(browser)
    assert locmem.outbox == []
    assert "or to this country" in browser.post("/accounts/verify/resend/").content.decode()
    use(COUNTRIES=["EE"])
    browser.post("/accounts/verify/resend/")
    assert len(locmem.outbox) == 1


@pytest.mark.threat("E01")
def test_resends__rise_in_their_pause_and_end(alice, browser, use):
    use(LIMITS={"SENDS_PER_PHONE_10_MINUTES": 50, "SENDS_PER_LOGIN": 4})
    give_password(browser)
    pauses = []
    for _ in range(6):
        challenge = Challenge.objects.latest("step")
        pauses.append(round((challenge.resend_at - challenge.sent_at).total_seconds()))
        Challenge.objects.update(resend_at=timezone.now())
        browser.post("/accounts/verify/resend/")
    assert len(locmem.outbox) == 4
    assert pauses[:4] == [30, 60, 120, 240]


# --- policy, the rest -------------------------------------------------------------------------------------------------


def test_grace__lets_users_without_a_phone_in_until_its_day(alice, carol, use):
    for until, owed in ((timezone.localdate(), False), (timezone.localdate() - timedelta(days=1), True)):
        use(REQUIRED="all", GRACE_UNTIL=until)
        client = Client()
        give_password(client, "carol")
        assert (SESSION_KEY not in client.session) is owed
        client = Client()
        give_password(client)
        assert SESSION_KEY not in client.session, "who has a phone has no grace"


def test_exempt_groups__owe_nothing(alice, browser, use):
    use(EXEMPT_GROUPS=["kiosks"])
    give_password(browser)
    assert SESSION_KEY not in browser.session
    alice.groups.add(Group.objects.create(name="kiosks"))
    give_password(browser)
    assert SESSION_KEY in browser.session


# --- support ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def desk(db):
    """A browser of a support person who may reset, and do nothing else."""
    helper = User.objects.create_user("helper", is_staff=True)
    names = ["view_verigatoruser", "reset_second_factor"]
    helper.user_permissions.set(Permission.objects.filter(codename__in=names))
    client = Client()
    login_verified(client, helper)
    return client


def act(client, action, link, **data):
    return client.post(
        "/admin/django_verigator/verigatoruser/", {"action": action, "_selected_action": [link.pk], **data}, follow=True
    )


def reset(client, link):
    return act(client, "reset_second_factor", link, post="yes")


def test_reset__asks_first_and_says_whose(alice, carol, desk):
    links.ensure(carol)
    rows = VerigatorUser.objects.filter(user__in=[alice, carol])
    data = {"action": "reset_second_factor", "_selected_action": [link.pk for link in rows]}
    page = desk.post("/admin/django_verigator/verigatoruser/", data)
    text = page.content.decode()
    assert "sessions of 2 users" in text
    assert "<li>alice</li>" in text
    assert "<li>carol</li>" in text
    assert VerigatorUser.objects.get(user=alice).phone_number == PHONE
    assert not LogEntry.objects.exists()
    form = re.findall(r'<input type="hidden" name="(\w+)" value="(\w+)">', text)
    assert {("action", "reset_second_factor"), ("post", "yes")} < set(form)
    confirmed = {name: [value for key, value in form if key == name] for name, _ in form}
    desk.post("/admin/django_verigator/verigatoruser/", confirmed)
    assert VerigatorUser.objects.get(user=alice).phone_number == ""
    assert LogEntry.objects.count() == 2


def test_reset__takes_everything_back_is_logged_and_told(alice, desk, browser, mailoutbox, use, commit):
    use(TRUSTED_BROWSER_DAYS=30)
    alice.email = "alice@example.com"
    alice.save()
    log_in(browser, trust="on")
    recovery.renew(alice)
    old = VerigatorUser.objects.get(user=alice)
    with commit(execute=True):
        assert "1 user was reset." in reset(desk, old).content.decode()
    link = VerigatorUser.objects.get(user=alice)
    assert (link.phone_number, link.verigator_id, link.confirmed_at) == ("", None, None)
    assert not RecoveryCode.objects.exists()
    assert not TrustedBrowser.objects.exists()
    assert browser.get("/recent/")["Location"].startswith("/accounts/login/"), "the session has ended"
    assert LogEntry.objects.get().change_message == "Second factor reset."
    assert mailoutbox[0].subject == "The second step of your account was reset"
    assert RemoteDeletion.objects.filter(verigator_id=old.verigator_id).exists()
    # The site's own number is in force again at the next login.
    assert give_password(browser)["Location"] == PIN_PAGE
    assert browser.post(PIN_PAGE, {"pin": sent_pin()})["Location"] == "/private/"


def test_support__can_unlock_and_issue_a_code_that_ends(alice, desk, browser):
    link = VerigatorUser.objects.get(user=alice)
    VerigatorUser.objects.update(consecutive_failures=10)
    act(desk, "unlock", link)
    assert VerigatorUser.objects.get(user=alice).consecutive_failures == 0
    page = act(desk, "issue_recovery_code", link)
    code = page.context["code"]
    assert "no-store" in page["Cache-Control"]
    assert code not in str(dict(desk.session))
    assert code not in str(list(LogEntry.objects.values()))
    give_password(browser)
    RecoveryCode.objects.update(expires_at=timezone.now())
    assert "not one of your unused" in browser.post(RECOVERY, {"code": code}).content.decode()
    RecoveryCode.objects.update(expires_at=timezone.now() + timedelta(minutes=15))
    assert browser.post(RECOVERY, {"code": code})["Location"] == "/private/"


@pytest.mark.threat("J09")
def test_support_actions__need_their_own_permission(alice, db):
    helper = User.objects.create_user("helper", is_staff=True)
    names = ["view_verigatoruser", "change_verigatoruser"]
    helper.user_permissions.set(Permission.objects.filter(codename__in=names))
    client = Client()
    client.force_login(helper)
    link = VerigatorUser.objects.get(user=alice)
    for action in ("reset_second_factor", "unlock", "issue_recovery_code"):
        act(client, action, link, post="yes")
    assert VerigatorUser.objects.get(user=alice).phone_number == PHONE
    assert not RecoveryCode.objects.exists()


def test_verigator_reset__resets_and_issues_codes(alice, browser, capsys):
    call_command("verigator_reset", "alice", recovery_code=True)
    code = capsys.readouterr().out.strip()
    give_password(browser)
    assert browser.post(RECOVERY, {"code": code})["Location"] == "/private/"
    call_command("verigator_reset", "alice")
    assert "reset" in capsys.readouterr().out
    assert VerigatorUser.objects.get(user=alice).phone_number == ""


@pytest.mark.parametrize(
    ("is_terminal", "options", "answer", "is_reset"),
    [
        (True, {}, "", False),
        (True, {}, "yes", True),
        (True, {"interactive": False}, None, True),
        (True, {"unlock": True}, None, False),
        (True, {"recovery_code": True}, None, False),
        (False, {}, None, True),
    ],
)
def test_verigator_reset__asks_on_a_terminal_before_it_resets(
    alice, monkeypatch, capsys, is_terminal, options, answer, is_reset
):
    def give_answer():
        assert answer is not None, "asked"
        return answer

    monkeypatch.setattr("sys.stdin.isatty", lambda: is_terminal)
    monkeypatch.setattr("builtins.input", give_answer)
    refused = pytest.raises(CommandError, match="Nothing was reset")
    with refused if answer == "" else nullcontext():
        call_command("verigator_reset", "alice", **options)
    assert (VerigatorUser.objects.get(user=alice).phone_number == "") == is_reset
    printed = capsys.readouterr().err
    assert ("Reset the second factor of alice?" in printed) == (answer is not None)


def test_verigator_prune__deletes_what_is_old_and_nothing_else(alice, carol, browser, capsys):
    log_in(browser)
    old = Challenge.objects.create(user=alice, nonce_digest="x", created_at=timezone.now() - timedelta(days=91))
    Counter.objects.create(digest="x", scope="x", expires_at=timezone.now() - timedelta(seconds=1))
    kept = Counter.objects.exclude(pk="x").count()
    PhoneChange.objects.create(
        user=carol, phone_number=NUMBER, id_in_service="i", verigator_id="v", expires_at=timezone.now()
    )
    call_command("verigator_prune")
    assert "challenges: 1" in capsys.readouterr().out
    assert not Challenge.objects.filter(pk=old.pk).exists()
    assert Challenge.objects.count() == 1
    assert Counter.objects.filter(expires_at__gt=timezone.now()).count() <= kept
    assert not Counter.objects.filter(pk="x").exists()
    assert [row.verigator_id for row in RemoteDeletion.objects.all()] == ["v"]


def test_notices__can_be_switched_off(alice, desk, mailoutbox, use, commit):
    use(NOTIFY=False)
    alice.email = "alice@example.com"
    alice.save()
    with commit(execute=True):
        reset(desk, VerigatorUser.objects.get(user=alice))
    assert mailoutbox == []


def test_notices__go_to_the_address_of_any_user_model(db, plain_user, mailoutbox, commit):
    with commit(execute=True):
        send_notice(plain_user, notices.Notice.RESET)
    assert [message.to for message in mailoutbox] == [["plain@example.com"]]
    assert "plain@example.com on" in mailoutbox[0].body


def with_address(user):
    user.email = f"{user.username}@example.com"
    user.save()


def test_first_phone_and_new_codes__are_told(carol, browser, mailoutbox, commit):
    with_address(carol)
    browser.force_login(carol)
    browser.post("/accounts/enrol/", {"phone": NUMBER, "password": PASSWORD})
    with commit(execute=True):
        browser.post(PIN_PAGE, {"pin": sent_pin()})
    with commit(execute=True):
        code = make_codes(browser)[0]
    added, renewed = mailoutbox
    assert added.subject == "A phone was added to your account"
    assert "The number ends in 99." in added.body
    assert renewed.subject == "New recovery codes were made for your account"
    assert code not in renewed.body
    assert NUMBER not in added.body + renewed.body


NOTICES = {
    "phone_added": {"phone": "67"},
    "phone_changed": {"phone": "67"},
    "reset": {},
    "recovery_codes_renewed": {},
    "recovery_code_used": {"left": 9},
    "locked": {"until": datetime(2030, 1, 1, 13, 17, tzinfo=timezone.get_default_timezone())},
    "sends_used_up": {"until": datetime(2030, 1, 1, 13, 17, tzinfo=timezone.get_default_timezone())},
}


@pytest.mark.parametrize("notice", notices.Notice)
@pytest.mark.parametrize("language", ["en", "de", "et"])
def test_notice__says_when_in_which_time_zone(alice, mailoutbox, settings, commit, notice, language):
    settings.TIME_ZONE = "Asia/Tokyo"
    with_address(alice)
    with translation.override(language), commit(execute=True):
        send_notice(alice, notice, **NOTICES[notice.value])
    (mail,) = mailoutbox
    assert "(JST)" in mail.body
    assert ".." not in mail.body


def test_lock__says_how_it_ends(alice, browser, mailoutbox, use, commit):
    with_address(alice)
    use(LIMITS={"TRIES_PER_USER_HOUR": 1})
    give_password(browser)
    with commit(execute=True):
        browser.post(PIN_PAGE, {"pin": WRONG_PIN})
    assert "The lock ends by itself on " in mailoutbox[0].body

    use(LIMITS={"TRIES_PER_USER_HOUR": 5})
    VerigatorUser.objects.update(consecutive_failures=9)
    with commit(execute=True):
        browser.post(PIN_PAGE, {"pin": WRONG_PIN})
    assert "set a new password, or ask our support" in mailoutbox[1].body


def test_notice__names_the_site_where_it_has_a_name(alice, mailoutbox, settings, commit, monkeypatch):
    # As with django.contrib.sites, whose table the tests have not got; None: asked without a request.
    monkeypatch.setattr(notices.apps, "is_installed", lambda name: name == "django.contrib.sites")
    monkeypatch.setattr(notices, "get_current_site", {None: SimpleNamespace(name="Corner Café")}.get)
    with_address(alice)
    for site_id in (None, 1):
        settings.SITE_ID = site_id
        with commit(execute=True):
            send_notice(alice, notices.Notice.RESET)
    reset = "The second step of your account was reset"
    assert [mail.subject for mail in mailoutbox] == [reset, f"Corner Café: {reset}"]


def test_grace_until__takes_a_date_only(use):
    from django_verigator import conf

    use(GRACE_UNTIL="2030-01-01")
    assert conf.problems({"BACKENDS": {"a": {"BACKEND": "x"}}, "GRACE_UNTIL": "2030-01-01"})
    assert not conf.problems({"BACKENDS": {"a": {"BACKEND": "x"}}, "GRACE_UNTIL": date(2030, 1, 1)})


@pytest.mark.fault("P05")
def test_recovery_codes__are_made_once_for_one_form(alice, browser):
    login_verified(browser, alice)
    form = {"password": PASSWORD, "csrfmiddlewaretoken": "t" * 64}
    codes = browser.post(CODES, form).context["codes"]
    made = set(RecoveryCode.objects.values_list("digest", flat=True))
    page = browser.post(CODES, form)
    assert "codes" not in page.context
    assert "You have sent this form already." in page.content.decode()
    assert "Try again in" not in page.content.decode()
    assert set(RecoveryCode.objects.values_list("digest", flat=True)) == made
    assert len(browser.post(CODES, {**form, "csrfmiddlewaretoken": "u" * 64}).context["codes"]) == len(codes)


@pytest.mark.fault("T15")
def test_lock_mail__comes_in_the_site_s_language_not_in_that_of_whoever_typed_wrong_pins(
    alice, browser, mailoutbox, use, commit
):
    with_address(alice)
    use(LIMITS={"TRIES_PER_USER_HOUR": 1})
    give_password(browser)
    with translation.override("et"), commit(execute=True):
        browser.post(PIN_PAGE, {"pin": WRONG_PIN})
    assert mailoutbox[0].subject == "Signing in to your account is locked"


@pytest.mark.fault("T15")
def test_mail_about_a_new_phone__says_that_the_recovery_codes_stay_good(alice, mailoutbox, commit):
    with_address(alice)
    for left in (0, 3):
        with commit(execute=True):
            send_notice(alice, notices.Notice.PHONE_CHANGED, phone="67", left=left)
    assert ["recovery codes" in mail.body for mail in mailoutbox] == [False, True]
