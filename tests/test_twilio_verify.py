"""The backend of Twilio Verify, with the sandbox as the provider, up to a whole login."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from django.contrib.auth import SESSION_KEY
from django.test import Client, override_settings
from django.utils import timezone

from django_verigator.backends import Recipient, backends, locmem
from django_verigator.backends.circuit import Circuit, CircuitState, protected_call
from django_verigator.backends.twilio_verify import TwilioVerifyBackend
from django_verigator.exceptions import (
    CircuitOpenError,
    InvalidDataError,
    NoSuchResourceError,
    NoSuchServiceError,
    ThrottledError,
)
from django_verigator.flows import providers
from django_verigator.models import Challenge, Counter, VerigatorUser
from django_verigator.sandbox import Sandbox

from .conftest import PHONE, give_password

PIN_PAGE, RESEND, PHONE_PAGE = "/accounts/verify/", "/accounts/verify/resend/", "/accounts/security/phone/"
BACKEND = "django_verigator.backends.twilio_verify.TwilioVerifyBackend"
SERVICE_SID = f"VA{'0a' * 16}"
ACCOUNT = {"account_sid": "account", "auth_token": "token"}
KEY = {"api_key_sid": "account", "api_key_secret": "token"}
CHANNELS = ["sms", "call", "whatsapp"]
ALICE = Recipient("", PHONE)


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(username="account", password="token", pin_length=6) as sandbox:
        yield sandbox


def make(sandbox: Sandbox, **options: Any) -> TwilioVerifyBackend:
    return TwilioVerifyBackend("default", endpoint=sandbox.url, service_sid=SERVICE_SID, **{**ACCOUNT, **options})


def block(sandbox: Sandbox, code: int) -> None:
    body = {"code": code, "message": "blocked", "more_info": "x", "status": 403}
    sandbox.add_fault("status", status=403, body=body, operation="twilio.start")


@pytest.fixture
def site(sandbox: Sandbox, settings: Any) -> Any:
    options = {**ACCOUNT, "service_sid": SERVICE_SID, "endpoint": sandbox.url, "channels": CHANNELS}
    spare = {"BACKEND": "django_verigator.backends.locmem.LocMemBackend", "OPTIONS": {"keeps_users": False}}
    backends = {"default": {"BACKEND": BACKEND, "OPTIONS": options}, "spare": spare}
    settings.VERIGATOR = {**settings.VERIGATOR, "BACKENDS": backends, "WAYS": tuple(CHANNELS)}
    return settings


@pytest.mark.parametrize("channel", CHANNELS)
def test_start__goes_by_the_channel_that_is_asked_for(sandbox: Sandbox, channel: str) -> None:
    backend = make(sandbox, channels=CHANNELS)
    started = backend.start(ALICE, channel)
    assert started.method == channel
    assert [message["channel"] for message in sandbox.messages(PHONE)] == [channel]
    assert backend.check(Recipient(""), sandbox.last_pin(PHONE), started.reference).verified is True


def test_start__with_an_api_key(sandbox: Sandbox) -> None:
    backend = TwilioVerifyBackend("default", endpoint=sandbox.url, service_sid=SERVICE_SID, **KEY)
    assert backend.start(ALICE, "sms").method == "sms"


def test_wrong_service__is_told_apart_from_an_ended_code(sandbox: Sandbox) -> None:
    sandbox.add_fault("status", status=404, body={"code": 20404, "message": "x", "more_info": "x", "status": 404})
    backend = make(sandbox)
    with pytest.raises(NoSuchServiceError) as caught:
        backend.start(ALICE, "sms")
    assert (caught.value.status, caught.value.__context__) == (404, None)
    with pytest.raises(NoSuchResourceError):
        backend.check(ALICE, "123456", f"VE{'0b' * 16}")


def test_sixth_send__is_throttled(sandbox: Sandbox) -> None:
    backend = make(sandbox)
    assert len({backend.start(ALICE, "sms").reference for _ in range(5)}) == 1
    with pytest.raises(ThrottledError) as caught:
        backend.start(ALICE, "sms")
    assert caught.value.provider_code == "60203"


@pytest.mark.parametrize(
    "options",
    [
        {"account_sid": "", "auth_token": ""},
        {"auth_token": ""},
        {"account_sid": ""},
        KEY,
        {"api_key_sid": "canary"},
        {"service_sid": ""},
        {"service_sid": "canary"},
        {"channels": []},
        {"channels": "sms"},
        {"channels": ["email"]},
        {"channels": ["sms", "sms"]},
        {"pin_length": 3},
        {"pin_length": 11},
        {"locale": " "},
        {"call_needs_key_press": "no"},
    ],
    ids=str,
)
def test_options__that_cannot_be_used_are_refused_without_their_values(options: dict[str, Any]) -> None:
    given = {"account_sid": "canary", "auth_token": "canary", "service_sid": SERVICE_SID, **options}
    with pytest.raises(ValueError, match=r"OPTIONS|must") as caught:
        TwilioVerifyBackend("default", **given)
    assert "canary" not in str(caught.value)


def test_checks__name_what_contradicts_the_settings(sandbox: Sandbox, settings: Any) -> None:
    assert make(sandbox).system_checks() == []
    with override_settings(VERIGATOR={**settings.VERIGATOR, "PIN_LENGTH": 8}):
        assert [message.id for message in make(sandbox).system_checks()] == ["verigator.E020"]
        assert make(sandbox, pin_length=8).system_checks() == []


def test_checks__two_backends_of_one_service_are_an_error(site: Any) -> None:
    """Its code for a number would be good for both, and nothing would tell."""
    entry = site.VERIGATOR["BACKENDS"]["default"]
    assert backends["default"].system_checks() == []
    site.VERIGATOR = {**site.VERIGATOR, "BACKENDS": {"default": entry, "second": entry}}
    for alias in ("default", "second"):
        assert [message.id for message in backends[alias].system_checks()] == ["verigator.E020"]
    other = {**entry, "OPTIONS": {**entry["OPTIONS"], "service_sid": "VA" + "0b" * 16}}
    site.VERIGATOR = {**site.VERIGATOR, "BACKENDS": {"default": entry, "second": other}}
    assert backends["default"].system_checks() == []


@pytest.mark.django_db
def test_login__the_code_is_sent_again_by_a_call(site: Any, sandbox: Sandbox, alice: Any) -> None:
    browser = Client()
    give_password(browser)
    Challenge.objects.update(resend_at=None)
    assert browser.post(RESEND, {"method": "call"})["Location"] == PIN_PAGE
    assert [message["channel"] for message in sandbox.messages(PHONE)] == ["sms", "call"]
    first, second = Challenge.objects.order_by("step")
    assert first.reference == second.reference
    assert first.superseded_at is not None
    assert browser.post(PIN_PAGE, {"pin": sandbox.last_pin(PHONE)})["Location"] == "/private/"
    assert SESSION_KEY in browser.session


@pytest.mark.django_db
def test_second_user_with_the_number__waits_until_the_code_is_over(
    site: Any, sandbox: Sandbox, alice: Any, django_user_model: Any
) -> None:
    django_user_model.objects.create_user("bob", password="correct horse", phone_number=PHONE)
    browser, other = Client(), Client()
    give_password(browser)
    other.post("/accounts/login/", {"username": "bob", "password": "correct horse"})
    pin = sandbox.last_pin(PHONE)
    other.post(PIN_PAGE, {"pin": pin})
    assert SESSION_KEY not in other.session
    assert Challenge.objects.get(user__username="bob").outcome == "unavailable"
    assert browser.post(PIN_PAGE, {"pin": pin})["Location"] == "/private/"


@pytest.mark.django_db
@pytest.mark.threat("E03")
def test_stranger_with_the_number__keeps_out_nobody_who_has_confirmed_it(
    site: Any, sandbox: Sandbox, alice: Any, django_user_model: Any
) -> None:
    """And gets nothing by it: the code is for the owner's login alone."""
    VerigatorUser.objects.filter(user=alice).update(confirmed_at=timezone.now())
    django_user_model.objects.create_user("mallory", password="correct horse", phone_number=PHONE)
    browser, stranger = Client(), Client()
    stranger.post("/accounts/login/", {"username": "mallory", "password": "correct horse"})
    give_password(browser)
    pin = sandbox.last_pin(PHONE)
    assert len({message["pin"] for message in sandbox.messages(PHONE)}) == 1
    assert Challenge.objects.get(user__username="mallory").superseded_at is not None
    stranger.post(PIN_PAGE, {"pin": pin})
    Challenge.objects.update(resend_at=None)
    stranger.post(RESEND)
    stranger.post(PIN_PAGE, {"pin": pin})
    assert SESSION_KEY not in stranger.session
    assert browser.post(PIN_PAGE, {"pin": pin})["Location"] == "/private/"


@pytest.mark.django_db
@pytest.mark.threat("E03")
def test_stranger_with_a_phone_of_their_own__keeps_out_nobody_who_has_confirmed_the_number(
    site: Any, sandbox: Sandbox, alice: Any, django_user_model: Any
) -> None:
    """Also where the change to the number is replaced by another one, for which no code is sent any more."""
    site.VERIGATOR = {**site.VERIGATOR, "LIMITS": {"SENDS_PER_USER_HOUR": 2}}
    VerigatorUser.objects.filter(user=alice).update(confirmed_at=timezone.now())
    django_user_model.objects.create_user("mallory", password="correct horse", phone_number="+37255500011")
    browser, stranger = Client(), Client()
    stranger.post("/accounts/login/", {"username": "mallory", "password": "correct horse"})
    stranger.post(PIN_PAGE, {"pin": sandbox.last_pin("+37255500011")})
    stranger.post(PHONE_PAGE, {"phone": PHONE, "password": "correct horse"})
    Counter.objects.filter(scope__startswith="changes/").delete()  # a minute later
    stranger.post(PHONE_PAGE, {"phone": "+37255500012", "password": "correct horse"})
    held = Challenge.objects.get(user__username="mallory", purpose=Challenge.Purpose.PHONE)
    assert (held.phone_change, held.is_running(timezone.now())) == (None, True)
    give_password(browser)
    assert browser.post(PIN_PAGE, {"pin": sandbox.last_pin(PHONE)})["Location"] == "/private/"


@pytest.mark.django_db
@pytest.mark.threat("E03")
def test_code_that_is_valid_again_since_no_other_was_sent__is_not_good_for_two_users(
    site: Any, sandbox: Sandbox, alice: Any, django_user_model: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The owner logs in while a stranger's resend is under way, which then fails."""
    VerigatorUser.objects.filter(user=alice).update(confirmed_at=timezone.now())
    django_user_model.objects.create_user("mallory", password="correct horse", phone_number=PHONE)
    browser, stranger = Client(), Client()
    stranger.post("/accounts/login/", {"username": "mallory", "password": "correct horse"})
    Challenge.objects.update(resend_at=None)
    start = providers.start

    def start_or_fail(backend: Any, challenge: Challenge, *args: Any, **options: Any) -> Any:
        if challenge.user_id == alice.pk:
            return start(backend, challenge, *args, **options)
        if not Challenge.objects.filter(user=alice).exists():
            give_password(browser)
        raise CircuitOpenError("not asked", sent=False)

    monkeypatch.setattr(providers, "start", start_or_fail)
    stranger.post(RESEND)
    assert Challenge.objects.get(user__username="mallory").is_running(timezone.now())
    pin = sandbox.last_pin(PHONE)
    stranger.post(PIN_PAGE, {"pin": pin})
    assert SESSION_KEY not in stranger.session
    assert browser.post(PIN_PAGE, {"pin": pin})["Location"] == "/private/"


@pytest.mark.django_db
@pytest.mark.threat("E03")
@pytest.mark.parametrize("is_owner_first", [True, False])
def test_one_code__is_not_good_for_two_users_under_a_new_secret_key_either(
    site: Any, sandbox: Sandbox, alice: Any, django_user_model: Any, is_owner_first: bool
) -> None:
    VerigatorUser.objects.filter(user=alice).update(confirmed_at=timezone.now())
    django_user_model.objects.create_user("mallory", password="correct horse", phone_number=PHONE)
    owner, stranger = Client(), Client()
    logins = [(owner, "alice"), (stranger, "mallory")]
    for browser, username in logins if is_owner_first else reversed(logins):
        browser.post("/accounts/login/", {"username": username, "password": "correct horse"})
        if not site.SECRET_KEY_FALLBACKS:
            site.SECRET_KEY_FALLBACKS, site.SECRET_KEY = (
                [site.SECRET_KEY],
                "new" * 20,
            )
    pin = sandbox.last_pin(PHONE)
    stranger.post(PIN_PAGE, {"pin": pin})
    assert SESSION_KEY not in stranger.session
    assert owner.post(PIN_PAGE, {"pin": pin})["Location"] == "/private/"


@pytest.mark.django_db
@pytest.mark.threat("E03")
def test_stranger_who_uses_up_twilio_s_tries__brings_the_owner_no_failures(
    site: Any, sandbox: Sandbox, alice: Any, django_user_model: Any
) -> None:
    """And another provider still lets the owner in."""
    VerigatorUser.objects.filter(user=alice).update(confirmed_at=timezone.now())
    django_user_model.objects.create_user("mallory", password="correct horse", phone_number=PHONE)
    browser, stranger = Client(), Client()
    stranger.post("/accounts/login/", {"username": "mallory", "password": "correct horse"})
    pin = sandbox.last_pin(PHONE)
    wrong = [code for code in ("111111", "222222", "333333", "444444", "555555", "666666") if code != pin][:5]
    for code in wrong:
        stranger.post(PIN_PAGE, {"pin": code})
    give_password(browser)
    assert "Location" not in browser.post(PIN_PAGE, {"pin": pin})
    assert VerigatorUser.objects.get(user=alice).consecutive_failures == 0
    Challenge.objects.update(resend_at=None)
    browser.post(RESEND, {"way": "other"})
    assert browser.post(PIN_PAGE, {"pin": locmem.outbox[-1].pin})["Location"] == "/private/"


@pytest.mark.django_db
@pytest.mark.threat("C09", "E03")
def test_tries_used_up_by_a_stranger__cost_the_owner_one_code(
    site: Any, sandbox: Sandbox, alice: Any, django_user_model: Any
) -> None:
    VerigatorUser.objects.filter(user=alice).update(confirmed_at=timezone.now())
    django_user_model.objects.create_user("mallory", password="correct horse", phone_number=PHONE)
    browser, stranger = Client(), Client()
    stranger.post("/accounts/login/", {"username": "mallory", "password": "correct horse"})
    for number in range(5):
        stranger.post(PIN_PAGE, {"pin": f"{(int(sandbox.last_pin(PHONE)) + 1 + number) % 10**6:06}"})
    give_password(browser)
    used_up = sandbox.last_pin(PHONE)
    assert "Too many tries with this PIN" in browser.post(PIN_PAGE, {"pin": used_up}).content.decode()
    Challenge.objects.update(resend_at=None)
    browser.post(RESEND)
    assert browser.post(PIN_PAGE, {"pin": sandbox.last_pin(PHONE)})["Location"] == "/private/"
    assert Challenge.objects.filter(user=alice).values("reference").distinct().count() == 2
    assert VerigatorUser.objects.get(user=alice).consecutive_failures == 0


@pytest.mark.django_db
@pytest.mark.parametrize("code", [60410, 60412, 60413, 60605, 60205, 60200])
def test_blocked_number__goes_to_no_other_provider(site: Any, sandbox: Sandbox, alice: Any, code: int) -> None:
    block(sandbox, code)
    give_password(Client())
    assert locmem.outbox == []
    assert Challenge.objects.get().outcome == "unavailable"


def test_blocked_numbers__open_no_circuit(sandbox: Sandbox) -> None:
    block(sandbox, 60410)
    backend = make(sandbox)
    for _ in range(20):
        with pytest.raises(InvalidDataError), protected_call(backend):
            backend.start(ALICE, "sms")
    assert Circuit("default").state == CircuitState.CLOSED


@pytest.mark.django_db
@pytest.mark.parametrize(("code", "status"), [(60223, 400), (60238, 400), (60220, 403), (20003, 401), (20404, 404)])
def test_fault_of_the_site_or_the_account__goes_to_the_next_provider(
    site: Any, sandbox: Sandbox, alice: Any, code: int, status: int
) -> None:
    body = {"code": code, "message": "no", "more_info": "x", "status": status}
    sandbox.add_fault("status", status=status, body=body, operation="twilio.start")
    give_password(Client())
    assert len(locmem.outbox) == 1
