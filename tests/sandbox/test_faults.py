"""Test what each kind of fault does to a call."""

from __future__ import annotations

import gzip
import http.client
import json
import socket
import struct
import threading
import time
from collections.abc import Callable
from contextlib import closing, suppress
from http import HTTPStatus
from typing import Any
from urllib.parse import urlsplit

import pytest

from django_verigator.sandbox import Sandbox
from tests.deadlines import in_time

from .http_client import PASSWORD, PHONE, USERNAME, Shop, add_fault, send

AUTH = {"X-Service-Auth": f"{USERNAME}:{PASSWORD}"}


def test_status__is_answered_instead_of_carrying_the_request_out(shop: Shop) -> None:
    user = shop.add_user()
    add_fault(shop.sandbox, fault="status", status=503, operation="auth.start", times=1, retry_after=7)

    response = shop.start(user)

    assert (response.status, response.message) == (HTTPStatus.SERVICE_UNAVAILABLE, "Service Unavailable")
    assert response.headers["Retry-After"] == "7"
    assert shop.sandbox.messages() == []
    assert shop.start(user).status == HTTPStatus.CREATED


def test_status_after__carries_the_request_out_first(shop: Shop) -> None:
    user = shop.add_user()
    add_fault(shop.sandbox, fault="status", status=500, operation="auth.start", when="after")

    assert shop.start(user).status == HTTPStatus.INTERNAL_SERVER_ERROR
    assert len(shop.sandbox.messages(PHONE)) == 1


def test_status__sends_the_given_headers_and_body(shop: Shop) -> None:
    add_fault(
        shop.sandbox,
        fault="status",
        status=302,
        headers={"Location": "http://localhost:1/", "Set-Cookie": ["a=1", "b=2"]},
        body={"verified": True},
        content_type="text/plain",
    )

    response = shop.send("GET", shop.path)

    assert (response.status, response.headers["Location"]) == (HTTPStatus.FOUND, "http://localhost:1/")
    assert response.headers.get_all("Set-Cookie") == ["a=1", "b=2"]
    assert (response.headers["Content-Type"], response.json()) == ("text/plain", {"verified": True})


def test_status_204__has_no_body(shop: Shop) -> None:
    add_fault(shop.sandbox, fault="status", status=204)

    assert shop.send("GET", shop.path).body == b""


@pytest.mark.parametrize(
    ("fault", "body"),
    [
        ({"body": "<html>"}, b"<html>"),
        ({"body": ""}, b""),
        ({"body": "\ud800"}, b"\xed\xa0\x80"),
        ({"body": [1]}, b"[1]"),
        ({"body": "x", "size": 100_000}, b"x".ljust(100_000)),
    ],
)
def test_body__replaces_the_reply_of_a_request_that_was_carried_out(
    shop: Shop, fault: dict[str, Any], body: bytes
) -> None:
    user = shop.add_user()
    add_fault(shop.sandbox, fault="body", operation="auth.start", **fault)

    response = shop.start(user)

    assert (response.status, response.body) == (HTTPStatus.CREATED, body)
    assert len(shop.sandbox.messages(PHONE)) == 1


def test_body__can_be_small_and_unpack_large(shop: Shop) -> None:
    add_fault(shop.sandbox, fault="body", gzip=True, size=5_000_000)

    response = shop.send("GET", shop.path)

    assert response.headers["Content-Encoding"] == "gzip"
    assert len(response.body) < 50_000
    assert len(gzip.decompress(response.body)) == 5_000_000


def test_body__can_be_cut_short(shop: Shop) -> None:
    add_fault(shop.sandbox, fault="body", body="{", content_length=100)

    with pytest.raises(http.client.IncompleteRead):
        shop.send("GET", shop.path)


def test_body__can_be_endless(shop: Shop) -> None:
    add_fault(shop.sandbox, fault="body", endless=True)
    address = urlsplit(shop.sandbox.url)

    with closing(http.client.HTTPConnection(address.hostname or "", address.port, timeout=5)) as connection:
        connection.request("GET", shop.path, headers=AUTH)
        assert len(connection.getresponse().read(20_000)) == 20_000


@pytest.mark.parametrize(("when", "sent"), [("before", 0), ("after", 1)])
@pytest.mark.parametrize(
    ("kind", "error"), [("reset", ConnectionResetError), ("close", http.client.RemoteDisconnected)]
)
def test_broken_connection__loses_the_request_or_only_the_reply(
    shop: Shop, kind: str, error: type[Exception], when: str, sent: int
) -> None:
    user = shop.add_user()
    add_fault(shop.sandbox, fault=kind, when=when, times=1)

    with pytest.raises(error):
        shop.start(user)

    assert len(shop.sandbox.messages(PHONE)) == sent
    assert shop.start(user).status == HTTPStatus.CREATED


@pytest.mark.parametrize("kind", ["reset", "close"])
def test_broken_connection__can_break_inside_the_reply(shop: Shop, kind: str) -> None:
    add_fault(shop.sandbox, fault=kind, when="after", after_bytes=30)
    address = urlsplit(shop.sandbox.url)
    with socket.create_connection((address.hostname, address.port), timeout=5) as connection:
        connection.sendall(
            f"GET {shop.path} HTTP/1.1\r\nHost: localhost\r\nX-Service-Auth: {USERNAME}:{PASSWORD}\r\n\r\n".encode()
        )
        received = b""
        ended = "close"
        try:
            while piece := connection.recv(1000):
                received += piece
        except ConnectionResetError:
            ended = "reset"

    assert (len(received), received[:13], ended) == (30, b"HTTP/1.1 200 ", kind)


def test_lost_result__is_in_the_log(shop: Shop) -> None:
    user = shop.add_user()
    shop.start(user)
    add_fault(shop.sandbox, fault="reset", operation="auth.verify", when="after")

    with pytest.raises(ConnectionResetError):
        shop.verify(user, shop.sandbox.last_pin(PHONE))

    (call,) = shop.sandbox.calls(operation="auth.verify")
    assert (call["verified"], call["status"], call["faults"]) == (True, None, ["reset"])


def test_hang__leaves_the_caller_waiting_and_is_in_the_log_meanwhile(shop: Shop) -> None:
    add_fault(shop.sandbox, fault="hang", operation="services.get")
    address = urlsplit(shop.sandbox.url)

    with closing(http.client.HTTPConnection(address.hostname or "", address.port, timeout=0.3)) as connection:
        connection.request("GET", shop.path, headers=AUTH)
        with pytest.raises(TimeoutError):
            connection.getresponse()
        (call,) = shop.sandbox.calls(operation="services.get")
        assert (call["status"], call["duration"]) == (None, None)


def test_hang__ends_after_its_seconds(shop: Shop) -> None:
    add_fault(shop.sandbox, fault="hang", seconds=0.05)

    with pytest.raises(http.client.RemoteDisconnected):
        shop.send("GET", shop.path)


def test_hang_and_latency__end_when_the_sandbox_stops(start_sandbox: Callable[..., Sandbox]) -> None:
    sandbox = start_sandbox()
    sandbox.add_fault("hang", path="/hang")
    sandbox.add_fault("latency", path="/slow", seconds=60)
    errors: list[Exception] = []

    def call(path: str) -> None:
        try:
            send(sandbox.url, "GET", path)
        except (OSError, http.client.HTTPException) as error:
            errors.append(error)

    threads = [threading.Thread(target=call, args=(path,)) for path in ("/hang", "/slow")]
    for thread in threads:
        thread.start()
    while len(sandbox.calls()) < len(threads):
        time.sleep(0.01)

    with in_time(1.5):
        sandbox.stop()
        for thread in threads:
            thread.join()

    assert len(errors) == len(threads)


def test_latency__delays_and_combines_with_another_fault(shop: Shop) -> None:
    add_fault(shop.sandbox, fault="status", status=502)
    add_fault(shop.sandbox, fault="latency", seconds=0.1)
    began = time.monotonic()

    assert shop.send("GET", shop.path).status == HTTPStatus.BAD_GATEWAY
    assert time.monotonic() - began >= 0.1
    assert shop.sandbox.calls()[-1]["faults"] == ["latency", "status"]
    assert shop.sandbox.calls()[-1]["duration"] >= 0.1


def test_latency__delays_no_other_call(shop: Shop) -> None:
    user = shop.add_user()
    add_fault(shop.sandbox, fault="latency", seconds=5, operation="auth.start", when="after", times=1)

    def start_without_response() -> None:
        with suppress(http.client.RemoteDisconnected):
            shop.start(user)

    slow = threading.Thread(target=start_without_response)
    slow.start()
    while not shop.sandbox.messages():
        time.sleep(0.01)

    with in_time(1):
        assert shop.verified(user, shop.sandbox.last_pin(PHONE))

    shop.sandbox.stop()
    slow.join()


@pytest.mark.parametrize("part", ["body", "all"])
def test_drip__sends_the_reply_byte_by_byte(shop: Shop, part: str) -> None:
    add_fault(shop.sandbox, fault="drip", seconds=0.001, part=part)
    began = time.monotonic()

    assert shop.send("GET", shop.path).json()["name"] == "CoffeeShop"
    assert time.monotonic() - began > 0.05


def test_reset__is_a_tcp_reset(shop: Shop) -> None:
    add_fault(shop.sandbox, fault="reset")
    address = urlsplit(shop.sandbox.url)
    with socket.create_connection((address.hostname, address.port), timeout=5) as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 0, 0))
        connection.sendall(f"GET {shop.path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        with pytest.raises(ConnectionResetError):
            connection.recv(1)


def test_body__with_duplicate_keys_is_sent_unchanged(shop: Shop) -> None:
    text = '{"verified": true, "verified": false}'
    add_fault(shop.sandbox, fault="body", body=text)

    response = shop.send("GET", shop.path)

    assert response.body.decode() == text
    assert json.loads(text) == {"verified": False}
