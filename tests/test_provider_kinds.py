"""Providers of three kinds in a row: whichever still works lets its users in, also in the middle of a login."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from itertools import permutations
from typing import Any

import pytest
from django.contrib.auth import SESSION_KEY
from django.test import Client

from django_verigator.backends import Circuit, CircuitState
from django_verigator.client import Api
from django_verigator.models import Challenge, Counter, VerigatorUser
from django_verigator.sandbox import Sandbox
from tests.site.models import User

from .conftest import PHONE, give_password
from .deadlines import in_time

PIN_PAGE, RESEND = "/accounts/verify/", "/accounts/verify/resend/"
ACCOUNT = {"username": "account", "password": "secret"}
TWILIO = {"account_sid": "account", "auth_token": "secret", "service_sid": f"VA{'0a' * 16}"}
CLASSES = {
    "verigator": "verigator.VerigatorBackend",
    "numbers": "number_verification.NumberVerificationBackend",
    "omnichannel": "omnichannel.OmnichannelBackend",
    "twilio": "twilio_verify.TwilioVerifyBackend",
}
TOTAL = 4.0
DIGITS = 10  # as many as all of them can, so that no two PINs are the same by chance
# What an outage looks like, and nothing was sent for certain.
OUTAGES: dict[str, dict[str, Any]] = {
    "down": {},
    "unavailable": {"fault": "status", "status": 503},
    "revoked": {"fault": "status", "status": 401},
}
LIMITS = {"PIN_LENGTH": DIGITS, "LIMITS": {"RESEND_PAUSE": 1}}
ORDERS = [list(order) for order in permutations(CLASSES, 3)]


class Providers:
    """A sandbox for each provider, each at an address of its own."""

    def __init__(self, stack: ExitStack, settings: Any) -> None:
        self.settings = settings
        self.sandboxes = {name: stack.enter_context(Sandbox(**ACCOUNT, pin_length=DIGITS)) for name in CLASSES}
        self.service_id = Api(**ACCOUNT, endpoint=self.sandboxes["verigator"].url).services.create("shop", "Shop").id

    def use(self, *names: str) -> None:
        entries = {}
        for name in names:
            options = TWILIO if name == "twilio" else ACCOUNT
            own = {"verigator": {"service_id": self.service_id}, "twilio": {"pin_length": DIGITS}}
            options = {**options, **own.get(name, {}), "endpoint": self.sandboxes[name].url, "total_timeout": TOTAL}
            entries[name] = {"BACKEND": f"django_verigator.backends.{CLASSES[name]}", "OPTIONS": options}
        self.settings.VERIGATOR = {**self.settings.VERIGATOR, "BACKENDS": entries, **LIMITS}

    def fail(self, name: str, outage: str) -> None:
        if outage == "down":
            self.sandboxes[name].stop()
        else:
            self.sandboxes[name].add_fault(OUTAGES[outage]["fault"], status=OUTAGES[outage]["status"])

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
    if order[0] == "omnichannel":
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
