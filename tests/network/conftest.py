from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from django_verigator.backends.verigator import VerigatorBackend
from django_verigator.client import Api, deadline
from django_verigator.sandbox import Sandbox

from .relay import Relay

CERTS = Path(__file__).parents[1] / "client" / "certs"
ACCOUNT = {"username": "net", "password": "canary-secret"}


@pytest.fixture(params=["http", "https"])
def scheme(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def sandbox(scheme: str) -> Iterator[Sandbox]:
    files = {"certfile": str(CERTS / "good.pem"), "keyfile": str(CERTS / "server.key")} if scheme == "https" else {}
    with Sandbox(**ACCOUNT, **files) as sandbox:
        yield sandbox


@pytest.fixture
def relay(sandbox: Sandbox) -> Iterator[Relay]:
    with Relay(sandbox.url) as relay:
        yield relay


@pytest.fixture
def options(sandbox: Sandbox, relay: Relay) -> dict[str, Any]:
    """Of a backend behind the relay."""
    ca = {"ca_bundle": str(CERTS / "ca.pem")}
    api = Api(**ACCOUNT, endpoint=sandbox.url, **ca)
    service = api.services.create("localhost", "net").id
    api.close()
    return {**ACCOUNT, **ca, "endpoint": relay.url, "service_id": service}


@pytest.fixture
def backend(options: dict[str, Any]) -> Iterator[Callable[..., VerigatorBackend]]:
    """``backend(**options)`` makes one; more options on top of those of the relay."""
    made: list[VerigatorBackend] = []

    def make(**more: Any) -> VerigatorBackend:
        made.append(VerigatorBackend("default", **{**options, **more}))
        return made[-1]

    yield make
    for one in made:
        one.close()


@pytest.fixture
def quiet(monkeypatch: pytest.MonkeyPatch, relay: Relay) -> Callable[[float, str], None]:
    """``quiet(seconds, how)``: so long nobody says anything, by the client's clock, and the relay forgets."""
    offset = 0.0

    def pass_by(seconds: float, how: str) -> None:
        nonlocal offset
        offset += seconds
        monkeypatch.setattr(deadline, "monotonic", lambda: time.monotonic() + offset)
        relay.forget(how)

    return pass_by
