"""N07: what the log and the commands say of a provider that cannot be reached."""

from __future__ import annotations

import io
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.test import Client

from django_verigator.backends import Recipient, backends, protected_call
from django_verigator.exceptions import VerigatorError
from django_verigator.sandbox import Sandbox
from tests.site.models import User

from .relay import Relay

pytestmark = [pytest.mark.fault("N07"), pytest.mark.django_db(transaction=True)]


@pytest.fixture
def alice(options: dict[str, Any], settings: Any) -> User:
    entry = {"BACKEND": "django_verigator.backends.verigator.VerigatorBackend", "OPTIONS": options}
    settings.VERIGATOR = {"BACKENDS": {"default": entry}, "PHONE": "phone_number", "STAND_IN": True}
    return User.objects.create_user("alice", password="horse", phone_number="+37255500001")


@pytest.fixture
def gone(alice: User, sandbox: Sandbox, options: dict[str, Any], settings: Any) -> str:
    """From now on the provider is not there; its address."""
    backends.default.close()
    sandbox.stop()
    options["endpoint"] = sandbox.url
    settings.VERIGATOR = dict(settings.VERIGATOR)
    return sandbox.url.partition("//")[2]


def test_log__says_why_and_where(
    alice: User, sandbox: Sandbox, gone: str, browser: Client, caplog: pytest.LogCaptureFixture
) -> None:
    told = f"reason=connection status=None why=refused address={gone}"
    browser.post("/accounts/login/", {"username": "alice", "password": "horse"})
    assert f"send_failed user={alice.pk} {told} backend=default" in caplog.text
    User.objects.create_user("bob", phone_number="+37255500002")
    assert f"registration_failed user={alice.pk + 1} {told}" in caplog.text
    for _ in range(4):
        with pytest.raises(VerigatorError), protected_call(backends.default):
            backends.default.start(Recipient("uid"), "sms")
    assert f"circuit_opened backend=default {told}" in caplog.text
    assert "canary" not in caplog.text


def test_log__of_a_check_says_why_and_where(
    alice: User, sandbox: Sandbox, relay: Relay, browser: Client, caplog: pytest.LogCaptureFixture
) -> None:
    browser.post("/accounts/login/", {"username": "alice", "password": "horse"})
    relay.forget("reset")
    browser.post("/accounts/verify/", {"pin": sandbox.last_pin(alice.phone_number)})
    told = f"reason=connection status=None why=no_answer address=127.0.0.1:{relay.port}"
    assert f"check_failed user={alice.pk} {told}" in caplog.text


def test_sync__says_why_and_where(alice: User, gone: str) -> None:
    User.objects.create_user("bob", phone_number="+37255500002")
    said = io.StringIO()
    with pytest.raises(CommandError):
        call_command("verigator_sync", stdout=said, stderr=said)
    assert f"the provider could not be reached (connection: refused at {gone})" in said.getvalue()
    assert "canary" not in said.getvalue()


@pytest.mark.parametrize("command", [["verigator_service", "example.com", "Example"]])
def test_command__says_why_and_where(gone: str, command: list[str]) -> None:
    with pytest.raises(CommandError, match=f"no connection to {gone}: nobody listens there"):
        call_command(*command)
