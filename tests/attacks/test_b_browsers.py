"""B. The cookie of a trusted browser."""

from __future__ import annotations

from http import HTTPStatus

import pytest
from django.core import signing
from django.db import connection
from django.test.utils import CaptureQueriesContext

from django_verigator.flows.browsers import cookie_name
from django_verigator.models import Challenge, Counter, TrustedBrowser, VerigatorUser

from .actors import ACCOUNT, BROWSERS, CONFIRM, HOME, LOGIN, PHONE, PIN

DAYS = 30


@pytest.fixture
def trusted(site, alice):
    """A browser that Alice trusts; she is logged out again."""
    site.configure(TRUSTED_BROWSER_DAYS=DAYS)
    site.room()
    browser = site.logged_in(alice, trust="on")
    browser.post("/plain/logout/")
    assert len(site.person(alice).browsers) == 1
    return browser


def token_of(browser, user):
    return browser.cookies[cookie_name(user.pk)].value


def ends(site, user):
    """From now on the oracle takes none of this user's browsers for a proof."""
    site.person(user).browsers.clear()


@pytest.mark.threat("B01")
def test_a_cookie_is_good_for_its_own_user_alone(site, alice, bob, trusted):
    own = site.logged_in(bob, trust="on")
    token = token_of(own, bob)
    for name in (cookie_name(alice.pk), cookie_name(bob.pk)):
        browser = site.browser()
        browser.cookies[name] = token
        assert browser.give_password(alice)["Location"] == PIN
        assert browser.is_nobody()
    # And under its own name it is good.
    browser = site.browser()
    browser.cookies[cookie_name(bob.pk)] = token
    assert browser.give_password(bob)["Location"] == HOME


def forgeries(token, user):
    flipped = ("A" if token[0] != "A" else "B") + token[1:]
    yield from ("", " ", "x", token[:-1], token[1:], flipped, f"{token}A", f"{token} ", token.lower(), token * 200)
    yield from ("\x00", "é" * 20, "0", "null", "None", "true", "[]", "' OR 1=1 --", "%", "_" * 43, "*")
    yield from (signing.dumps({"user": user.pk}), signing.Signer(salt="another").sign(token), f"{token}:{token}")
    yield from ("eyJhbGciOiJub25lIn0.eyJ1c2VyIjoxfQ.", TrustedBrowser.objects.get().digest)


@pytest.mark.threat("B02")
def test_forged_cookies_are_worth_nothing(site, alice, trusted):
    token = token_of(trusted, alice)
    for forged in forgeries(token, alice):
        browser = site.browser()
        browser.cookies[cookie_name(alice.pk)] = forged
        assert browser.give_password(alice)["Location"] == PIN, forged[:50]
        assert browser.session_user is None
    browser.cookies[cookie_name(alice.pk)] = token
    assert browser.give_password(alice)["Location"] == HOME


def new_password(site, alice, trusted):
    alice.set_password(site.password(alice))
    alice.save()


def new_phone(site, alice, trusted):
    browser = site.logged_in(alice)
    site.owns(alice, "+37255510009")
    browser.post(PHONE, {"phone": "+37255510009", "password": site.password(alice)})
    assert browser.post(CONFIRM, {"pin": site.pin_at("+37255510009")})["Location"] == ACCOUNT[0]


def reset_by_support(site, alice, trusted):
    desk = site.logged_in(site.user("staff", "+37255530003", is_staff=True, is_superuser=True))
    data = {"action": "reset_second_factor", "_selected_action": [site.link(alice).pk], "post": "yes"}
    desk.post("/admin/django_verigator/verigatoruser/", data)


def ended_by_its_user(site, alice, trusted):
    site.logged_in(alice).post(BROWSERS, {"browser": str(TrustedBrowser.objects.get().pk)})


def all_ended_by_their_user(site, alice, trusted):
    site.logged_in(alice).post(BROWSERS)


def switched_off(site, alice, trusted):
    site.configure(TRUSTED_BROWSER_DAYS=0)


@pytest.mark.threat("B03")
@pytest.mark.parametrize(
    "end",
    [new_password, new_phone, reset_by_support, ended_by_its_user, all_ended_by_their_user, switched_off],
)
def test_trust_ends_with_what_it_was_given_for(site, alice, trusted, end):
    trusted.give_password(alice)
    assert trusted.acts_as == str(alice.pk)
    trusted.post("/plain/logout/")
    end(site, alice, trusted)
    ends(site, alice)
    browser = site.browser()
    browser.cookies[cookie_name(alice.pk)] = token_of(trusted, alice)
    assert browser.give_password(alice)["Location"] == PIN
    assert browser.is_nobody()


@pytest.mark.threat("B04")
def test_trust_ends_by_the_server_s_clock(site, alice, trusted):
    site.wait(DAYS * 24 * 3600 - 60)
    assert trusted.give_password(alice)["Location"] == HOME
    trusted.post("/plain/logout/")
    # A browser whose clock is set back goes on sending it; being used has not prolonged it.
    site.wait(61)
    ends(site, alice)
    assert trusted.give_password(alice)["Location"] == PIN
    assert trusted.is_nobody()


@pytest.mark.threat("B05")
def test_a_stolen_cookie_is_nothing_without_the_password(site, alice, trusted):
    thief = site.browser()
    thief.cookies[cookie_name(alice.pk)] = token_of(trusted, alice)
    for url in (HOME, "/verified/", "/api/", *ACCOUNT):
        assert not thief.get(url).wsgi_request.user.is_authenticated
    for url in (PIN, LOGIN, "/accounts/verify/recovery/"):
        thief.post(url, {"pin": "", "username": "alice", "password": "", "code": ""})
    assert thief.give_password(alice, "a guess").status_code == HTTPStatus.OK
    assert thief.is_nobody()


@pytest.mark.threat("B06")
def test_a_trusted_login_tops_up_no_tries(site, alice, trusted):
    guesser = site.pending(alice)
    for number in range(4):
        guesser.give_pin(site.wrong(number))
    counters = {row.pk: row.count for row in Counter.objects.filter(scope__startswith="tries/")}
    assert trusted.give_password(alice)["Location"] == HOME
    assert {row.pk: row.count for row in Counter.objects.filter(scope__startswith="tries/")} == counters
    assert VerigatorUser.objects.get(user=alice).consecutive_failures == 4
    assert Challenge.objects.filter(user=alice).latest("created_at").tries == 4
    guesser.give_pin(site.wrong(4))
    assert "Too many tries with this PIN" in guesser.give_pin(site.pin(alice)).content.decode()


@pytest.mark.threat("B06")
def test_a_browser_is_trusted_by_a_right_pin_alone(site, alice):
    site.configure(TRUSTED_BROWSER_DAYS=DAYS)
    browser = site.pending(alice)
    for pin in (site.wrong(), "", "x"):
        assert not any("browser" in name for name in browser.give_pin(pin, trust="on").cookies)
    assert not TrustedBrowser.objects.exists()


@pytest.mark.threat("B07")
def test_the_cookie_is_closed_and_tells_nothing(site, alice, trusted):
    morsel = trusted.cookies[cookie_name(alice.pk)]
    assert (morsel["secure"], morsel["httponly"], morsel["samesite"]) == (True, True, "Lax")
    assert len(morsel.OutputString()) < 400
    for secret in ("alice", site.phone(alice)[1:]):
        assert secret not in morsel.OutputString()
    assert TrustedBrowser.objects.get().digest not in morsel.value


@pytest.mark.threat("B08")
def test_hundreds_of_cookies_cost_no_more_than_one(site, alice, trusted):
    def statements(browser):
        with CaptureQueriesContext(connection) as context:
            assert browser.give_password(alice)["Location"] == PIN
        return len(context.captured_queries)

    one, many = site.browser(), site.browser()
    for browser in (one, many):
        browser.cookies[cookie_name(alice.pk)] = "garbage"
    for number in range(500):
        many.cookies[f"verigator_browser_token_{number:016x}"] = "garbage"
    assert statements(many) <= statements(one) + 1
    # Nobody is locked out by it.
    assert one.give_pin(site.pin(alice))["Location"] == HOME
    assert trusted.give_password(alice)["Location"] == HOME


@pytest.mark.threat("B03")
@pytest.mark.parametrize("which", ["one", "all"])
def test_an_ended_browser_does_not_stay_in(site, alice, which):
    site.configure(TRUSTED_BROWSER_DAYS=DAYS)
    stolen, kept = site.logged_in(alice, trust="on"), site.logged_in(alice, trust="on")
    row = TrustedBrowser.objects.order_by("pk")[0]
    stolen.post("/plain/logout/")
    assert stolen.give_password(alice)["Location"] == HOME
    assert stolen.get("/verified/").status_code == HTTPStatus.OK
    kept.post("/accounts/security/browsers/", {"browser": row.pk} if which == "one" else {})
    site.clear_caches()  # within a minute, where processes share none
    assert stolen.get("/verified/").status_code == HTTPStatus.FOUND
    assert stolen.is_nobody()
    # Whoever has ended it goes on, and so does the trust in the other browser.
    assert kept.get("/verified/").status_code == HTTPStatus.OK
    kept.post("/plain/logout/")
    assert kept.give_password(alice)["Location"] == (HOME if which == "one" else PIN)
