"""M06, M07, R03 to R07 on the wire: nothing outlives the total time-out (0.6 seconds here) or outgrows the cap."""

from __future__ import annotations

import contextlib
import socket
import time
import tracemalloc
from collections.abc import Callable, Iterator

import pytest
from conftest import Connection, Server

from django_verigator.client import Api
from django_verigator.exceptions import (
    ConnectionFailedError,
    InvalidResponseError,
    RequestTimeoutError,
    VerigatorError,
    WrongCredentialsError,
)

Serve = Callable[..., Server]
Client = Callable[..., Api]
Clock = Callable[..., contextlib.AbstractContextManager[None]]
GOOD = b'{"verified": true, "method": "sms"}'


def verify(api: Api) -> object:
    return api.auth.verify("sid", "uid", "0042")


def initiate(api: Api) -> object:
    return api.auth.initiate("sid", "uid", "sms")


def get_all(api: Api) -> object:
    return api.users.get_all("sid")


each_call = pytest.mark.parametrize("call", [verify, initiate])
each_scheme = pytest.mark.parametrize("certificate", [None, "good.pem"], ids=["http", "https"])


def failure(call: Callable[[Api], object], api: Api) -> VerigatorError:
    with pytest.raises(VerigatorError) as caught:
        call(api)
    assert caught.value.__context__ is None
    return caught.value


@pytest.mark.threat("R04")
@each_call
@each_scheme
def test_server__never_answers(serve: Serve, hasty: Client, clock: Clock, certificate: str, call: object) -> None:
    server = serve(lambda connection: connection.request() and connection.server.stopped.wait(), certificate)
    with clock(0.4):
        error = failure(call, hasty(server.url))
    assert type(error) is RequestTimeoutError
    assert error.sent is True
    assert server.wait_for_requests(1) == 1


@pytest.mark.threat("M07")
@each_scheme
@pytest.mark.parametrize("call", [verify, initiate, get_all])
def test_headers__that_drip(serve: Serve, hasty: Client, clock: Clock, certificate: str, call: object) -> None:
    def script(connection: Connection) -> None:
        connection.request()
        connection.drip(b"HTTP/1.1 200 OK\r\nX-Long: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaa")

    with clock():
        error = failure(call, hasty(serve(script, certificate).url))
    assert type(error) is RequestTimeoutError
    assert error.sent is True


@pytest.mark.threat("M07", "R05")
@each_call
@each_scheme
def test_body__that_drips(serve: Serve, hasty: Client, clock: Clock, certificate: str, call: object) -> None:
    def script(connection: Connection) -> None:
        connection.request()
        connection.sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 60000\r\n\r\n")
        connection.drip(GOOD)

    with clock():
        error = failure(call, hasty(serve(script, certificate).url))
    assert type(error) is RequestTimeoutError
    assert (error.sent, error.status) == (True, 200)


@pytest.mark.threat("M07")
def test_error_body__that_drips(serve: Serve, client: Client, clock: Clock) -> None:
    """The status says what there is to know; the connection is not used again."""

    def script(connection: Connection) -> None:
        connection.request()
        connection.sock.sendall(b"HTTP/1.1 401 No\r\nContent-Length: 60000\r\n\r\n")
        connection.drip(b"{")

    server = serve(script)
    api = client(server.url, total_timeout=1.5)
    for _ in range(2):
        with clock(1.5):
            assert type(failure(verify, api)) is WrongCredentialsError
    assert server.connections == 2


@pytest.mark.threat("M07")
@each_call
def test_continues__without_end(serve: Serve, hasty: Client, clock: Clock, call: object) -> None:
    def script(connection: Connection) -> None:
        connection.request()
        while not connection.server.stopped.wait(0.02):
            connection.sock.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")

    with clock():
        error = failure(call, hasty(serve(script).url))
    assert type(error) is RequestTimeoutError
    assert error.sent is True


@pytest.mark.threat("M07")
@each_call
def test_trailer__without_end(serve: Serve, hasty: Client, clock: Clock, call: object) -> None:
    def script(connection: Connection) -> None:
        connection.request()
        connection.sock.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        connection.sock.sendall(b"%x\r\n%b\r\n0\r\n" % (len(GOOD), GOOD))
        connection.drip(b"X: yyyyyyyyyyyyyyyyyyyyyyyyyyyyyy\r\n")

    with clock():
        error = failure(call, hasty(serve(script).url))
    assert type(error) is RequestTimeoutError


@contextlib.contextmanager
def dripping_listener(reply: bytes, read_first: bool = True) -> Iterator[Server]:
    """A server without TLS of its own, which drips ``reply`` at whoever connects."""

    def script(connection: Connection) -> None:
        if read_first:
            connection.sock.recv(65536)
        connection.drip(reply)

    server = Server(script)
    try:
        yield server
    finally:
        server.stop()


# The start of a ServerHello record of 16,000 bytes: the client has to wait for the rest of it.
SERVER_HELLO = b"\x16\x03\x03\x3e\x80\x02\x00\x3e\x7c\x03\x03" + b"a" * 8


@pytest.mark.threat("M07")
@each_call
def test_tls_handshake__that_drips(hasty: Client, clock: Clock, call: object) -> None:
    with dripping_listener(SERVER_HELLO) as server, clock():
        error = failure(call, hasty(f"https://127.0.0.1:{server.port}", connect_timeout=5, read_timeout=5))
        assert type(error) is RequestTimeoutError
        assert error.sent is False


@pytest.mark.threat("M07")
def test_tls_handshake__that_stalls(serve: Serve, hasty: Client, clock: Clock) -> None:
    server = serve(lambda connection: connection.server.stopped.wait())
    with clock(0.4):
        error = failure(verify, hasty(f"https://127.0.0.1:{server.port}"))
    assert type(error) is RequestTimeoutError
    assert error.sent is False


@pytest.mark.threat("M07")
@pytest.mark.parametrize("reply", [b"HTTP/1.1 200 Conn", b"HTTP/1.1 200 OK\r\nX: y\r\n"], ids=["status", "headers"])
def test_proxy__whose_answer_drips(hasty: Client, clock: Clock, reply: bytes) -> None:
    with dripping_listener(reply) as server:
        proxies = {"https": f"http://user:canary@127.0.0.1:{server.port}"}
        with clock():
            error = failure(verify, hasty("https://api.example", proxies=proxies, connect_timeout=5, read_timeout=5))
        assert type(error) is RequestTimeoutError
        assert error.sent is False


@pytest.mark.threat("R03")
@each_call
def test_connect__that_hangs(full_listener: int, hasty: Client, clock: Clock, call: object) -> None:
    with clock(0.4):
        error = failure(call, hasty(f"http://127.0.0.1:{full_listener}"))
    assert type(error) is RequestTimeoutError
    assert error.sent is False


@pytest.mark.threat("R03")
def test_connect__many_addresses_that_hang(
    full_listener: int, hasty: Client, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each address has the connect time-out, all of them together the total."""
    address = (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", full_listener))
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_: [address] * 50)
    with clock():
        error = failure(verify, hasty("https://api.example", connect_timeout=0.1))
    assert type(error) is RequestTimeoutError
    assert error.sent is False


@pytest.mark.threat("R03")
def test_connect__second_address_works(
    full_listener: int, serve: Serve, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = serve(lambda connection: connection.request() and connection.answer(GOOD))
    ports = [full_listener, server.port]
    found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port)) for port in ports]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_: found)
    assert client("http://localhost:1", connect_timeout=0.5).auth.verify("sid", "uid", "0042")


@pytest.mark.threat("R02")
def test_resolver__fails(hasty: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    def getaddrinfo(*_: object) -> None:
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    error = failure(verify, hasty("https://api.example"))
    assert type(error) is ConnectionFailedError
    assert error.sent is False


@pytest.mark.threat("R02")
def test_resolver__its_time_is_not_counted(serve: Serve, client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    server = serve(lambda connection: connection.request() and connection.answer(GOOD))
    real = socket.getaddrinfo
    asked = []

    def getaddrinfo(*arguments: object) -> object:
        asked.append(arguments)
        time.sleep(1.6)
        return real(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    assert client(server.url, total_timeout=1.5).auth.verify("sid", "uid", "0042")
    assert asked


def chunked(*chunks: bytes) -> bytes:
    return b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"".join(chunks)


def flood(start: bytes, again: bytes) -> Callable[[Connection], None]:
    """Send ``start``, then ``again`` until nobody listens."""

    def script(connection: Connection) -> None:
        connection.request()
        connection.sock.sendall(start)
        while not connection.server.stopped.is_set():
            connection.sock.sendall(again)

    return script


BLANKS = b" " * 65536
FLOODS = {
    "length": (b"HTTP/1.1 200 OK\r\nContent-Length: 1073741824\r\n\r\n", BLANKS),
    "no length": (b"HTTP/1.1 200 OK\r\n\r\n", BLANKS),
    "chunks": (chunked(), b"10000\r\n" + BLANKS + b"\r\n"),
    "chunk of -1": (chunked(b"-1\r\n"), BLANKS),
    "chunk of -5": (chunked(b"-5\r\n"), BLANKS),
    "chunk of 1 GB": (chunked(b"40000000\r\n"), BLANKS),
    "chunk extension": (chunked(b"5;"), b"a" * 65536),
    "headers": (b"HTTP/1.1 200 OK\r\n", b"X-A: b\r\n" * 1000),
    "long headers": (b"HTTP/1.1 200 OK\r\n", b"X-A: " + b"b" * 60000 + b"\r\n"),
    "one header": (b"HTTP/1.1 200 OK\r\nX: ", b"b" * 65536),
    "status line": (b"HTTP/1.1 200 ", b"b" * 65536),
    "no HTTP": (b"", b"b" * 65536),
    "trailers": (chunked(b"0\r\n"), b"X-A: b\r\n" * 1000),
    "redirect": (b"HTTP/1.1 302 Found\r\nLocation: /x\r\nContent-Length: 1073741824\r\n\r\n", BLANKS),
    "continues": (b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 1000),
}


@pytest.mark.threat("M06")
@pytest.mark.parametrize("name", FLOODS)
@each_call
def test_flood(serve: Serve, hasty: Client, clock: Clock, name: str, call: object) -> None:
    """An answer without end takes neither time nor memory."""
    server = serve(flood(*FLOODS[name]))
    tracemalloc.start()
    try:
        with clock():
            error = failure(call, hasty(server.url))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    # On a busy machine the deadline may come before the flood has reached its cap, or before there is a connection.
    assert type(error) in {InvalidResponseError, ConnectionFailedError, RequestTimeoutError}
    assert error.sent is True or type(error) is RequestTimeoutError
    assert peak < 3_000_000


GARBAGE = {
    "nothing": (b"", ConnectionFailedError),
    "ssh": (b"SSH-2.0-OpenSSH_9.0\r\n", InvalidResponseError),
    "status": (b"HTTP/1.1 2000 OK\r\n\r\n", InvalidResponseError),
    "header without colon": (b"HTTP/1.1 200 OK\r\ncanary forged\r\n\r\n" + GOOD, InvalidResponseError),
    "early hints": (b"HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\n\r\n" + GOOD, InvalidResponseError),
    "upgrade": (b"HTTP/1.1 101 Switching\r\n\r\n" + GOOD, InvalidResponseError),
    "cut head": (b"HTTP/1.1 200 OK\r\nContent-Le", None),
    "cut body": (b"HTTP/1.1 200 OK\r\nContent-Length: 40\r\n\r\n" + GOOD, ConnectionFailedError),
    "two lengths": (
        b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nContent-Length: 99\r\n\r\n" % len(GOOD) + GOOD,
        InvalidResponseError,
    ),
    "cut chunk": (chunked(b"40\r\n" + GOOD), ConnectionFailedError),
    "no last chunk": (chunked(b"%x\r\n%b\r\n" % (len(GOOD), GOOD)), ConnectionFailedError),
    "chunk size": (chunked(b"zz\r\n" + GOOD), ConnectionFailedError),
}


@pytest.mark.threat("R06", "R07")
@pytest.mark.parametrize("name", GARBAGE)
@each_call
def test_answer__broken_off_or_no_http(
    serve: Serve, client: Client, caplog: pytest.LogCaptureFixture, name: str, call: object
) -> None:
    """Not believed, not asked again (a start costs money, a verification a try), and never logged."""
    reply, kind = GARBAGE[name]

    def script(connection: Connection) -> None:
        connection.request()
        connection.sock.sendall(reply)

    server = serve(script)
    error = failure(call, client(server.url))
    assert type(error) is kind if kind else isinstance(error, ConnectionFailedError | InvalidResponseError)
    assert error.sent is True
    assert (len(server.requests), server.connections) == (1, 1)
    assert "canary" not in caplog.text


@pytest.mark.threat("R07")
@each_call
def test_answer__reset(serve: Serve, client: Client, call: object) -> None:
    def script(connection: Connection) -> None:
        connection.request()
        connection.sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 40\r\n\r\n{")
        connection.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")
        connection.sock.close()

    server = serve(script)
    error = failure(call, client(server.url))
    assert type(error) is ConnectionFailedError
    assert error.sent is True
    assert server.connections == 1
