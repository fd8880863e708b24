"""The sandbox as this site's provider, of any kind: started here, kept in a file, its service made once."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

from django.conf import settings

from django_verigator.client import Api
from django_verigator.sandbox import Sandbox

DOMAIN = "cafe.example"
NAME = "Corner Café"
VERIFY_SERVICE = f"VA{'cafe' * 8}"
"""Twilio's services have such names; the sandbox takes any."""


@dataclass(frozen=True)
class Kind:
    """A kind of provider.

    Attributes:
        backend: the class, below ``django_verigator.backends``.
        options: returns its options from the sandbox and the site's address.
        ways: WAYS.
    """

    title: str
    backend: str
    options: Callable[[Sandbox, str], dict[str, Any]]
    ways: tuple[str, ...] = ("sms", "totp")

    def setting(self, sandbox: Sandbox, site: str) -> dict[str, Any]:
        """Return the setting VERIGATOR with this sandbox as its provider; ``site`` is the site's address."""
        setting = deepcopy(settings.VERIGATOR)
        backend = f"django_verigator.backends.{self.backend}"
        options = {**self.options(sandbox, site), "endpoint": sandbox.url}
        setting["BACKENDS"]["default"] = {"BACKEND": backend, "OPTIONS": options}
        return {**setting, "WAYS": self.ways}


def _account() -> tuple[str, str]:
    options = settings.SANDBOX_OPTIONS
    return options["username"], options["password"]


def _credentials() -> dict[str, str]:
    username, password = _account()
    return {"username": username, "password": password}


def _of_twilio() -> dict[str, str]:
    account_sid, auth_token = _account()
    return {"account_sid": account_sid, "auth_token": auth_token, "service_sid": VERIFY_SERVICE}


KINDS = {
    "verigator": Kind(
        "Verigator",
        "verigator.VerigatorBackend",
        lambda sandbox, site: {**_credentials(), "service_id": service_id(sandbox)},
    ),
    "number-verification": Kind(
        "Number Verification",
        "number_verification.NumberVerificationBackend",
        lambda sandbox, site: _credentials(),
    ),
    "omnichannel": Kind(
        "Omnichannel",
        "omnichannel.OmnichannelBackend",
        lambda sandbox, site: {**_credentials(), "channels": ["sms", "whatsapp"], "report_base": site},
        ways=("sms", "whatsapp"),
    ),
    "twilio-verify": Kind(
        "Twilio Verify",
        "twilio_verify.TwilioVerifyBackend",
        lambda sandbox, site: {**_of_twilio(), "channels": ["sms", "call", "whatsapp"]},
        ways=("sms", "call", "whatsapp"),
    ),
}


def open_sandbox(port: int) -> Sandbox:
    """Return the sandbox, not started yet.

    Raises:
        SandboxError: the port is taken, or the file is not a sandbox's.
    """
    username, password = _account()
    return Sandbox(username=username, password=password, port=port, db=str(settings.SANDBOX_DB))


def api(sandbox: Sandbox) -> Api:
    return Api(*_account(), sandbox.url)


def service_id(sandbox: Sandbox) -> str:
    """Return the id of this site's service; made now if the sandbox has none, and noted for settings.py."""
    # The provider's API can make a service, but not look one up by its name; the sandbox's own memory can.
    found = sandbox.store.row("SELECT id FROM service WHERE name = ?", [NAME])
    service = str(found[0]) if found else api(sandbox).services.create(DOMAIN, NAME).id
    settings.SANDBOX_SERVICE_ID.write_text(f"{service}\n")
    return service
