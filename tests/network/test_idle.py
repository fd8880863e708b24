"""N01: connections that nobody has used for a while, in networks that forget them; N05 and T11 stand beside."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client

from django_verigator.backends import Circuit, Recipient, backends
from django_verigator.backends.verigator import VerigatorBackend
from django_verigator.client import deadline
from django_verigator.exceptions import ConnectionFailedError
from django_verigator.models import Challenge
from django_verigator.sandbox import Sandbox
from tests.site.models import User

from .crowd import errors, side_by_side
from .relay import Relay

Make = Callable[..., VerigatorBackend]
Quiet = Callable[[float, str], None]
MINUTE = 61.0
LOGINS = 50

forgets = pytest.mark.parametrize("how", ["reset", "swallow"])


@pytest.mark.fault("N01")
@forgets
@pytest.mark.django_db(transaction=True)
def test_fifty_logins__none_is_lost_to_a_network_that_forgets(
    sandbox: Sandbox, options: dict[str, Any], settings: Any, quiet: Quiet, how: str
) -> None:
    """A minute of silence before each password and before each PIN."""
    entry = {"BACKEND": "django_verigator.backends.verigator.VerigatorBackend", "OPTIONS": options}
    settings.VERIGATOR = {
        "BACKENDS": {"default": entry},
        "PHONE": "phone_number",
        "STAND_IN": True,
    }
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
    for number in range(LOGINS):
        phone = f"+3725550{number:04}"
        User.objects.create_user(f"user{number}", password="horse", phone_number=phone)
        quiet(MINUTE, how)
        browser = Client(REMOTE_ADDR=f"198.51.100.{number}")
        response = browser.post("/accounts/login/", {"username": f"user{number}", "password": "horse"})
        assert response["Location"] == "/accounts/verify/"
        quiet(MINUTE, how)
        response = browser.post("/accounts/verify/", {"pin": sandbox.last_pin(phone)})
        assert response["Location"] == "/private/"
    assert Circuit("default").state.value == "closed"
    assert [(one.outcome, one.tries) for one in Challenge.objects.all()] == [("verified", 1)] * LOGINS
    assert len(sandbox.calls(operation="auth.start")) == len(sandbox.calls(operation="auth.verify")) == LOGINS
    backends.default.close()


@pytest.mark.fault("N01")
@forgets
def test_twenty_threads__none_uses_what_the_network_forgot(
    sandbox: Sandbox, backend: Make, quiet: Quiet, how: str
) -> None:
    one = backend()

    def register(number: int) -> str:
        ids[number] = one.register(f"+3725550{number:04}", f"user{number}")
        return ids[number]

    def start(number: int) -> Any:
        return one.start(Recipient(ids[number]), "sms")

    def check(number: int) -> Any:
        return one.check(Recipient(ids[number]), sandbox.last_pin(f"+3725550{number:04}"), "")

    ids: dict[int, str] = {}
    results = side_by_side(register, start, check, threads=20, between=lambda: quiet(MINUTE, how))
    assert errors(results) == []
    assert all(result.verified for result in results)
    assert len(sandbox.calls(operation="auth.start")) == len(sandbox.calls(operation="auth.verify")) == 20


@pytest.mark.fault("N01")
def test_connection__is_used_again_within_seconds(backend: Make, relay: Relay, quiet: Quiet) -> None:
    """So that the tests above do not pass because no connection is ever kept."""
    one = backend()
    user = one.register("+37255500001", "alice")
    for _ in range(5):
        one.start(Recipient(user), "sms")
    assert len(relay.lines) == 1


@pytest.mark.fault("N01")
def test_connection__that_the_other_end_has_closed_is_not_used(sandbox: Sandbox, backend: Make, relay: Relay) -> None:
    one = backend()
    user = one.register("+37255500001", "alice")
    for _ in range(5):
        relay.hang_up()
        one.start(Recipient(user), "sms")
    assert len(sandbox.calls(operation="auth.start")) == 5


@pytest.mark.fault("N01")
def test_connection__found_dead_before_a_byte_has_left_costs_nothing(
    sandbox: Sandbox, backend: Make, relay: Relay, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The end came after we looked."""
    one = backend()
    user = one.register("+37255500001", "alice")
    relay.lines[0].reset()
    monkeypatch.setattr(deadline.DeadlineSocket, "is_reusable", lambda self: True)
    one.start(Recipient(user), "sms")
    assert len(sandbox.calls(operation="auth.start")) == 1


@pytest.mark.fault("N01")
def test_connection__that_breaks_after_the_request_has_left_is_a_lost_reply(
    sandbox: Sandbox, backend: Make, relay: Relay
) -> None:
    """Nobody can tell whether the provider has seen it, so it is not sent again."""
    one = backend()
    user = one.register("+37255500001", "alice")
    relay.forget("reset")
    with pytest.raises(ConnectionFailedError) as caught:
        one.start(Recipient(user), "sms")
    assert caught.value.sent is True
    assert sandbox.calls(operation="auth.start") == []
    assert len(relay.lines) == 1
