"""Test HTTP itself: framing, malformed requests, connections, parallel calls."""

from __future__ import annotations

import http.client
import json
import socket
import threading
from collections.abc import Callable
from contextlib import closing
from http import HTTPStatus
from urllib.parse import urlsplit

import pytest

from django_verigator.sandbox import Sandbox

from .http_client import PASSWORD, USERNAME, Shop, send, send_raw

AUTH = f"X-Service-Auth: {USERNAME}:{PASSWORD}\r\n"
CREATE = "POST /v1/service/service HTTP/1.1\r\nHost: 127.0.0.1\r\n" + AUTH
DATA = json.dumps({"fqdn": "example.com", "name": "CoffeeShop"})


def status_and_message(reply: bytes) -> tuple[int, str]:
    head, _, body = reply.partition(b"\r\n\r\n")
    return int(head.split()[1]), json.loads(body)["message"]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"nonsense",
        b"[]",
        b'"text"',
        b"5",
        b"null",
        b"\xff\xfe{}",
        b"\xef\xbb\xbf{}",
        b'{"name": NaN, "fqdn": "x"}',
        b"[" * 100_000,
        b'{"name":' * 50_000,
        b"9" * 100_000,
    ],
)
def test_body_that_is_not_a_json_object__is_unprocessable(sandbox: Sandbox, body: bytes) -> None:
    response = send(sandbox.url, "POST", "/v1/service/service", raw=body)

    assert response.status == HTTPStatus.UNPROCESSABLE_ENTITY
    assert response.message


def test_body_over_a_mebibyte__is_refused(sandbox: Sandbox) -> None:
    response = send(sandbox.url, "POST", "/v1/service/service", raw=b" " * (2**20 + 1))

    assert response.status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE
    assert response.message
    assert response.headers["Connection"] == "close"


def test_body_of_a_mebibyte__is_read(sandbox: Sandbox) -> None:
    body = DATA.encode().ljust(2**20)

    assert send(sandbox.url, "POST", "/v1/service/service", raw=body).status == HTTPStatus.CREATED


def test_chunked_body__is_read(sandbox: Sandbox) -> None:
    half = len(DATA) // 2
    chunks = "".join(f"{len(part):X};ext=1\r\n{part}\r\n" for part in (DATA[:half], DATA[half:]))

    reply = send_raw(sandbox.url, f"{CREATE}Transfer-Encoding: chunked\r\n\r\n{chunks}0\r\nX-T: 1\r\n\r\n".encode())

    assert reply.startswith(b"HTTP/1.1 201 ")


@pytest.mark.parametrize(
    ("framing", "body", "status"),
    [
        ("Content-Length: x", "", HTTPStatus.BAD_REQUEST),
        ("Content-Length: -5", "", HTTPStatus.BAD_REQUEST),
        ("Content-Length: \x1e5", "hello", HTTPStatus.BAD_REQUEST),
        ("Content-Length: +5", "hello", HTTPStatus.BAD_REQUEST),
        ("Content-Length: 5\r\nContent-Length: 6", "hello!", HTTPStatus.BAD_REQUEST),
        ("Content-Length: 50", "short", HTTPStatus.BAD_REQUEST),
        ("Content-Length: 5\r\nTransfer-Encoding: chunked", "0\r\n\r\n", HTTPStatus.BAD_REQUEST),
        ("Transfer-Encoding: gzip", "x", HTTPStatus.NOT_IMPLEMENTED),
        ("Transfer-Encoding: chunked", "zz\r\n", HTTPStatus.BAD_REQUEST),
        ("Transfer-Encoding: chunked", "5\r\nhello!\r\n", HTTPStatus.BAD_REQUEST),
        ("Transfer-Encoding: chunked", "0\r\n" + "X: 1\r\n" * 101, HTTPStatus.BAD_REQUEST),
        ("Transfer-Encoding: chunked", "200000\r\n", HTTPStatus.REQUEST_ENTITY_TOO_LARGE),
        ("Content-Length: 99999999999999", "", HTTPStatus.REQUEST_ENTITY_TOO_LARGE),
    ],
)
def test_malformed_framing__is_refused_with_a_json_object(
    sandbox: Sandbox, framing: str, body: str, status: HTTPStatus
) -> None:
    actual, message = status_and_message(send_raw(sandbox.url, f"{CREATE}{framing}\r\n\r\n{body}".encode()))

    assert actual == status
    assert message


@pytest.mark.parametrize(
    ("text", "status"),
    [
        (b"nonsense\r\n\r\n", HTTPStatus.BAD_REQUEST),
        (b"GET /\r\n\r\n", HTTPStatus.BAD_REQUEST),
        (b"GET / HTTP/7.0\r\n\r\n", HTTPStatus.HTTP_VERSION_NOT_SUPPORTED),
        (b"GET /" + b"x" * 70_000 + b" HTTP/1.1\r\n\r\n", HTTPStatus.REQUEST_URI_TOO_LONG),
        (b"GET / HTTP/1.1\r\n" + b"X: 1\r\n" * 200 + b"\r\n", HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE),
    ],
)
def test_malformed_request__is_refused_with_a_json_object(sandbox: Sandbox, text: bytes, status: HTTPStatus) -> None:
    actual, message = status_and_message(send_raw(sandbox.url, text))

    assert actual == status
    assert message


def test_missing_content_length__means_no_body(sandbox: Sandbox) -> None:
    actual, message = status_and_message(send_raw(sandbox.url, f"{CREATE}\r\n".encode()))

    assert (actual, message) == (HTTPStatus.UNPROCESSABLE_ENTITY, "The body is not valid JSON")


def test_http_1_0__receives_the_list_without_chunks(shop: Shop) -> None:
    reply = send_raw(shop.sandbox.url, f"GET {shop.path}/users HTTP/1.0\r\n{AUTH}Host: localhost\r\n\r\n".encode())

    head, _, body = reply.partition(b"\r\n\r\n")
    assert b"Transfer-Encoding" not in head
    assert json.loads(body) == {"users": [], "total": 0, "count": 0}


def test_absolute_url__is_treated_as_its_path(shop: Shop) -> None:
    reply = send_raw(
        shop.sandbox.url, f"GET http://127.0.0.1{shop.path} HTTP/1.1\r\nHost: 127.0.0.1\r\n{AUTH}\r\n".encode()
    )

    assert reply.startswith(b"HTTP/1.1 200 ")


def test_connection__stays_open_and_errors_do_not_end_it(shop: Shop) -> None:
    address = urlsplit(shop.sandbox.url)
    with closing(http.client.HTTPConnection(address.hostname or "", address.port, timeout=5)) as connection:
        connection.connect()
        before = connection.sock
        statuses = []
        for path in (shop.path, "/nowhere", f"{shop.path}/users", shop.path):
            connection.request("GET", path, headers={"X-Service-Auth": f"{USERNAME}:{PASSWORD}"})
            reply = connection.getresponse()
            reply.read()
            statuses.append(reply.status)
            assert connection.sock is before

    assert statuses == [HTTPStatus.OK, HTTPStatus.NOT_FOUND, HTTPStatus.OK, HTTPStatus.OK]


def test_parallel_tries__never_exceed_the_limit(shop: Shop) -> None:
    user = shop.add_user()
    shop.start(user)
    results: list[str] = []

    def guess() -> None:
        results.append(shop.verify(user, "not it").json()["status"]["result"])

    threads = [threading.Thread(target=guess) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(results) == ["INVALID"] * 5 + ["THROTTLED"] * 15


def test_parallel_right_tries__pass_once(shop: Shop) -> None:
    user = shop.add_user()
    shop.start(user)
    pin = shop.sandbox.messages()[-1]["pin"]
    statuses: list[int] = []
    threads = [threading.Thread(target=lambda: statuses.append(shop.verify(user, pin).status)) for _ in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(statuses) == [HTTPStatus.OK] + [HTTPStatus.NOT_FOUND] * 9


def test_stop__ends_open_connections_and_leaves_no_thread(start_sandbox: Callable[..., Sandbox]) -> None:
    sandbox = start_sandbox()
    address = urlsplit(sandbox.url)
    with socket.create_connection((address.hostname, address.port), timeout=5) as connection:
        connection.sendall(b"HEAD / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert connection.recv(2000).endswith(b"\r\n\r\n")
        sandbox.stop()

        assert connection.recv(100) == b""
    assert [thread.name for thread in threading.enumerate() if thread.name.startswith("sandbox")] == []
