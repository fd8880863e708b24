"""T11: what a connection says beyond its answer is nobody's verdict. N05: addresses that are dead."""

from __future__ import annotations

import contextlib
import io
import socket
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import pytest
from conftest import Connection, Server

from django_verigator.client import Api
from django_verigator.client.deadline import Budget, DeadlineSocket
from django_verigator.exceptions import NoSuchResourceError, RequestTimeoutError

Serve = Callable[..., Server]
Client = Callable[..., Api]
Clock = Callable[..., contextlib.AbstractContextManager[None]]

each_scheme = pytest.mark.parametrize("certificate", [None, "good.pem"], ids=["http", "https"])


def reply(verified: str, padding: int = 0, headers: str = "") -> bytes:
    body = f'{{"verified": {verified}, "method": "sms"}}'.encode() + b" " * padding
    return f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\n{headers}\r\n".encode() + body


AHEAD = io.DEFAULT_BUFFER_SIZE
"""How much is read ahead."""

# Over TLS, an answer and what follows are one record.
MORE = {
    "an answer behind one that fills the buffer": reply("false", AHEAD - len(reply("false", 1000)) + 1000)
    + reply("true"),
    "an answer": reply("false") + reply("true"),
    "an answer behind a long one": reply("false", 9000) + reply("true"),
    "an answer behind the longest of one record": reply("false", 15000) + reply("true"),
    "one byte": reply("false") + b"H",
    "one byte behind a long one": reply("false", 9000) + b"H",
    "line end": reply("false") + b"\r\n",
    "behind an answer without a body": b"HTTP/1.1 404 No\r\nContent-Length: 0\r\n\r\n" + reply("true"),
    "behind chunks": b"HTTP/1.1 404 No\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + reply("true"),
}


@pytest.mark.fault("T11")
@each_scheme
@pytest.mark.parametrize("said", MORE.values(), ids=MORE)
def test_connection__that_said_more_than_announced_is_not_used_again(
    serve: Serve, client: Client, certificate: str | None, said: bytes
) -> None:
    def script(connection: Connection) -> None:
        while connection.request():
            connection.sock.sendall(said if server.connections == 1 else reply("false"))

    server = serve(script, certificate)
    api = client(server.url)
    with contextlib.suppress(NoSuchResourceError):
        assert not api.auth.verify("sid", "alice", "0000")
    for _ in range(2):
        assert not api.auth.verify("sid", "bob", "0000")
    assert (server.connections, len(server.requests)) == (2, 3)


@pytest.mark.fault("T11")
@each_scheme
def test_connection__that_says_no_more_is_used_again(serve: Serve, client: Client, certificate: str | None) -> None:
    def script(connection: Connection) -> None:
        while connection.request():
            connection.sock.sendall(reply("false", 9000))

    server = serve(script, certificate)
    api = client(server.url)
    for _ in range(5):
        api.auth.verify("sid", "alice", "0000")
    assert (server.connections, len(server.requests)) == (1, 5)


def honest(connection: Connection) -> None:
    while connection.request():
        connection.sock.sendall(reply("true"))


def addresses(monkeypatch: pytest.MonkeyPatch, *ports: int) -> None:
    found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port)) for port in ports]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_: found)


@pytest.mark.fault("N05")
@each_scheme
@pytest.mark.parametrize("dead", [1, 3])
def test_address__that_is_dead_costs_less_than_the_budget_of_a_save(
    serve: Serve, client: Client, clock: Clock, full_listener: int, monkeypatch: Any, certificate: str | None, dead: int
) -> None:
    server = serve(honest, certificate)
    addresses(monkeypatch, *[full_listener] * dead, server.port)
    api = client(server.url)
    with clock(2), api.within(2):
        assert api.auth.verify("sid", "uid", "0042")


@pytest.mark.fault("N05")
def test_address__that_refuses_is_not_waited_for(serve: Serve, client: Client, clock: Clock, monkeypatch: Any) -> None:
    gone = serve(honest)
    gone.stop()
    server = serve(honest)
    addresses(monkeypatch, *[gone.port] * 9, server.port)
    with clock(0.3):
        assert client("http://localhost:1", connect_timeout=9).auth.verify("sid", "uid", "0042")


@pytest.mark.fault("N05")
def test_addresses__all_dead_take_one_connect_time_out(
    client: Client, clock: Clock, full_listener: int, monkeypatch: Any
) -> None:
    addresses(monkeypatch, *[full_listener] * 5)
    with clock(0.4), pytest.raises(RequestTimeoutError) as caught:
        client("http://localhost:1", connect_timeout=0.4).auth.verify("sid", "uid", "0042")
    assert caught.value.sent is False


def test_file_of_an_answer_that_is_closed_late__does_not_end_the_next_answer() -> None:
    """As a finalizer does where objects are not freed at once."""
    ours, theirs = socket.socketpair()
    held = DeadlineSocket(ours, Budget(1, 1, 1))
    with theirs:
        first = held.makefile("rb")
        theirs.sendall(b"x")
        assert first.read(1) == b"x"
        first.close()
        second = held.makefile("rb")
        theirs.sendall(b"yz")
        first.close()
        assert second.read(2) == b"yz"
        second.close()
        held.abort()


def test_request__that_finds_no_room_waits_until_the_other_end_has_read() -> None:
    ours, theirs = socket.socketpair()
    held = DeadlineSocket(ours, Budget(9, 9, 9))
    sent = b"x" * 10_000_000
    with theirs, ThreadPoolExecutor(1) as pool:
        reading = pool.submit(lambda: b"".join(iter(partial(theirs.recv, 65536), b"")))
        try:
            held.sendall(sent)
        finally:
            held.abort()
        assert reading.result(9) == sent


def test_request__that_finds_no_room_waits_no_longer_than_the_budget_says(clock: Clock) -> None:
    ours, theirs = socket.socketpair()
    budget = Budget(0.3, 9, 9)
    held = DeadlineSocket(ours, budget)
    with theirs, clock(0.3), pytest.raises(TimeoutError):
        held.sendall(b"x" * 10_000_000)
    assert budget.timed_out
    held.abort()
