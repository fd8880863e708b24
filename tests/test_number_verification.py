"""A site whose provider keeps no user records: everything works, with nothing to register."""

from __future__ import annotations

from http import HTTPStatus
from io import StringIO

import pytest
from django.contrib.auth import SESSION_KEY
from django.core.checks import run_checks
from django.core.exceptions import ImproperlyConfigured
from django.core.management import CommandError, call_command

from django_verigator import checks
from django_verigator.backends import Checked, Started, backends
from django_verigator.models import Challenge, VerigatorUser
from django_verigator.sandbox import Sandbox
from tests.site.models import User

from .conftest import PASSWORD, PHONE, WRONG_PIN, give_password, sent_pin

BACKEND = "django_verigator.backends.number_verification.NumberVerificationBackend"
PIN_PAGE = "/accounts/verify/"
RESEND = "/accounts/verify/resend/"
NEW_PHONE = "+37255500088"


@pytest.fixture
def sandbox():
    with Sandbox(username="api", password="secret") as sandbox:
        yield sandbox


def entry(sandbox: Sandbox, **options: object) -> dict[str, object]:
    return {
        "BACKEND": BACKEND,
        "OPTIONS": {"username": "api", "password": "secret", "endpoint": sandbox.url, **options},
    }


@pytest.fixture
def alice(sandbox, settings, transactional_db):
    settings.VERIGATOR = {**settings.VERIGATOR, "BACKENDS": {"default": entry(sandbox)}}
    return User.objects.create_user("alice", password=PASSWORD, phone_number=PHONE)


def test_login__sends_a_pin_and_takes_it_once(alice, browser, sandbox):
    assert give_password(browser)["Location"] == PIN_PAGE
    challenge = Challenge.objects.get()
    assert (challenge.method, challenge.backend, challenge.verigator_id) == ("sms", "default", "")
    assert len(challenge.reference) == 32

    browser.post(PIN_PAGE, {"pin": WRONG_PIN})
    assert SESSION_KEY not in browser.session
    assert browser.post(PIN_PAGE, {"pin": sandbox.last_pin(PHONE)})["Location"] == "/private/"
    assert browser.session[SESSION_KEY] == str(alice.pk)
    assert [call["operation"] for call in sandbox.calls()] == ["verify.start", "verify.pin", "verify.pin"]


@pytest.mark.threat("E01")
def test_provider__sends_nothing_again_by_itself(alice, browser, sandbox):
    give_password(browser)
    sandbox.advance(299)
    assert len(sandbox.messages()) == 1


def test_registration__has_nothing_to_do(alice, sandbox):
    link = VerigatorUser.objects.get()
    assert link.verigator_id is None
    out = StringIO()
    call_command("verigator_sync", stdout=out)
    call_command("verigator_status", stdout=out)
    call_command("verigator_status", "alice", stdout=out)
    alice.phone_number = ""
    alice.save()
    alice.delete()
    call_command("verigator_sync", stdout=out)
    assert sandbox.calls() == []
    assert PHONE not in out.getvalue()


def test_pin_that_expired__asks_for_a_new_one(alice, browser, sandbox):
    give_password(browser)
    pin = sandbox.last_pin(PHONE)
    sandbox.advance(301)
    assert browser.post(PIN_PAGE, {"pin": pin}).status_code == 200
    assert Challenge.objects.get().outcome == Challenge.Outcome.EXPIRED
    Challenge.objects.update(resend_at=None)
    assert browser.post(RESEND)["Location"] == PIN_PAGE
    assert browser.post(PIN_PAGE, {"pin": sandbox.last_pin(PHONE)})["Location"] == "/private/"


def test_pin_of_an_older_start__is_not_taken(alice, browser, sandbox):
    give_password(browser)
    old = sandbox.last_pin(PHONE)
    Challenge.objects.update(resend_at=None)
    browser.post(RESEND)
    if sandbox.last_pin(PHONE) != old:
        browser.post(PIN_PAGE, {"pin": old})
        assert SESSION_KEY not in browser.session


@pytest.mark.threat("R06")
def test_lost_reply_to_a_start__asks_for_a_new_pin(alice, browser, sandbox):
    sandbox.add_fault("close", operation="verify.start", when="after", times=1)
    give_password(browser)
    assert browser.post(PIN_PAGE, {"pin": sandbox.last_pin(PHONE)}).status_code == 200
    assert SESSION_KEY not in browser.session
    assert [call["operation"] for call in sandbox.calls()] == ["verify.start"]
    Challenge.objects.update(resend_at=None)
    browser.post(RESEND)
    assert browser.post(PIN_PAGE, {"pin": sandbox.last_pin(PHONE)})["Location"] == "/private/"


def test_new_phone__is_confirmed_by_a_pin_sent_to_it(alice, browser, sandbox):
    give_password(browser)
    browser.post(PIN_PAGE, {"pin": sandbox.last_pin(PHONE)})
    Challenge.objects.update(resend_at=None)
    page = browser.post("/accounts/security/phone/", {"phone": NEW_PHONE, "password": PASSWORD})
    assert page["Location"] == "/accounts/security/phone/confirm/"
    browser.post("/accounts/security/phone/confirm/", {"pin": sandbox.last_pin(NEW_PHONE)})
    assert VerigatorUser.objects.get().phone_number == NEW_PHONE


def test_method_totp__falls_back_to_a_text_and_says_so(alice, browser, sandbox, settings):
    settings.VERIGATOR = {**settings.VERIGATOR, "METHOD": "totp"}
    give_password(browser)
    challenge = Challenge.objects.get()
    assert (challenge.requested_method, challenge.method) == ("totp", "sms")
    assert browser.post(PIN_PAGE, {"pin": sandbox.last_pin(PHONE)})["Location"] == "/private/"


def test_pin_length__is_what_the_provider_is_asked_for(alice, browser, sandbox, settings):
    settings.VERIGATOR = {**settings.VERIGATOR, "PIN_LENGTH": 8}
    give_password(browser)
    assert len(sandbox.last_pin(PHONE)) == 8
    assert browser.post(PIN_PAGE, {"pin": sandbox.last_pin(PHONE)})["Location"] == "/private/"


def test_one_setting__switches_back_in_the_middle_of_a_login(alice, browser, settings, sandbox):
    """Behind the same alias there is a provider with user records by now, which knows nothing of this code."""
    give_password(browser)
    settings.VERIGATOR = {
        **settings.VERIGATOR,
        "BACKENDS": {"default": {"BACKEND": "django_verigator.backends.locmem.LocMemBackend"}},
    }
    response = browser.post(PIN_PAGE, {"pin": sandbox.last_pin(PHONE)})
    assert response.status_code == HTTPStatus.OK
    assert "Ask for a new one" in response.content.decode()
    assert VerigatorUser.objects.get().consecutive_failures == 0
    Challenge.objects.update(resend_at=None)
    assert browser.post(RESEND)["Location"] == PIN_PAGE
    assert browser.post(PIN_PAGE, {"pin": sent_pin()})["Location"] == "/private/"


def test_one_setting__switches_a_site_that_used_verigator(alice, browser, sandbox, settings):
    VerigatorUser.objects.update(verigator_id="8d0c9c2e", state="registered")
    give_password(browser)
    assert browser.post(PIN_PAGE, {"pin": sandbox.last_pin(PHONE)})["Location"] == "/private/"
    assert VerigatorUser.objects.get().confirmed_at is not None


@pytest.mark.threat("L01")
def test_sandbox__is_a_stand_in(alice, sandbox, settings):
    settings.VERIGATOR = {**settings.VERIGATOR, "STAND_IN": False}
    assert "verigator.E003" in ids()
    with pytest.raises(ImproperlyConfigured, match="stand-in"):
        backends["default"]


def ids() -> list[str]:
    return [message.id for message in run_checks(tags=[checks.TAG])]


@pytest.mark.parametrize(
    ("options", "found"),
    [
        ({}, []),
        ({"validity": 300, "pin_length": 4}, []),
        ({"validity": 299}, ["verigator.E020"]),
        ({"max_tries": 2, "retry_delay": 60}, ["verigator.W021"]),
        ({"parameters_in": "query"}, []),
        ({"parameters_in": "body"}, []),
        ({"total_timeout": 21}, ["verigator.W020"]),
    ],
)
def test_checks__of_this_backend(settings, options, found):
    options = {"username": "u", "password": "p", **options}
    settings.VERIGATOR = {"BACKENDS": {"default": {"BACKEND": BACKEND, "OPTIONS": options}}}
    assert ids() == found


def test_checks__pins_shorter_than_the_limits_assume(settings):
    options = {"username": "u", "password": "p", "pin_length": 5}
    settings.VERIGATOR = {"BACKENDS": {"default": {"BACKEND": BACKEND, "OPTIONS": options}}, "PIN_LENGTH": 6}
    assert ids() == ["verigator.E020"]


@pytest.mark.parametrize(("ways", "found"), [(["sms", "totp"], []), (["totp"], ["verigator.E021"])])
def test_checks__app_alone_where_there_is_none(settings, ways, found):
    backend = {"BACKEND": BACKEND, "OPTIONS": {"username": "u", "password": "p"}}
    settings.VERIGATOR = {"BACKENDS": {"default": backend}, "METHOD": "totp", "WAYS": ways}
    assert ids() == found


def test_service_command__is_not_for_this_backend(alice, sandbox):
    with pytest.raises(CommandError, match="needs no service"):
        call_command("verigator_service", "example.com", "Shop")
    assert sandbox.calls() == []


@pytest.mark.threat("L03")
@pytest.mark.parametrize(
    "options",
    [
        {"username": ""},
        {"password": ""},
        {"service_id": "x"},
        {"template": "Your code"},
        {"template": "Your <pin>"},
        {"template": "<PIN>" * 60},
        {"sender": " "},
        {"pin_length": 3},
        {"pin_length": 17},
        {"pin_length": "6"},
        {"validity": 1801},
        {"validity": 0},
        {"max_tries": 0},
        {"max_tries": True},
        {"retry_delay": 0},
        {"parameters_in": "header"},
        {"credentials_in_query": True},
        {"endpoint": "http://api2.messente.com"},
        {"backup_endpoint": "http://api3.messente.com"},
        {"total_timeout": 0},
        {"ca_bundle": "/nowhere"},
        {"verify": False},
    ],
)
def test_options_that_cannot_be_used__are_an_error_without_an_echo(settings, options):
    options = {"username": "canary-user", "password": "canary-password", **options}
    settings.VERIGATOR = {"BACKENDS": {"default": {"BACKEND": BACKEND, "OPTIONS": options}}}
    (message,) = run_checks(tags=[checks.TAG])
    assert message.id == "verigator.E002"
    assert "canary" not in str(message)


@pytest.fixture
def bob(alice):
    return User.objects.create_user("bob", password=PASSWORD, phone_number="+37255500089")


@pytest.fixture
def one_reference(monkeypatch):
    """The provider gives everybody the same id."""
    monkeypatch.setattr(backends.default, "start", lambda *args, **kwargs: Started("sms", "the-same"))
    monkeypatch.setattr(backends.default, "check", lambda *args, **kwargs: Checked(True))


@pytest.mark.fault("T09")
def test_reference_that_somebody_waits_for__is_nobody_else_s(alice, bob, browser, client, one_reference):
    give_password(browser)
    give_password(client, "bob")
    assert "We cannot send" in client.get(PIN_PAGE).content.decode()
    client.post(PIN_PAGE, {"pin": "1234"})
    assert SESSION_KEY not in client.session
    assert browser.post(PIN_PAGE, {"pin": "1234"})["Location"] == "/private/"


@pytest.mark.fault("T09")
def test_reference__may_come_again_for_the_same_user_or_after_its_time(alice, bob, browser, client, one_reference):
    give_password(client)
    give_password(browser)
    assert browser.post(PIN_PAGE, {"pin": "1234"})["Location"] == "/private/"
    give_password(client, "bob")
    assert client.post(PIN_PAGE, {"pin": "5678"})["Location"] == "/private/"
    assert Challenge.objects.get(reference="the-same", outcome="verified").user == bob  # and no longer alice's
