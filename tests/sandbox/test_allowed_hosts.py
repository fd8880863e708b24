"""Test which Host and Origin headers the sandbox accepts."""

from __future__ import annotations

from collections.abc import Callable
from http import HTTPStatus

import pytest

from django_verigator.sandbox import Sandbox
from django_verigator.sandbox.allowed_hosts import is_loopback

from .http_client import send, send_raw


@pytest.mark.parametrize("path", ["/", "/_sandbox/messages", "/v1/service/service/x", "/static/phone.js"])
@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "evil.example"},
        {"Host": "evil.example:8750"},
        {"Host": "127.0.0.1.evil.example"},
        {"Host": "localhost@evil.example"},
        {"Host": "192.168.1.5"},
        {"Host": ""},
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://localhost:1"},
    ],
)
def test_foreign_host_or_origin__is_refused_everywhere(sandbox: Sandbox, path: str, headers: dict[str, str]) -> None:
    response = send(sandbox.url, "GET", path, headers=headers)

    assert response.status == HTTPStatus.FORBIDDEN
    assert response.message


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:1", "127.0.0.1:9999", "[::1]:80", "127.1.2.3"])
def test_loopback_host__is_served_with_any_port_and_its_own_origin(sandbox: Sandbox, host: str) -> None:
    headers = {"Host": host, "Origin": f"http://{host}"}

    assert send(sandbox.url, "GET", "/_sandbox/messages", headers=headers).status == HTTPStatus.OK


def test_missing_or_double_host__is_refused(sandbox: Sandbox) -> None:
    for hosts in (b"", b"Host: localhost\r\nHost: evil.example\r\n"):
        assert send_raw(sandbox.url, b"GET / HTTP/1.1\r\n" + hosts + b"\r\n").startswith(b"HTTP/1.1 400 ")


def test_allowed_host__is_served_on_its_port_only(start_sandbox: Callable[..., Sandbox]) -> None:
    sandbox = start_sandbox(allow_hosts=["sandbox.test", "other.test:99"])
    port = sandbox.url.rpartition(":")[2]

    def status(host: str) -> int:
        return send(sandbox.url, "GET", "/", headers={"Host": host}).status

    assert status(f"sandbox.test:{port}") == HTTPStatus.OK
    assert status("other.test:99") == HTTPStatus.OK
    assert status("sandbox.test:1") == HTTPStatus.FORBIDDEN
    assert status(f"other.test:{port}") == HTTPStatus.FORBIDDEN


@pytest.mark.parametrize(
    ("host", "loopback"),
    [
        ("localhost", True),
        ("127.0.0.1", True),
        ("::1", True),
        ("[::1]", True),
        ("0.0.0.0", False),  # noqa: S104 - not listened on
        ("::", False),
        ("", False),
        ("192.168.0.1", False),
        ("localhost.evil.example", False),
    ],
)
def test_is_loopback__accepts_only_this_machine(host: str, loopback: bool) -> None:
    assert is_loopback(host) is loopback
