"""The providers' own clients, as they come from the package index, pointed at the sandbox by their own means.

They are no part of the extra ``test``; without them their files are left out, which tests/conftest.py tells.
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib.util import find_spec

import pytest

from django_verigator.sandbox import Sandbox
from django_verigator.sandbox.application import Application
from django_verigator.sandbox.connection import ClientConnection
from django_verigator.sandbox.http_messages import Request

CLIENTS = {
    "test_messente_api.py": "messente_api",
    "test_messente_api_omnichannel.py": "messente_api",
    "test_messente_python.py": "messente",
    "test_twilio.py": "twilio",
}
collect_ignore = [name for name, client in CLIENTS.items() if find_spec(client) is None]

USERNAME, PASSWORD = "official-user", "official&password"
PHONE = "+37255500067"


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(username=USERNAME, password=PASSWORD) as sandbox:
        yield sandbox


@pytest.fixture
def requests(monkeypatch: pytest.MonkeyPatch) -> list[Request]:
    """Every request that comes to the sandbox, whole."""
    seen: list[Request] = []
    real = Application.handle

    def handle(self: Application, request: Request, client: ClientConnection) -> None:
        seen.append(request)
        real(self, request, client)

    monkeypatch.setattr(Application, "handle", handle)
    return seen


def wrong(pin: str) -> str:
    """Another PIN of the same length."""
    return pin[:-1] + str((int(pin[-1]) + 1) % 10)
