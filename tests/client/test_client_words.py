"""N07: why a connection failed, in a word, with the address and without credentials."""

from __future__ import annotations

import contextlib
import errno
import socket
import ssl
from collections.abc import Callable
from typing import Any

import pytest
from conftest import Connection, Server

from django_verigator.client import Api, NumberVerification
from django_verigator.client.errors import explanation, why_no_tls, why_no_tunnel, why_not_connected
from django_verigator.exceptions import ConnectionFailedError, RequestTimeoutError, VerigatorError

Serve = Callable[..., Server]
Client = Callable[..., Api]
PROXY = "http://canary-user:canary-secret@127.0.0.1"


def failure(api: Api) -> VerigatorError:
    with pytest.raises(VerigatorError) as caught:
        api.auth.verify("sid", "uid", "0042")
    assert "canary" not in f"{caught.value!s}{caught.value!r}{vars(caught.value)}"
    return caught.value


def says(error: VerigatorError, why: str, address: str) -> None:
    assert (error.why, error.address) == (why, address)
    assert address in str(error)
    assert error.details == {"reason": error.reason, "status": None, "why": why, "address": address}
    assert error.cause == f"{error.reason}: {why} at {address}"


def answer(connection: Connection) -> None:
    while connection.request():
        connection.answer(b'{"verified": true}')


@pytest.mark.fault("N07")
@pytest.mark.parametrize(
    ("certificate", "why"),
    [("selfsigned.pem", "unknown_ca"), ("wronghost.pem", "wrong_host"), ("expired.pem", "expired")],
)
def test_certificate__is_said_to_be_what_it_is(serve: Serve, client: Client, certificate: str, why: str) -> None:
    server = serve(answer, certificate)
    says(failure(client(server.url)), why, f"127.0.0.1:{server.port}")


@pytest.mark.fault("N07")
def test_certificate__of_a_ca_that_is_not_in_the_bundle(serve: Serve) -> None:
    server = serve(answer, "good.pem")
    says(failure(Api("u", "p", server.url)), "unknown_ca", f"127.0.0.1:{server.port}")


@pytest.mark.fault("N07")
@pytest.mark.parametrize("speaks_first", [True, False])
def test_plain_http_on_a_tls_port(serve: Serve, client: Client, speaks_first: bool) -> None:
    def script(connection: Connection) -> None:
        if not speaks_first:
            connection.sock.recv(65536)
        connection.sock.sendall(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")

    server = serve(script)
    says(failure(client(f"https://127.0.0.1:{server.port}")), "no_tls", f"127.0.0.1:{server.port}")


@pytest.mark.fault("N07")
def test_tls__that_is_too_old(serve: Serve, client: Client) -> None:
    with pytest.warns(DeprecationWarning, match="TLSv1_1"):
        server = serve(answer, "good.pem", maximum=ssl.TLSVersion.TLSv1_1)
    says(failure(client(server.url)), "tls_failed", f"127.0.0.1:{server.port}")


@pytest.mark.fault("N07")
def test_tls__that_breaks_off(serve: Serve, client: Client) -> None:
    server = serve(lambda connection: connection.sock.recv(10))
    says(failure(client(f"https://127.0.0.1:{server.port}")), "tls_broken", f"127.0.0.1:{server.port}")


@pytest.mark.fault("N07")
def test_tls__that_stalls(serve: Serve, hasty: Client) -> None:
    server = serve(lambda connection: connection.server.stopped.wait())
    error = failure(hasty(f"https://127.0.0.1:{server.port}"))
    assert type(error) is RequestTimeoutError
    says(error, "tls_timeout", f"127.0.0.1:{server.port}")


@pytest.mark.fault("N07")
@pytest.mark.parametrize("certificate", [None, "good.pem"])
def test_nobody_listens(serve: Serve, client: Client, certificate: str | None) -> None:
    server = serve(answer, certificate)
    server.stop()
    says(failure(client(server.url)), "refused", f"127.0.0.1:{server.port}")


@pytest.mark.fault("N07")
def test_nobody_answers(full_listener: int, hasty: Client) -> None:
    error = failure(hasty(f"http://127.0.0.1:{full_listener}"))
    assert type(error) is RequestTimeoutError
    says(error, "connect_timeout", f"127.0.0.1:{full_listener}")


@pytest.mark.fault("N07")
def test_name__that_nobody_knows(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    def getaddrinfo(*_: object) -> None:
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    says(failure(client("https://api.example/base")), "no_such_name", "api.example:443")


PROXIES = {
    "wants other credentials": (b"HTTP/1.1 407 canary\r\n\r\n", "proxy_auth"),
    "denies": (b"HTTP/1.1 403 canary\r\n\r\n", "proxy_denied"),
    "fails": (b"HTTP/1.1 502 canary\r\n\r\n", "proxy_denied"),
    "is none": (b"canary\r\n\r\n", "proxy_broken"),
    "breaks off": (b"", "proxy_broken"),
}


@pytest.mark.fault("N07")
@pytest.mark.parametrize("name", PROXIES)
def test_proxy(serve: Serve, client: Client, name: str) -> None:
    said, why = PROXIES[name]

    def script(connection: Connection) -> None:
        connection.request()
        connection.sock.sendall(said)

    server = serve(script)
    error = failure(client("https://api.example", proxies={"https": f"{PROXY}:{server.port}"}))
    assert type(error) is ConnectionFailedError
    says(error, why, f"127.0.0.1:{server.port}")


@pytest.mark.fault("N07")
def test_proxy__that_is_not_there(serve: Serve, client: Client) -> None:
    server = serve(answer)
    server.stop()
    error = failure(client("https://api.example", proxies={"https": f"{PROXY}:{server.port}"}))
    says(error, "proxy_refused", f"127.0.0.1:{server.port}")


@pytest.mark.fault("N07")
def test_proxy__that_hangs(serve: Serve, hasty: Client) -> None:
    server = serve(lambda connection: connection.request() and connection.server.stopped.wait())
    error = failure(hasty("https://api.example", proxies={"https": f"{PROXY}:{server.port}"}))
    assert type(error) is RequestTimeoutError
    says(error, "proxy_connect_timeout", f"127.0.0.1:{server.port}")


@pytest.mark.fault("N07")
def test_certificate__behind_a_proxy_is_the_provider_s(serve: Serve, client: Client) -> None:
    target = serve(answer, "wronghost.pem")

    def script(connection: Connection) -> None:
        connection.request()
        with socket.create_connection(("127.0.0.1", target.port)) as onward, contextlib.suppress(OSError):
            connection.sock.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
            onward.sendall(connection.sock.recv(65536))
            while piece := onward.recv(65536):
                connection.sock.sendall(piece)

    proxy = serve(script)
    error = failure(client(target.url, proxies={"https": f"{PROXY}:{proxy.port}"}))
    says(error, "wrong_host", f"127.0.0.1:{target.port}")


@pytest.mark.fault("N01", "N07")
@pytest.mark.parametrize("certificate", [None, "good.pem"])
@pytest.mark.parametrize(
    ("said", "why"), [(b"", "no_answer"), (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{", "cut_answer")]
)
def test_answer__that_is_lost_and_one_that_is_cut_are_told_apart(
    serve: Serve, client: Client, certificate: str | None, said: bytes, why: str
) -> None:
    def script(connection: Connection) -> None:
        connection.request()
        connection.sock.sendall(said)

    server = serve(script, certificate)
    error = failure(client(server.url))
    assert (error.why, error.address, error.sent) == (why, f"127.0.0.1:{server.port}", True)


@pytest.mark.fault("N07")
def test_answer__that_does_not_come(serve: Serve, hasty: Client) -> None:
    server = serve(lambda connection: connection.request() and connection.server.stopped.wait())
    says(failure(hasty(server.url)), "no_answer", f"127.0.0.1:{server.port}")


@pytest.mark.fault("N07")
def test_error_with_an_answer__has_none_of_it(serve: Serve, client: Client) -> None:
    def script(connection: Connection) -> None:
        connection.request()
        connection.answer(b"{}", "500 No")

    error = failure(client(serve(script).url))
    assert (error.why, error.address) == ("", "")
    assert error.details == {"reason": "provider_error", "status": 500}
    assert error.cause == "provider_error"


@pytest.mark.fault("N07")
def test_number_verification__says_it_too(serve: Serve) -> None:
    server = serve(answer)
    server.stop()
    with pytest.raises(ConnectionFailedError) as caught:
        NumberVerification("canary-user", "canary-pass", server.url).pin("abc", "0042")
    says(caught.value, "refused", f"127.0.0.1:{server.port}")
    assert "canary" not in f"{caught.value!s}{vars(caught.value)}"


@pytest.mark.fault("N07")
@pytest.mark.parametrize(
    ("of", "error", "why"),
    [
        (why_not_connected, OSError(errno.ENETUNREACH, "x"), "no_route"),
        (why_not_connected, OSError(errno.EMFILE, "x"), "unreachable"),
        (why_not_connected, UnicodeError("x"), "no_such_name"),
        (why_no_tunnel, socket.gaierror(-2, "x"), "proxy_no_such_name"),
        (why_no_tunnel, OSError(errno.EHOSTUNREACH, "x"), "proxy_no_route"),
        (why_no_tls, ConnectionResetError(), "tls_broken"),
        (why_no_tls, ssl.SSLError(1, "x"), "tls_failed"),
    ],
)
def test_words__of_what_cannot_be_had_here(of: Callable[[Exception], str], error: Any, why: str) -> None:
    assert of(error) == why
    assert explanation(why)
