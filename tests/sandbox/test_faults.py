"""Every kind of fault, on order."""

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
from django_verigator.sandbox.faults import FaultError
from tests.deadlines import in_time

from .caller import PASSWORD, PHONE, USERNAME, Shop, ask

AUTH = {"X-Service-Auth": f"{USERNAME}:{PASSWORD}"}


def order(sandbox: Sandbox, **fault: Any) -> dict[str, Any]:
    answer = ask(sandbox.url, "POST", "/_sandbox/faults", fault)
    assert answer.status == HTTPStatus.CREATED, answer.message
    data: dict[str, Any] = answer.json()
    return data


def test_status__is_answered_and_nothing_carried_out(shop: Shop) -> None:
    user = shop.add_user()
    order(shop.sandbox, fault="status", status=503, operation="auth.start", times=1, retry_after=7)

    answer = shop.start(user)

    assert (answer.status, answer.message) == (HTTPStatus.SERVICE_UNAVAILABLE, "Service Unavailable")
    assert answer.headers["Retry-After"] == "7"
    assert shop.sandbox.messages() == []
    assert shop.start(user).status == HTTPStatus.CREATED


def test_status_after__carries_the_request_out_first(shop: Shop) -> None:
    user = shop.add_user()
    order(shop.sandbox, fault="status", status=500, operation="auth.start", when="after")

    assert shop.start(user).status == HTTPStatus.INTERNAL_SERVER_ERROR
    assert len(shop.sandbox.messages(PHONE)) == 1


def test_status__sends_headers_and_a_body_of_the_tests_own(shop: Shop) -> None:
    order(
        shop.sandbox,
        fault="status",
        status=302,
        headers={"Location": "http://localhost:1/", "Set-Cookie": ["a=1", "b=2"]},
        body={"verified": True},
        content_type="text/plain",
    )

    answer = shop.ask("GET", shop.path)

    assert (answer.status, answer.headers["Location"]) == (HTTPStatus.FOUND, "http://localhost:1/")
    assert answer.headers.get_all("Set-Cookie") == ["a=1", "b=2"]
    assert (answer.headers["Content-Type"], answer.json()) == ("text/plain", {"verified": True})


def test_status_204__has_no_body(shop: Shop) -> None:
    order(shop.sandbox, fault="status", status=204)

    assert shop.ask("GET", shop.path).body == b""


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
    order(shop.sandbox, fault="body", operation="auth.start", **fault)

    answer = shop.start(user)

    assert (answer.status, answer.body) == (HTTPStatus.CREATED, body)
    assert len(shop.sandbox.messages(PHONE)) == 1


def test_body__can_be_a_small_parcel_that_unpacks_large(shop: Shop) -> None:
    order(shop.sandbox, fault="body", gzip=True, size=5_000_000)

    answer = shop.ask("GET", shop.path)

    assert answer.headers["Content-Encoding"] == "gzip"
    assert len(answer.body) < 50_000
    assert len(gzip.decompress(answer.body)) == 5_000_000


def test_body__can_be_cut_short(shop: Shop) -> None:
    order(shop.sandbox, fault="body", body="{", content_length=100)

    with pytest.raises(http.client.IncompleteRead):
        shop.ask("GET", shop.path)


def test_body__can_have_no_end(shop: Shop) -> None:
    order(shop.sandbox, fault="body", endless=True)
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
    order(shop.sandbox, fault=kind, when=when, times=1)

    with pytest.raises(error):
        shop.start(user)

    assert len(shop.sandbox.messages(PHONE)) == sent
    assert shop.start(user).status == HTTPStatus.CREATED


@pytest.mark.parametrize("kind", ["reset", "close"])
def test_broken_connection__can_break_inside_the_reply(shop: Shop, kind: str) -> None:
    order(shop.sandbox, fault=kind, when="after", after_bytes=30)
    address = urlsplit(shop.sandbox.url)
    with socket.create_connection((address.hostname, address.port), timeout=5) as connection:
        connection.sendall(
            f"GET {shop.path} HTTP/1.1\r\nHost: localhost\r\nX-Service-Auth: {USERNAME}:{PASSWORD}\r\n\r\n".encode()
        )
        seen = b""
        ended = "close"
        try:
            while piece := connection.recv(1000):
                seen += piece
        except ConnectionResetError:
            ended = "reset"

    assert (len(seen), seen[:13], ended) == (30, b"HTTP/1.1 200 ", kind)


def test_lost_verdict__is_in_the_log_though_nobody_heard_it(shop: Shop) -> None:
    user = shop.add_user()
    shop.start(user)
    order(shop.sandbox, fault="reset", operation="auth.verify", when="after")

    with pytest.raises(ConnectionResetError):
        shop.verify(user, shop.sandbox.last_pin(PHONE))

    (call,) = shop.sandbox.calls(operation="auth.verify")
    assert (call["verified"], call["status"], call["faults"]) == (True, None, ["reset"])


def test_hang__leaves_the_caller_waiting_and_is_in_the_log_meanwhile(shop: Shop) -> None:
    order(shop.sandbox, fault="hang", operation="services.get")
    address = urlsplit(shop.sandbox.url)

    with closing(http.client.HTTPConnection(address.hostname or "", address.port, timeout=0.3)) as connection:
        connection.request("GET", shop.path, headers=AUTH)
        with pytest.raises(TimeoutError):
            connection.getresponse()
        (call,) = shop.sandbox.calls(operation="services.get")
        assert (call["status"], call["duration"]) == (None, None)


def test_hang__ends_after_its_seconds(shop: Shop) -> None:
    order(shop.sandbox, fault="hang", seconds=0.05)

    with pytest.raises(http.client.RemoteDisconnected):
        shop.ask("GET", shop.path)


def test_hang_and_latency__end_when_the_sandbox_stops(start_sandbox: Callable[..., Sandbox]) -> None:
    sandbox = start_sandbox()
    sandbox.add_fault("hang", path="/hang")
    sandbox.add_fault("latency", path="/slow", seconds=60)
    errors: list[Exception] = []

    def call(path: str) -> None:
        try:
            ask(sandbox.url, "GET", path)
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


def test_latency__delays_and_goes_with_another_fault(shop: Shop) -> None:
    order(shop.sandbox, fault="status", status=502)
    order(shop.sandbox, fault="latency", seconds=0.1)
    began = time.monotonic()

    assert shop.ask("GET", shop.path).status == HTTPStatus.BAD_GATEWAY
    assert time.monotonic() - began >= 0.1
    assert shop.sandbox.calls()[-1]["faults"] == ["latency", "status"]
    assert shop.sandbox.calls()[-1]["duration"] >= 0.1


def test_latency__holds_up_nobody_else(shop: Shop) -> None:
    user = shop.add_user()
    order(shop.sandbox, fault="latency", seconds=5, operation="auth.start", when="after", times=1)

    def wait_in_vain() -> None:
        with suppress(http.client.RemoteDisconnected):
            shop.start(user)

    slow = threading.Thread(target=wait_in_vain)
    slow.start()
    while not shop.sandbox.messages():
        time.sleep(0.01)

    with in_time(1):
        assert shop.verified(user, shop.sandbox.last_pin(PHONE))

    shop.sandbox.stop()
    slow.join()


@pytest.mark.parametrize("part", ["body", "all"])
def test_drip__sends_the_reply_byte_by_byte(shop: Shop, part: str) -> None:
    order(shop.sandbox, fault="drip", seconds=0.001, part=part)
    began = time.monotonic()

    assert shop.ask("GET", shop.path).json()["name"] == "CoffeeShop"
    assert time.monotonic() - began > 0.05


def test_times_and_skip__say_which_calls_are_struck(shop: Shop) -> None:
    order(shop.sandbox, fault="status", status=500, skip=1, times=2)

    statuses = [shop.ask("GET", shop.path).status for _ in range(4)]

    assert statuses == [200, 500, 500, 200]
    assert shop.sandbox.faults()[0]["hits"] == 2


def test_share__strikes_some_calls_and_the_same_ones_for_the_same_seed(shop: Shop) -> None:
    def struck() -> list[int]:
        shop.sandbox.clear_faults()
        order(shop.sandbox, fault="status", status=500, share=0.3, seed=7)
        return [number for number in range(60) if shop.ask("GET", shop.path).status == 500]

    first = struck()

    assert 5 < len(first) < 35
    assert struck() == first


def test_filters__spare_other_operations_users_and_paths(shop: Shop) -> None:
    john, anna = shop.add_user("john"), shop.add_user("anna")
    order(shop.sandbox, fault="status", status=500, operation="users.get", user_id=john.rpartition("/")[2])
    order(shop.sandbox, fault="status", status=418, path="*/users")

    assert [shop.ask("GET", path).status for path in (john, anna, f"{shop.path}/users")] == [500, 200, 418]
    assert shop.start(john).status == HTTPStatus.CREATED


def test_faults__spare_the_sandbox_itself(sandbox: Sandbox) -> None:
    order(sandbox, fault="status", status=500)

    assert ask(sandbox.url, "GET", "/_sandbox/calls").status == HTTPStatus.OK
    assert ask(sandbox.url, "GET", "/").status == HTTPStatus.OK


def test_faults__are_listed_and_cancelled_one_by_one_or_all(sandbox: Sandbox) -> None:
    first = order(sandbox, fault="reset", operation="auth.start", times=3)
    order(sandbox, fault="hang")

    listed = ask(sandbox.url, "GET", "/_sandbox/faults").json()["faults"]
    assert [(each["fault"], each["operation"], each["times"]) for each in listed] == [
        ("reset", "auth.start", 3),
        ("hang", None, None),
    ]
    ask(sandbox.url, "DELETE", f"/_sandbox/faults?id={first['id']}")
    assert [each["fault"] for each in sandbox.faults()] == ["hang"]
    ask(sandbox.url, "DELETE", "/_sandbox/faults")
    assert sandbox.faults() == []


@pytest.mark.parametrize(
    ("fault", "word"),
    [
        ({}, "fault"),
        ({"fault": "meteor"}, "latency"),
        ({"fault": []}, "fault"),
        ({"fault": "reset", "second": 1}, "second"),
        ({"fault": "reset", "status": 500}, "status"),
        ({"fault": "latency"}, "seconds"),
        ({"fault": "latency", "seconds": "1"}, "seconds"),
        ({"fault": "latency", "seconds": -1}, "seconds"),
        ({"fault": "latency", "seconds": 10**400}, "seconds"),
        ({"fault": "status"}, "status"),
        ({"fault": "status", "status": 99}, "status"),
        ({"fault": "status", "status": True}, "status"),
        ({"fault": "reset", "times": 0}, "times"),
        ({"fault": "reset", "share": 1.5}, "share"),
        ({"fault": "reset", "when": "never"}, "before, after"),
        ({"fault": "reset", "operation": "auth.begin"}, "auth.start"),
        ({"fault": "status", "status": 500, "headers": {"X": "a\r\nY: b"}}, "headers"),
        ({"fault": "status", "status": 500, "headers": {"X:": "a"}}, "header name"),
        ({"fault": "status", "status": 500, "headers": []}, "headers"),
        ({"fault": "status", "status": 500, "retry_after": "1\n"}, "retry_after"),
        ({"fault": "body", "gzip": 1}, "gzip"),
    ],
)
def test_order__that_cannot_be_understood_is_refused_with_a_reason(
    sandbox: Sandbox, fault: dict[str, Any], word: str
) -> None:
    answer = ask(sandbox.url, "POST", "/_sandbox/faults", fault)

    assert answer.status == HTTPStatus.UNPROCESSABLE_ENTITY
    assert word in answer.message
    assert sandbox.faults() == []


def test_add_fault__refuses_what_the_admin_call_refuses(sandbox: Sandbox) -> None:
    with pytest.raises(FaultError, match="secs"):
        sandbox.add_fault("latency", secs=1)


def test_reset__is_a_reset_on_the_wire(shop: Shop) -> None:
    order(shop.sandbox, fault="reset")
    address = urlsplit(shop.sandbox.url)
    with socket.create_connection((address.hostname, address.port), timeout=5) as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 0, 0))
        connection.sendall(f"GET {shop.path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        with pytest.raises(ConnectionResetError):
            connection.recv(1)


def test_body__with_duplicate_keys_goes_out_as_it_is(shop: Shop) -> None:
    text = '{"verified": true, "verified": false}'
    order(shop.sandbox, fault="body", body=text)

    answer = shop.ask("GET", shop.path)

    assert answer.body.decode() == text
    assert json.loads(text) == {"verified": False}
