"""users.iter_all: a list as it comes in, however long, however cut."""

from __future__ import annotations

import contextlib
import json
import tracemalloc
from collections.abc import Callable, Iterator

import pytest
from conftest import Connection, Server

from django_verigator.client import Api
from django_verigator.client.answers import BadAnswer
from django_verigator.client.userlist import MAX_ITEM, iter_users
from django_verigator.exceptions import (
    ConnectionFailedError,
    InvalidResponseError,
    NoSuchResourceError,
    RequestTimeoutError,
)

Serve = Callable[..., Server]
Client = Callable[..., Api]


def user(number: int) -> dict[str, object]:
    return {"id": f"id-{number}", "ctime": "2017-09-15T08:13:26.965341", "id_in_service": f"näme-{number}"}


def parse(text: str | bytes, size: int = 7) -> list[object]:
    """What the parser yields for a text that comes in pieces of a few bytes."""
    data = text.encode() if isinstance(text, str) else text
    pieces = iter([data[start : start + size] for start in range(0, len(data), size)])
    return list(iter_users(lambda: next(pieces, b"")))


ENVELOPES = [
    '{"users": %s}',
    '{"users":%s,"total":3,"count":3}',
    ' \r\n{ "total" : 12345678901234 , "x" : {"users": []} , "users"\t: %s , "y": [null, -1.5e3, "]}"] } \n',
]


@pytest.mark.parametrize("size", [1, 2, 3, 5, 16, 10_000])
@pytest.mark.parametrize("envelope", ENVELOPES)
@pytest.mark.parametrize("ascii_only", [True, False])
def test_parser__any_pieces(envelope: str, size: int, ascii_only: bool) -> None:
    users = [user(1), user(2), {"n": 12, "deep": {"a": [{}]}}]
    assert parse(envelope % json.dumps(users, ensure_ascii=ascii_only), size) == users
    assert parse(envelope % "[ ]", size) == []


BROKEN: list[str | bytes] = [
    "",
    "   ",
    "[]",
    "true",
    "{}",
    '{"total": 1}',
    '{"users": null}',
    '{"users": {}}',
    '{"users": "x"}',
    '{"users": [1]}',
    '{"users": [[]]}',
    '{"users": [null]}',
    '{"users": [{}]',
    '{"users": [{}',
    '{"users": [{},]}',
    '{"users": [,{}]}',
    '{"users": [{} {}]}',
    '{"users": [{}]}}',
    '{"users": [{}]}{}',
    '{"users": [{}], }',
    '{"users": [{}] "total": 1}',
    '{"users" [{}]}',
    "{users: [{}]}",
    '{"users": [], "users": []}',
    '{"a": 1, "a": 2, "users": []}',
    '{"users": [{"id": "1", "id": "2"}]}',
    '{"users": [{"x": NaN}]}',
    '{"users": [], "total": Infinity}',
    '{"users": [], "total": 01}',
    '{"users": [], "total": tru}',
    b'\xef\xbb\xbf{"users": []}',
    b'{"users": [{"x": "\xff"}]}',
    b'{"users": []}\xc3',
    '{"users": []}'.encode("utf-16"),
    '{"users": [{"x": ' + "[" * 30_000,
    '{"users": [{"x": "' + "a" * (MAX_ITEM + 100) + '"}]}',
    '{"x": "' + "a" * (MAX_ITEM + 100) + '", "users": []}',
    '{"users": [' + " " * (MAX_ITEM + 100) + "]}",
    "{" + "".join(f'"{number}": 0, ' for number in range(100)) + '"users": []}',
]


@pytest.mark.parametrize("size", [5, 16384])
@pytest.mark.parametrize("text", BROKEN, ids=lambda text: ascii(text[:20]))
def test_parser__refuses(text: str | bytes, size: int) -> None:
    with pytest.raises(BadAnswer):
        parse(text, size)


def test_parser__every_cut_is_noticed() -> None:
    """No prefix of a list is a list."""
    text = json.dumps({"count": 2, "users": [user(1), user(2)], "total": 2})
    for end in range(len(text)):
        with pytest.raises(BadAnswer):
            parse(text[:end], 16)


def test_parser__memory_is_flat() -> None:
    """4 MB go through in less than half a MB."""
    piece = (json.dumps(user(1)) + ",").encode() * 100

    def receive() -> Iterator[bytes]:
        yield b'{"users": ['
        yield from (piece for _ in range(4_000_000 // len(piece)))
        yield json.dumps(user(2)).encode() + b"]}"

    pieces = receive()
    tracemalloc.start()
    try:
        count = sum(1 for _ in iter_users(lambda: next(pieces, b"")))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert count == 4_000_000 // len(piece) * 100 + 1
    assert peak < 500_000


def body(count: int) -> bytes:
    return json.dumps({"users": [user(number) for number in range(count)], "total": count}).encode()


def chunked(data: bytes, end: bytes = b"0\r\n\r\n") -> bytes:
    chunks = [data[start : start + 1000] for start in range(0, len(data), 1000)]
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    return head + b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks) + end


@pytest.mark.parametrize("count", [0, 1, 5000])
@pytest.mark.parametrize("certificate", [None, "good.pem"])
def test_iter_all__more_than_the_cap_of_other_bodies(
    serve: Serve, client: Client, count: int, certificate: str | None
) -> None:
    def script(connection: Connection) -> None:
        while connection.request():
            connection.answer(body(count)) if len(connection.server.requests) % 2 else connection.sock.sendall(
                chunked(body(count))
            )

    server = serve(script, certificate)
    api = client(server.url)
    for _ in range(2):
        users = api.users.get_all("sid")
        assert [found.id for found in users] == [f"id-{number}" for number in range(count)]
    assert users[-1].username == f"näme-{count - 1}" if count else users == []
    assert server.connections == 1


def test_iter_all__yields_before_the_end(serve: Serve, client: Client) -> None:
    first = body(2000)

    def script(connection: Connection) -> None:
        connection.request()
        connection.sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 10000000\r\n\r\n" + first)
        connection.server.stopped.wait()

    users = client(serve(script).url).users.iter_all("sid")
    assert next(users).id == "id-0"
    users.close()  # type: ignore[attr-defined]


def test_iter_all__no_total_time_out(serve: Serve, client: Client) -> None:
    """Pauses shorter than the idle time-out add up to more than the total, and nothing ends."""
    data = body(5)
    pieces = [data[start : start + 60] for start in range(0, len(data), 60)]

    def script(connection: Connection) -> None:
        connection.request()
        connection.sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(data))
        for piece in pieces:
            connection.server.stopped.wait(2 / len(pieces))
            connection.sock.sendall(piece)

    assert len(client(serve(script).url, total_timeout=1.5).users.get_all("sid")) == 5


@pytest.mark.parametrize("certificate", [None, "good.pem"])
def test_iter_all__silence_ends_it(serve: Serve, client: Client, certificate: str | None) -> None:
    def script(connection: Connection) -> None:
        connection.request()
        connection.sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n" + body(10))
        connection.server.stopped.wait()

    with pytest.raises(RequestTimeoutError) as caught:
        client(serve(script, certificate).url, idle_timeout=0.3).users.get_all("sid")
    assert caught.value.__context__ is None
    assert (caught.value.status, caught.value.sent) == (200, True)


def test_iter_all__other_calls_meanwhile(serve: Serve, client: Client) -> None:
    """The stream keeps its own limits and its own connection while its thread makes other calls."""
    data = body(600)

    def script(connection: Connection) -> None:
        while request := connection.request():
            connection.answer(data if request[0].startswith("GET") else b"{}")

    server = serve(script)
    api = client(server.url)
    deleted = [api.users.delete("sid", found.id) for found in api.users.iter_all("sid")]
    assert deleted == [True] * 600
    assert server.connections == 2


@pytest.mark.parametrize("end", [False, True])
def test_iter_all__cut_short(serve: Serve, client: Client, end: bool) -> None:
    """Users that came are yielded; then there is an exception, not an end."""
    data = body(3000)

    def script(connection: Connection) -> None:
        connection.request()
        # Without length: the end of the connection is the end of the body. With chunks: the last one is missing.
        connection.sock.sendall(chunked(data, b"") if end else b"HTTP/1.1 200 OK\r\n\r\n" + data[:-1])

    found = []
    with pytest.raises((InvalidResponseError, ConnectionFailedError)):
        found.extend(client(serve(script).url).users.iter_all("sid"))
    assert 2000 < len(found) <= 3000


def test_iter_all__cut_short_after_some(serve: Serve, client: Client) -> None:
    data = body(3000)

    def script(connection: Connection) -> None:
        connection.request()
        connection.sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(data) + data[:-5])

    users = client(serve(script).url).users.iter_all("sid")
    seen: list[object] = []
    with pytest.raises(ConnectionFailedError):
        seen.extend(users)
    assert len(seen) > 2000
    assert next(users, None) is None


def test_iter_all__closed_early(serve: Serve, client: Client) -> None:
    """The connection is closed, and the next call has a new one."""
    gone = []

    def script(connection: Connection) -> None:
        connection.request()
        with contextlib.suppress(OSError):
            connection.answer(body(100_000) if len(connection.server.requests) == 1 else body(1))
            gone.append(connection.request())

    server = serve(script)
    api = client(server.url)
    users = api.users.iter_all("sid")
    next(users)
    users.close()  # type: ignore[attr-defined]
    assert len(api.users.get_all("sid")) == 1
    assert server.connections == 2


def test_iter_all__item_without_an_end(serve: Serve, client: Client) -> None:
    def script(connection: Connection) -> None:
        connection.request()
        connection.sock.sendall(b'HTTP/1.1 200 OK\r\n\r\n{"users": [{"id": "')
        while True:
            connection.sock.sendall(b"a" * 65536)

    with pytest.raises(InvalidResponseError):
        client(serve(script).url).users.get_all("sid")


@pytest.mark.parametrize("bad", [{"id": 5}, {"id": "../x", "ctime": "", "id_in_service": ""}, {}])
def test_iter_all__user_in_a_strange_form(serve: Serve, client: Client, bad: dict[str, object]) -> None:
    server = serve(lambda connection: connection.request() and connection.answer(json.dumps({"users": [bad]}).encode()))
    with pytest.raises(InvalidResponseError) as caught:
        client(server.url).users.get_all("sid")
    assert caught.value.__context__ is None
    assert caught.value.path == "/v1/service/service/sid/users"


def test_iter_all__error_status_and_compression(serve: Serve, client: Client) -> None:
    def script(connection: Connection) -> None:
        connection.request()
        connection.answer(b"{}", "404 Not Found")
        connection.request()
        connection.answer(body(1), headers="Content-Encoding: gzip\r\n")

    server = serve(script)
    api = client(server.url)
    with pytest.raises(NoSuchResourceError):
        api.users.get_all("sid")
    with pytest.raises(InvalidResponseError):
        api.users.get_all("sid")
    assert server.connections == 1
