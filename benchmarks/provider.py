"""The sandbox as the provider: over TLS, in a process of its own, so that its work is not counted as the site's."""

from __future__ import annotations

import contextlib
import http.client
import json
import ssl
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import requests

from django_verigator.client import Api

from . import processes

USERNAME = PASSWORD = "bench"
CERTIFICATES = Path(__file__).parents[1] / "tests" / "client" / "certs"
TIMEOUT = 30
LATENCY = 0.02
"""Seconds that a provider takes that is far away."""


@contextlib.contextmanager
def running() -> Iterator[dict[str, str]]:
    """Run the sandbox; yield the backend's OPTIONS without a service."""
    command = [sys.executable, "-m", "django_verigator.sandbox", "--port", "0"]
    command += ["--username", USERNAME, "--password", PASSWORD]
    command += ["--certfile", str(CERTIFICATES / "good.pem"), "--keyfile", str(CERTIFICATES / "server.key")]
    with processes.running(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        yield {
            "username": USERNAME,
            "password": PASSWORD,
            "endpoint": process.stdout.readline().split()[-1].rstrip("/"),
            "ca_bundle": str(CERTIFICATES / "ca.pem"),
        }


def api(provider: dict[str, str]) -> Api:
    return Api(USERNAME, PASSWORD, provider["endpoint"], ca_bundle=provider["ca_bundle"])


def with_service(provider: dict[str, str], name: str) -> dict[str, str]:
    """Make a service at the provider; return its OPTIONS with it."""
    return {**provider, "service_id": api(provider).services.create(f"{name}.example", name).id}


def phone(number: int) -> str:
    """Return the phone number of a user, in E.164."""
    return f"+372{55_000_000 + number}"


def pooled_session(provider: dict[str, str]) -> requests.Session:
    """Return a plain session for many threads; it reads neither proxies nor certificates from the environment."""
    session = requests.Session()
    session.trust_env = False
    session.verify = provider["ca_bundle"]
    session.headers["X-Service-Auth"] = f"{USERNAME}:{PASSWORD}"
    session.mount("https://", requests.adapters.HTTPAdapter(pool_maxsize=64))
    return session


def control(provider: dict[str, str], method: str, path: str, **more: Any) -> Any:
    """Ask the sandbox's own API."""
    url = f"{provider['endpoint']}/_sandbox/{path}"
    with pooled_session(provider) as session:
        response = session.request(method, url, timeout=TIMEOUT, **more)
        response.raise_for_status()
        return response.json()


@contextlib.contextmanager
def far_away(provider: dict[str, str]) -> Iterator[None]:
    """Have every call answered after LATENCY meanwhile."""
    control(provider, "POST", "faults", json={"fault": "latency", "seconds": LATENCY})
    try:
        yield
    finally:
        # After Ctrl-C the sandbox may be gone before this.
        with contextlib.suppress(requests.ConnectionError):
            control(provider, "DELETE", "faults")


class Phones:
    """What users read on their phones, over a connection that is kept: for one thread."""

    def __init__(self, provider: dict[str, str]) -> None:
        context = ssl.create_default_context(cafile=provider["ca_bundle"])
        self._connection = http.client.HTTPSConnection(
            urlsplit(provider["endpoint"]).netloc, timeout=TIMEOUT, context=context
        )

    def messages(self, number: str, limit: int = 1000) -> list[dict[str, Any]]:
        """Return the messages to a phone, the newest last."""
        self._connection.request("GET", f"/_sandbox/messages?limit={limit}&to={quote(number)}")
        messages: list[dict[str, Any]] = json.load(self._connection.getresponse())["messages"]
        return messages

    def last_pin(self, number: str) -> str:
        return str(self.messages(number, limit=1)[-1]["pin"])

    def close(self) -> None:
        self._connection.close()
