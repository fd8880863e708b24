"""G. The session, between the steps and after them."""

from __future__ import annotations

from http import HTTPStatus

import pytest
from django.conf import settings as django_settings
from django.contrib.sessions.models import Session

from django_verigator.flows import sending
from django_verigator.flows.gate import MARK
from django_verigator.models import Challenge, PhoneChange, VerigatorUser, new_epoch

from .actors import CODES, ENROL, HOME, LOGIN, MODEL_BACKEND, PENDING, PHONE, PIN, SECURITY
from .conftest import each_store
from .oracle import session_of


def key_of(browser):
    """The session's key; of a session in a signed cookie, which has none, its content without the time of signing."""
    morsel = browser.cookies.get(django_settings.SESSION_COOKIE_NAME)
    return morsel.value.split(":")[0] if morsel else None


@pytest.mark.threat("G01")
@each_store
def test_the_session_key_changes_at_both_steps_and_the_old_ones_are_dead(site, alice, store):
    browser = site.browser()
    browser.get("/cart/")
    planted = browser.copy()
    keys = [key_of(browser)]
    browser.give_password(alice)
    between = browser.copy()
    keys.append(key_of(browser))
    browser.give_pin(site.pin(alice))
    keys.append(key_of(browser))
    # A session in a signed cookie has no key: its content changes with the login.
    assert len(set(keys)) == (2 if store == "signed_cookies" else 3)
    assert keys[2] not in keys[:2]
    for old in (planted, between):
        assert old.acts_as == "None"
        assert old.get("/cart/").content != b"2" or store == "signed_cookies"
    assert browser.acts_as == str(alice.pk)


@pytest.mark.threat("G01")
@each_store
def test_a_key_of_the_attacker_s_choice_is_not_taken(site, alice):
    browser = site.browser()
    browser.cookies[django_settings.SESSION_COOKIE_NAME] = "attackerschoice0123456789abcdefg"
    browser.give_password(alice)
    browser.give_pin(site.pin(alice))
    assert key_of(browser) != "attackerschoice0123456789abcdefg"
    planted = site.browser()
    planted.cookies[django_settings.SESSION_COOKIE_NAME] = "attackerschoice0123456789abcdefg"
    assert planted.acts_as == "None"
    assert browser.acts_as == str(alice.pk)


@pytest.mark.threat("G02")
@each_store
def test_a_copy_of_the_pending_login_never_becomes_the_real_one(site, alice):
    victim = site.pending(alice)
    thief = victim.copy()
    pin = site.pin(alice)
    assert victim.give_pin(pin)["Location"] == HOME
    for _ in range(2):
        assert thief.is_nobody()
        assert thief.give_pin(pin)["Location"] == LOGIN
        assert thief.resend()["Location"] == LOGIN
    assert site.sends() == 1


@pytest.mark.threat("G04")
@each_store
def test_a_login_waits_for_ten_minutes_and_no_longer(site, alice):
    site.lie()
    browser = site.pending(alice)
    kept = browser.cookies[PENDING].value
    pin = site.pin(alice)
    site.wait(601)
    for answer in (browser.get(PIN), browser.give_pin(pin), browser.resend()):
        assert answer["Location"] == LOGIN
        browser.cookies[PENDING] = kept
    assert browser.is_nobody()
    assert (site.sends(), site.tries()) == (1, 0)


@pytest.mark.threat("G04")
def test_a_resend_does_not_prolong_the_login(site, alice):
    browser = site.pending(alice)
    for _ in range(6):
        site.wait(121)
        answer = browser.resend()
    assert answer["Location"] == LOGIN
    assert browser.give_pin(site.pin(alice))["Location"] == LOGIN
    assert browser.is_nobody()


@pytest.mark.threat("G05")
@each_store
@pytest.mark.parametrize("way", ["/plain/logout/", "/accounts/verify/cancel/"])
def test_a_login_that_is_left_half_way_is_over(site, alice, way):
    browser = site.browser()
    browser.give_password(alice, next="/cart/")
    pending = browser.copy()
    browser.post(way)
    for each in (browser, pending):
        assert each.get(PIN)["Location"] == LOGIN
        assert each.give_pin(site.pin(alice))["Location"] == LOGIN
        assert each.is_nobody()
    assert site.tries() == 0
    # The page that the first login wanted is forgotten with it.
    browser.give_password(alice)
    assert browser.give_pin(site.pin(alice))["Location"] == HOME


@pytest.mark.threat("G05")
@each_store
def test_logout_takes_the_proof_along(site, alice):
    browser = site.logged_in(alice)
    assert browser.get(SECURITY).status_code == HTTPStatus.OK
    browser.post("/plain/logout/")
    assert MARK not in session_of(browser)
    for url in (HOME, SECURITY, PHONE, CODES, PIN):
        assert browser.get(url)["Location"].startswith(LOGIN)
    assert browser.is_nobody()
    # A login that comes another way into the same browser owes the step again.
    browser.force_login(alice, MODEL_BACKEND)
    assert browser.get(HOME)["Location"] == PIN


@pytest.mark.threat("G06")
@each_store
@pytest.mark.parametrize("backend", [MODEL_BACKEND, "django.contrib.auth.backends.AllowAllUsersModelBackend"])
def test_a_user_who_is_deactivated_between_the_steps_stays_out(site, alice, settings, backend):
    settings.AUTHENTICATION_BACKENDS = [backend]
    codes = site.codes(alice, site.logged_in(alice))
    browsers = [site.pending(alice), site.pending(alice)]
    alice.is_active = False
    alice.save()
    tries = site.tries()
    assert browsers[1].give_pin(site.pin(alice))["Location"] == LOGIN
    assert browsers[0].give_code(codes[0])["Location"] == LOGIN
    assert [browser.is_nobody() for browser in browsers] == [True, True]
    assert site.tries() == tries


@pytest.mark.threat("G07")
@each_store
def test_a_password_that_changes_between_the_steps_ends_the_login(site, alice):
    codes = site.codes(alice, site.logged_in(alice))
    for answer in (lambda browser: browser.give_pin(site.pin(alice)), lambda browser: browser.give_code(codes[0])):
        browser = site.pending(alice)
        tries = site.tries()
        password = f"{site.password(alice)}!"
        alice.set_password(password)
        alice.save()
        site.person(alice).password = password
        assert answer(browser)["Location"] == LOGIN
        assert browser.is_nobody()
        assert site.tries() == tries
    assert site.oracle._posted_codes["alice"], "the code was posted, and let nobody in"
    assert not [each for each in site.oracle.sessions() if MARK in each and each[MARK]["method"] == "recovery"]


CHANGES = {
    "phone": {"phone_number": "+37255510008", "epoch": "another"},
    "UserID": {"verigator_id": "11111111-2222-4333-8444-555555555555"},
    "epoch": {"epoch": new_epoch()},
}


@pytest.mark.threat("G09")
@pytest.mark.parametrize("change", CHANGES)
def test_a_phone_or_record_that_changes_between_the_steps_ends_the_code(site, alice, change):
    browser = site.pending(alice)
    pin = site.pin(alice)
    VerigatorUser.objects.filter(user=alice).update(**CHANGES[change])
    site.owns(alice, "+37255510008")
    browser.give_pin(pin)
    assert browser.is_nobody()
    assert Challenge.objects.get().outcome != Challenge.Outcome.VERIFIED


@pytest.mark.threat("G09")
def test_an_unconfirmed_phone_that_the_site_changes_ends_the_code(site, alice):
    browser = site.pending(alice)
    pin = site.pin(alice)
    site.owns(alice, "+37255510008")
    alice.phone_number = "+37255510008"
    alice.save()
    browser.give_pin(pin)
    assert browser.is_nobody()


@pytest.mark.threat("G10")
def test_an_authentication_backend_that_is_removed_between_the_steps_ends_the_login(site, alice, settings):
    browser = site.pending(alice)
    settings.AUTHENTICATION_BACKENDS = ["tests.attacks.backends.DirectoryBackend"]
    assert browser.give_pin(site.pin(alice))["Location"] == LOGIN
    assert browser.is_nobody()


@pytest.mark.threat("G10")
def test_a_provider_that_is_removed_between_the_steps_lets_nobody_in(site, alice):
    browser = site.pending(alice)
    entry = site.settings.VERIGATOR["BACKENDS"]["default"]
    site.settings.VERIGATOR = {**site.settings.VERIGATOR, "BACKENDS": {"other": entry}}
    assert browser.give_pin(site.pin(alice)).status_code == HTTPStatus.OK
    assert browser.is_nobody()
    assert site.tries() == 0


@pytest.mark.threat("G11")
@each_store
def test_a_proof_outlives_a_new_key_for_its_own_user_alone(site, alice, bob):
    browser = site.logged_in(alice)
    session = browser.session
    session.cycle_key()
    session.save()
    browser.cookies[django_settings.SESSION_COOKIE_NAME] = session.session_key
    assert browser.get(SECURITY).status_code == HTTPStatus.OK
    # Somebody else's mark in a session proves nothing.
    forged = site.old_session(bob)
    session = forged.session
    session[MARK] = {**session_of(browser)[MARK]}
    session.save()
    forged.cookies[django_settings.SESSION_COOKIE_NAME] = session.session_key
    assert forged.get(HOME)["Location"] == PIN
    assert forged.is_nobody()
    Session.objects.exclude(pk=key_of(browser)).delete()


@pytest.mark.threat("G12")
def test_a_proof_that_is_too_old_is_asked_for_again(site, alice):
    browser = site.logged_in(alice)
    for url in ("/recent/", PHONE, CODES):
        assert browser.get(url).status_code == HTTPStatus.OK
    site.wait(301)
    for url in ("/recent/", PHONE, CODES):
        assert browser.get(url)["Location"] == PIN
        assert browser.post(url, {"password": site.password(alice), "phone": "+37255510009"})["Location"] == PIN
    assert browser.get(HOME).status_code == HTTPStatus.OK
    browser.get("/recent/")
    browser.resend()
    assert browser.give_pin(site.pin(alice))["Location"] == "/recent/"
    assert browser.get("/recent/").status_code == HTTPStatus.OK


def change_password(site, alice):
    alice.set_password("n3w horse!")
    alice.save()
    site.person(alice).password = "n3w horse!"


def deactivate(site, alice):
    alice.is_active = False
    alice.save()


@pytest.mark.threat("G06", "G07")
@pytest.mark.parametrize("happens", [change_password, deactivate])
def test_the_pending_login_of_before_sends_nothing_more(site, alice, happens):
    """Whoever knew the old password would end the codes of the owner, and use up her texts."""
    old = site.pending(alice)
    happens(site, alice)
    sent = site.sends()
    site.wait(121)
    assert old.resend()["Location"] == LOGIN
    assert site.sends() == sent


@pytest.mark.threat("G07")
def test_the_pending_login_of_an_old_password_proposes_no_phone(site):
    site.configure(REQUIRED="all")
    carol = site.user("carol", owes=True)
    old = site.pending(carol)
    change_password(site, carol)
    response = old.post(ENROL, {"phone": "+37255510009", "password": "x"})
    assert response["Location"] == LOGIN
    assert site.sends() == 0
    assert not PhoneChange.objects.exists()


@pytest.mark.threat("G05")
def test_a_resend_under_way_does_not_begin_a_cancelled_login_again(site, alice, rf, monkeypatch):
    """The request has read the pending login; then it is cancelled; then the request sends."""
    browser = site.pending(alice)
    kept = browser.cookies[PENDING].value
    site.wait(121)
    real = sending.start

    def cancelled_meanwhile(*args, **kwargs):
        browser.copy().post("/accounts/verify/cancel/")
        return real(*args, **kwargs)

    monkeypatch.setattr(sending, "start", cancelled_meanwhile)
    assert browser.resend()["Location"] == LOGIN
    assert site.sends() == 1
    browser.cookies[PENDING] = kept
    assert browser.get(PIN)["Location"] == LOGIN
