"""Providers of three kinds in a row: whichever still works lets its users in, also in the middle of a login."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack
from itertools import permutations
from typing import Any

import pytest
from django.contrib.auth import SESSION_KEY
from django.test import Client

from django_verigator.backends import BaseBackend, Circuit, CircuitState, Started
from django_verigator.client import Api
from django_verigator.exceptions import ConnectionFailedError
from django_verigator.flows import providers as flows
from django_verigator.models import Challenge, Counter, VerigatorUser
from django_verigator.sandbox import Sandbox
from tests.site.models import User

from .conftest import PHONE, give_password
from .deadlines import in_time

PIN_PAGE, RESEND = "/accounts/verify/", "/accounts/verify/resend/"
ACCOUNT = {"username": "account", "password": "secret"}
TWILIO = {"account_sid": "account", "auth_token": "secret", "service_sid": f"VA{'0a' * 16}"}
CLASSES = {
    "verigator": "django_verigator.backends.verigator.VerigatorBackend",
    "numbers": "django_verigator.backends.number_verification.NumberVerificationBackend",
    "omnichannel": "django_verigator.backends.omnichannel.OmnichannelBackend",
    "twilio": "django_verigator.backends.twilio_verify.TwilioVerifyBackend",
    "gateway": "tests.contract.messente_sms.MessenteSmsBackend",
}
TOTAL = 4.0
DIGITS = 10  # as many as all of them can, so that no two PINs are the same by chance
# What an outage looks like, and nothing was sent for certain.
OUTAGES: dict[str, dict[str, Any]] = {
    "down": {},
    "unavailable": {"fault": "status", "status": 503},
    "revoked": {"fault": "status", "status": 401},
}
# What takes all the time there is, and may have sent something.
SLOW: dict[str, dict[str, Any]] = {"hangs": {"fault": "hang", "seconds": 20}, "drips": {"fault": "drip", "seconds": 1}}
LIMITS = {"PIN_LENGTH": DIGITS, "LIMITS": {"RESEND_PAUSE": 1}}
SHIPPED = [name for name in CLASSES if name != "gateway"]
ORDERS = [list(order) for order in permutations(SHIPPED, 3)]
ORDERS += [
    ["gateway", "verigator", "twilio"],
    ["twilio", "gateway", "numbers"],
    ["verigator", "omnichannel", "gateway"],
]
SLOW_ORDERS = [
    ["verigator", "numbers", "omnichannel"],
    ["omnichannel", "twilio", "gateway"],
    ["gateway", "omnichannel", "verigator"],
]


class Providers:
    """A sandbox for each provider, each at an address of its own."""

    def __init__(self, stack: ExitStack, settings: Any) -> None:
        self.settings = settings
        self.sandboxes = {name: stack.enter_context(Sandbox(**ACCOUNT, pin_length=DIGITS)) for name in CLASSES}
        self.service_id = Api(**ACCOUNT, endpoint=self.sandboxes["verigator"].url).services.create("shop", "Shop").id

    def use(self, *names: str, total_timeout: float = TOTAL) -> None:
        entries = {}
        for name in names:
            options = TWILIO if name == "twilio" else ACCOUNT
            own = {"verigator": {"service_id": self.service_id}, "twilio": {"pin_length": DIGITS}}
            options = {
                **options,
                **own.get(name, {}),
                "endpoint": self.sandboxes[name].url,
                "total_timeout": total_timeout,
            }
            entries[name] = {"BACKEND": CLASSES[name], "OPTIONS": options}
        self.settings.VERIGATOR = {**self.settings.VERIGATOR, "BACKENDS": entries, **LIMITS}

    def fail(self, name: str, outage: str) -> None:
        if outage == "down":
            self.sandboxes[name].stop()
        else:
            order = {**OUTAGES, **SLOW}[outage]
            self.sandboxes[name].add_fault(order["fault"], **{key: order[key] for key in order if key != "fault"})

    def sent_by(self) -> list[str]:
        working = {name: sandbox for name, sandbox in self.sandboxes.items() if not sandbox._stopped}
        return [name for name, sandbox in working.items() if sandbox.messages(PHONE)]

    def pin(self, name: str) -> str:
        return self.sandboxes[name].last_pin(PHONE)


@pytest.fixture
def providers(settings: Any) -> Iterator[Providers]:
    with ExitStack() as stack:
        yield Providers(stack, settings)


@pytest.fixture
def alice(db: None, providers: Providers, django_user_model: Any) -> User:
    providers.use(*ORDERS[0])
    return django_user_model.objects.create_user("alice", password="correct horse", phone_number=PHONE)  # type: ignore[no-any-return]


@pytest.mark.threat("R01", "R02")
@pytest.mark.parametrize("outage", OUTAGES)
@pytest.mark.parametrize("order", ORDERS, ids="-".join)
def test_outage_of_two__loses_no_login(alice: User, providers: Providers, order: list[str], outage: str) -> None:
    providers.use(*order)
    for name in order[:2]:
        providers.fail(name, outage)
    browser = Client()
    with in_time(TOTAL):
        assert give_password(browser)["Location"] == PIN_PAGE
    assert providers.sent_by() == [order[2]]
    assert Challenge.objects.get().backend == order[2]
    assert browser.post(PIN_PAGE, {"pin": providers.pin(order[2])})["Location"] == "/private/"
    assert set(Counter.objects.filter(scope__startswith="sends/").values_list("count", flat=True)) == {1}


@pytest.mark.threat("R01", "R02")
@pytest.mark.parametrize("outage", SLOW)
@pytest.mark.parametrize("order", SLOW_ORDERS, ids="-".join)
def test_two_that_take_all_the_time__are_left_by_asking_again(
    alice: User, providers: Providers, order: list[str], outage: str
) -> None:
    """Each may have sent a code when the time is over, so the user decides when another one is asked."""
    providers.use(*order, total_timeout=1.0)
    for name in order[:2]:
        providers.fail(name, outage)
    browser = Client()
    with in_time(1.0):
        assert give_password(browser)["Location"] == PIN_PAGE
    for _ in order[1:]:
        if order[2] not in providers.sent_by():
            Challenge.objects.update(resend_at=None)
            with in_time(1.0):
                browser.post(RESEND)
    assert browser.post(PIN_PAGE, {"pin": providers.pin(order[2])})["Location"] == "/private/"


@pytest.mark.threat("R01", "R02")
def test_provider_that_there_was_no_time_to_ask__is_the_next_one_asked(
    alice: User, providers: Providers, monkeypatch: pytest.MonkeyPatch
) -> None:
    providers.use("twilio", "omnichannel", total_timeout=0.3)
    asked, start = [], flows.start

    def start_or_wait(backend: BaseBackend, *args: Any, **options: Any) -> Started:
        asked.append(backend.alias)
        if backend.alias == "omnichannel":
            return start(backend, *args, **options)
        time.sleep(0.31)
        raise ConnectionFailedError("no connection", sent=False)

    monkeypatch.setattr(flows, "start", start_or_wait)
    browser = Client()
    give_password(browser)
    assert (Challenge.objects.get().backend, Challenge.objects.get().outcome) == ("twilio", "unavailable")
    browser.post(RESEND)
    assert asked == ["twilio", "omnichannel"]


@pytest.mark.threat("R01", "R02")
def test_record_that_takes_all_the_time__leaves_some_for_the_next_provider(alice: User, providers: Providers) -> None:
    providers.use("verigator", "numbers", total_timeout=2.0)
    providers.fail("verigator", "drips")
    browser = Client()
    with in_time(2.0):
        give_password(browser)
    assert browser.post(PIN_PAGE, {"pin": providers.pin("numbers")})["Location"] == "/private/"


@pytest.mark.threat("R02")
def test_record_that_is_there_already__is_made_anew_within_the_same_time(alice: User, providers: Providers) -> None:
    """A 409 that takes its time is followed by a second call."""
    providers.use("verigator", total_timeout=2.0)
    slow = {"seconds": 0.05, "status": 409, "body": {"message": "x" * 20}, "operation": "users.create"}
    providers.sandboxes["verigator"].add_fault("drip", **slow)
    with in_time(2.0):
        give_password(Client())
    calls = [call["operation"] for call in providers.sandboxes["verigator"].calls()]
    assert calls.count("users.create") == 2


@pytest.mark.threat("R01")
@pytest.mark.parametrize("order", ORDERS, ids="-".join)
def test_provider_that_goes_down_after_sending__is_left_for_the_next(
    alice: User, providers: Providers, order: list[str]
) -> None:
    """Its own PIN still lets in where it is made here; else the user asks for another one, another way."""
    providers.use(*order)
    browser = Client()
    give_password(browser)
    pin = providers.pin(order[0])
    providers.fail(order[0], "down")
    response = browser.post(PIN_PAGE, {"pin": pin})
    if order[0] in ("omnichannel", "gateway"):
        assert response["Location"] == "/private/"
        return
    assert "We cannot send or check PINs at the moment" in response.content.decode()
    for name in order[1:]:
        Challenge.objects.update(resend_at=None)
        browser.post(RESEND, {"way": "other"})
        assert Challenge.objects.order_by("step").last().backend == name  # type: ignore[union-attr]
    assert browser.post(PIN_PAGE, {"pin": pin}).status_code == 200
    assert browser.post(PIN_PAGE, {"pin": providers.pin(order[2])})["Location"] == "/private/"
    assert browser.session[SESSION_KEY] == str(alice.pk)


@pytest.mark.threat("R01")
def test_circuit__is_one_for_each(alice: User, providers: Providers) -> None:
    order = ["twilio", "omnichannel", "numbers"]
    providers.use(*order)
    for name in order[:2]:
        providers.fail(name, "revoked")
    for number in range(8):
        User.objects.create_user(f"user-{number}", password="correct horse", phone_number=f"+3725550{number:04}")
        browser = Client(REMOTE_ADDR=f"9.9.9.{number}")
        assert give_password(browser, f"user-{number}")["Location"] == PIN_PAGE
    states = [Circuit(name).state for name in order]
    assert states == [CircuitState.OPEN, CircuitState.OPEN, CircuitState.CLOSED]
    assert Challenge.objects.filter(backend="numbers", outcome="sent").count() == 8


def test_another_provider_for_good__leaves_no_user_behind(alice: User, providers: Providers) -> None:
    """From one that keeps users to others and back, with a login under way at each change."""
    providers.use("verigator")
    browser, before = Client(), ""
    for name in ("verigator", "twilio", "omnichannel", "numbers", "verigator"):
        providers.use(*dict.fromkeys((name, before or name)))
        if before:
            assert browser.post(PIN_PAGE, {"pin": providers.pin(before)})["Location"] == "/private/"
        VerigatorUser.objects.update(last_pin="")
        Counter.objects.all().delete()
        browser, before = Client(), name
        assert give_password(browser)["Location"] == PIN_PAGE
        assert Challenge.objects.order_by("created_at").last().backend == name  # type: ignore[union-attr]
