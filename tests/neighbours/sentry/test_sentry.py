"""sentry-sdk, with its defaults and more: no PIN, password or whole number is in what it sends."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
import sentry_sdk
from django.urls import reverse
from sentry_sdk.envelope import Envelope
from sentry_sdk.transport import Transport

from django_verigator.backends import backends, locmem
from django_verigator.exceptions import RequestTimeoutError
from tests.conftest import PASSWORD, PHONE, WRONG_PIN

pytestmark = pytest.mark.fault("X14")


class Kept(Transport):
    """Keeps what would be sent."""

    def __init__(self) -> None:
        super().__init__()
        self.events: list[Any] = []

    def capture_envelope(self, envelope: Envelope) -> None:
        self.events += [json.loads(item.payload.get_bytes()) for item in envelope.items if item.type != "session"]

    def errors(self) -> list[str]:
        return [event["exception"]["values"][-1]["type"] for event in self.events if "exception" in event]

    def text(self) -> str:
        return json.dumps(self.events)


class KeptOfUs(Kept):
    """Looks at what comes from the app: variables of its frames, texts of errors, the trail of what was done."""

    def text(self) -> str:
        return json.dumps([{**event, "request": None} for event in self.events])


# More than the defaults: all of the body, and what its documentation calls personal.
EVERYTHING = {"send_default_pii": True, "traces_sample_rate": 1.0, "max_request_body_size": "always"}


@pytest.fixture(params=["as documented", "defaults", "everything"])
def kept(request: Any, settings: Any) -> Iterator[Kept]:
    documented = request.param == "as documented"
    options = settings.SENTRY if documented else {"dsn": settings.SENTRY["dsn"]}
    transport = Kept() if documented else KeptOfUs()
    sentry_sdk.init(**options, transport=transport, **(EVERYTHING if request.param != "defaults" else {}))
    yield transport
    sentry_sdk.init()


@pytest.fixture
def breaks(monkeypatch: Any) -> Any:
    """Have an operation of the provider raise what nobody expects."""

    def give(operation: str) -> None:
        def broken(*args: Any, **kwargs: Any) -> Any:
            raise ZeroDivisionError

        monkeypatch.setattr(type(backends.default), operation, broken)

    return give


def give_password(visitor: Any) -> Any:
    visitor.raise_request_exception = False
    return visitor.post("/accounts/login/", {"username": "alice", "password": PASSWORD})


@pytest.mark.parametrize("operation", ["start", "register"])
def test_error_while_a_pin_is_sent__tells_no_number(visitor, alice, kept, breaks, operation):
    breaks(operation)
    give_password(visitor)
    assert "ZeroDivisionError" in kept.errors()
    assert PHONE not in kept.text()
    assert PHONE[1:] not in kept.text()
    assert PASSWORD not in kept.text()


def test_error_while_a_pin_is_checked__tells_no_pin(visitor, alice, kept, breaks):
    give_password(visitor)
    pin = locmem.outbox[-1].pin
    breaks("check")
    visitor.post(reverse("verigator:verify"), {"pin": pin})
    assert "ZeroDivisionError" in kept.errors()
    assert f'"{pin}"' not in kept.text()
    assert f"'{pin}'" not in kept.text()
    assert PHONE not in kept.text()


def test_error_while_a_phone_is_enrolled__tells_no_number(visitor, carol, kept, breaks, settings):
    settings.VERIGATOR = {**settings.VERIGATOR, "REQUIRED": "all"}
    visitor.raise_request_exception = False
    visitor.post("/accounts/login/", {"username": "carol", "password": PASSWORD})
    breaks("register")
    visitor.post(reverse("verigator:enrol"), {"phone_number": PHONE, "phone": PHONE})
    assert "ZeroDivisionError" in kept.errors()
    assert PHONE not in kept.text()


def test_whole_login__sends_no_secret_in_traces_and_breadcrumbs(visitor, alice, kept):
    give_password(visitor)
    visitor.post(reverse("verigator:verify"), {"pin": WRONG_PIN})
    pin = locmem.outbox[-1].pin
    visitor.post(reverse("verigator:verify"), {"pin": pin})
    assert visitor.gets_in()
    sentry_sdk.capture_message("something else")
    assert kept.events
    assert f'"{pin}"' not in kept.text()
    assert PHONE not in kept.text()
    assert PASSWORD not in kept.text()


def test_provider_that_does_not_answer__is_no_error_that_tells(visitor, alice, kept):
    from django_verigator.testing import fail_next

    fail_next(RequestTimeoutError(), times=None)
    give_password(visitor)
    assert PHONE not in kept.text()
