"""D. Using a PIN twice, or for something else. (D02, many at once: tests/races.)"""

from __future__ import annotations

import pytest
from django.core.checks import run_checks

from django_verigator.models import Challenge, PhoneChange

from .actors import CONFIRM, HOME, LOGIN, PENDING, PHONE, PIN, SECURITY
from .conftest import BOTH, each_store

PROVIDERS = BOTH
NEW = "+37255510009"


@pytest.mark.threat("D01")
@each_store
def test_a_pin_that_was_accepted_is_not_accepted_again(site, alice):
    site.lie()
    browser = site.pending(alice)
    pin = site.pin(alice)
    assert browser.give_pin(pin)["Location"] == HOME
    second = site.pending(alice)
    assert "used already" in second.give_pin(pin).content.decode()
    assert second.is_nobody()
    # The provider would take it; after ten minutes so may the site.
    site.wait(601)
    assert site.pending(alice).give_pin(pin)["Location"] == HOME


@pytest.mark.threat("D03")
def test_one_user_s_pin_is_checked_for_the_one_who_is_signing_in(site, alice, bob):
    victim, attacker = site.pending(bob), site.pending(alice)
    assert "The PIN is not right" in attacker.give_pin(site.pin(bob)).content.decode()
    assert attacker.is_nobody()
    assert (site.tries(alice), site.tries(bob)) == (1, 0)
    assert victim.give_pin(site.pin(bob))["Location"] == HOME


@pytest.mark.threat("D04")
@pytest.mark.parametrize("sandbox_options", [{}, {"legacy_auth_id": True}], ids=["today", "with auth_id"])
def test_a_challenge_named_by_the_browser_is_ignored(site, alice, bob, sandbox_options):
    site.pending(bob)
    browser = site.pending(alice)
    other = Challenge.objects.get(user=bob)
    assert bool(other.reference) is (bool(sandbox_options) or site.pins_are_ours)
    named = {"auth_id": other.reference, "challenge": str(other.pk), "challenge_id": str(other.pk), "nonce": "x"}
    for name, value in named.items():
        browser.cookies[name] = value
    query = "&".join(f"{name}={value}" for name, value in named.items())
    browser.post(f"{PIN}?{query}", {"pin": site.pin(bob), **named})
    assert browser.is_nobody()
    assert (site.tries(alice), site.tries(bob)) == (1, 0)
    assert browser.post(f"{PIN}?{query}", {"pin": site.pin(alice), **named})["Location"] == HOME
    assert browser.acts_as == str(alice.pk)


@pytest.mark.threat("D05")
def test_a_newer_login_ends_the_older_one(site, alice):
    site.lie()
    older = site.pending(alice)
    first = site.pin(alice)
    newer = site.pending(alice)
    assert "A newer PIN was sent" in older.give_pin(first).content.decode()
    assert "A newer PIN was sent" in older.give_pin(site.pin(alice)).content.decode()
    assert older.is_nobody()
    assert site.tries() == 0
    assert newer.give_pin(site.pin(alice))["Location"] == HOME


@pytest.mark.threat("D06")
def test_a_pin_is_too_old_by_the_site_s_own_clock(site, alice):
    site.lie()
    browser = site.pending(alice)
    site.wait(301)
    assert "This PIN is too old" in browser.give_pin(site.pin(alice)).content.decode()
    assert browser.is_nobody()
    assert site.tries() == 0


@pytest.mark.threat("D06")
def test_no_setting_keeps_a_pin_for_longer_than_ten_minutes(settings):
    settings.VERIGATOR = {**settings.VERIGATOR, "LIMITS": {"CHALLENGE_SECONDS": 601}}
    assert "verigator.E001" in [message.id for message in run_checks()]


@pytest.mark.threat("D07")
@pytest.mark.parametrize("provider_lies", [False, True])
def test_the_pin_of_a_new_phone_is_no_login(site, alice, provider_lies):
    browser = site.logged_in(alice)
    browser.post(PHONE, {"phone": NEW, "password": site.password(alice)})
    if provider_lies:
        site.lie()
    thief = site.browser()
    for name in (PENDING,):
        thief.cookies[name] = browser.cookies[name].value
    # The cookie of the change alone logs nobody in, whatever page its PIN is posted to.
    for url in (PIN, CONFIRM):
        assert thief.post(url, {"pin": site.pin_at(NEW)})["Location"] == LOGIN
    assert thief.is_nobody()
    assert site.link(alice).phone_number == site.phone(alice)


@pytest.mark.threat("D07")
def test_the_pin_of_a_login_confirms_no_phone(site, alice):
    """A login that begins ends the change that was under way; its PIN went to the phone in force."""
    browser = site.logged_in(alice)
    browser.post(PHONE, {"phone": NEW, "password": site.password(alice)})
    at_login = site.pending(alice)
    assert "A newer PIN was sent" in browser.post(CONFIRM, {"pin": site.pin(alice)}).content.decode()
    assert "The PIN is not right" in at_login.give_pin(site.pin_at(NEW)).content.decode()
    assert at_login.is_nobody()
    assert site.link(alice).phone_number == "+37255510001"
    assert PhoneChange.objects.get().phone_number == NEW


@pytest.mark.threat("D08")
@each_store
def test_the_whole_second_step_is_posted_again_after_logout(site, alice):
    site.lie()
    browser = site.pending(alice)
    before = browser.copy()
    pin = site.pin(alice)
    assert browser.give_pin(pin)["Location"] == HOME
    browser.post("/plain/logout/")
    assert before.give_pin(pin)["Location"] == LOGIN
    assert browser.give_pin(pin)["Location"] == LOGIN
    assert before.is_nobody()
    assert browser.is_nobody()
    assert site.tries() == 1


@pytest.mark.asks_provider("the app is linked at a provider that has it; a gateway of texts knows none")
@pytest.mark.threat("D09")
@pytest.mark.parametrize("provider_lies", [False, True])
def test_a_code_of_the_app_is_used_once(site, alice, provider_lies):
    site.configure(METHOD="totp")
    site.sandbox.attach_device(site.phone(alice))
    code = site.sandbox.code(site.phone(alice))
    assert site.pending(alice).give_pin(code)["Location"] == HOME
    if provider_lies:
        site.lie()
    second = site.pending(alice)
    assert second.give_pin(code).status_code == 200
    assert second.is_nobody()


@pytest.mark.threat("D08")
def test_a_proof_given_again_in_a_session_that_ended_is_none(site, alice):
    """A step-up belongs to the session that asked for it."""
    browser = site.logged_in(alice)
    site.wait(301)
    assert browser.get("/recent/")["Location"] == PIN
    browser.resend()
    stolen = browser.copy()
    stolen.cookies.pop("sessionid")
    assert stolen.give_pin(site.pin(alice))["Location"] == LOGIN
    assert stolen.is_nobody()
    assert browser.get(SECURITY).status_code == 200
