"""Connections: kept, dropped, forked, secured, proxied; and what stays out of logs and tracebacks."""

from __future__ import annotations

import base64
import contextlib
import gc
import logging
import os
import socket
import ssl
import threading
import traceback
from collections.abc import Callable
from http.cookies import SimpleCookie

import pytest
from conftest import CERTS, CREDENTIAL, Connection, Server

from django_verigator.client import Api, Transport
from django_verigator.client.deadline import DeadlineSocket
from django_verigator.client.route import Route
from django_verigator.exceptions import ConnectionFailedError, InvalidResponseError, RequestTimeoutError, VerigatorError

Serve = Callable[..., Server]
Client = Callable[..., Api]
Clock = Callable[..., contextlib.AbstractContextManager[None]]
GOOD = b'{"verified": true, "method": "sms"}'


def verify(api: Api) -> object:
    return api.auth.verify("sid", "uid", "004242")


def failure(api: Api) -> VerigatorError:
    with pytest.raises(VerigatorError) as caught:
        verify(api)
    return caught.value


def keep(connection: Connection) -> None:
    while connection.request():
        connection.answer(GOOD)


def once(connection: Connection) -> None:
    connection.request()
    connection.answer(GOOD)


@pytest.mark.parametrize("certificate", [None, "good.pem"])
def test_keep_alive__one_connection_for_a_thread(serve: Serve, client: Client, certificate: str | None) -> None:
    server = serve(keep, certificate)
    api = client(server.url)
    for _ in range(5):
        assert verify(api)
    thread = threading.Thread(target=lambda: (verify(api), verify(api), api.close()))
    thread.start()
    thread.join()
    assert len(server.requests) == 7
    assert server.connections == 2


def test_keep_alive__also_after_an_error_status(serve: Serve, client: Client) -> None:
    def script(connection: Connection) -> None:
        while connection.request():
            connection.answer(b'{"message": "no"}', "404 Not Found")

    server = serve(script)
    api = client(server.url)
    for _ in range(3):
        assert failure(api).status == 404
    assert server.connections == 1


@pytest.mark.parametrize("certificate", [None, "good.pem"])
def test_keep_alive__server_closes_idle_connections(serve: Serve, client: Client, certificate: str | None) -> None:
    """A call after a pause does not fail for it, and is sent once."""
    server = serve(once, certificate)
    api = client(server.url)
    for number in range(1, 4):
        assert verify(api)
        assert len(server.requests) == number
        for thread in server.threads[1:]:
            thread.join(5)
    assert server.connections == 3


@pytest.mark.parametrize("certificate", [None, "good.pem"])
def test_request__leaves_in_one_piece(
    serve: Serve, client: Client, monkeypatch: pytest.MonkeyPatch, certificate: str | None
) -> None:
    """Head and body share a packet, a TLS record and a system call."""
    server = serve(keep, certificate)
    api = client(server.url)
    pieces: list[bytes] = []
    sendall = DeadlineSocket.sendall
    monkeypatch.setattr(DeadlineSocket, "sendall", lambda sock, data: pieces.append(data) or sendall(sock, data))
    verify(api)
    ((head, body),) = server.requests
    assert pieces == [head.encode() + b"\r\n\r\n" + body]


@pytest.mark.parametrize("path", ["/a b", "/a HTTP/1.1\r\nX: y", "/a\n", "/\x7f", "/\xe4"])
def test_request__line_that_ends_early_is_not_sent(serve: Serve, client: Client, path: str) -> None:
    server = serve(keep)
    with pytest.raises(VerigatorError) as caught:
        client(server.url)._transport.call("GET", path, dict)
    assert caught.value.sent is False
    assert server.requests == []


@pytest.mark.parametrize(
    ("name", "value"), [("X-A", "a\r\nX-B: b"), ("X-A", "a\n"), ("X-A\r\nX-B", "b"), ("X-A", "\u20ac")]
)
def test_request__header_that_ends_early_is_not_sent(serve: Serve, name: str, value: str) -> None:
    server = serve(keep)
    with pytest.raises(VerigatorError) as caught:
        Transport(server.url, headers={name: value}).call("GET", "/a", dict)
    assert caught.value.sent is False
    assert server.requests == []


@pytest.mark.parametrize(
    ("host", "port", "tls", "sent"),
    [
        ("api.example", 443, True, "api.example"),
        ("api.example", 8443, True, "api.example:8443"),
        ("127.0.0.1", 80, False, "127.0.0.1"),
        ("localhost", 443, False, "localhost:443"),
        ("::1", 8000, False, "[::1]:8000"),
        ("fe80::1%eth0", 443, True, "[fe80::1]"),
    ],
)
def test_request__names_the_port_where_it_is_not_the_usual_one(host: str, port: int, tls: bool, sent: str) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT) if tls else None
    assert Route(host, port, context).host_header == sent


def test_sent__kept_connection_closed_after_the_request(serve: Serve, client: Client) -> None:
    """It may have been read: no second try by itself, and not called unsent."""

    def script(connection: Connection) -> None:
        once(connection)
        connection.request()

    server = serve(script)
    api = client(server.url)
    verify(api)
    error = failure(api)
    assert type(error) is ConnectionFailedError
    assert error.sent is True
    assert (len(server.requests), server.connections) == (2, 1)


@pytest.mark.threat("R01")
def test_sent__refused(client: Client) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    error = failure(client(f"http://127.0.0.1:{port}"))
    assert type(error) is ConnectionFailedError
    assert error.sent is False
    assert (error.method, error.path) == ("PUT", "/v1/service/service/sid/users/uid/auth")


def test_sent__deadline_passed_before_sending(serve: Serve, client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also on a connection that stands already."""
    server = serve(keep)
    api = client(server.url)
    verify(api)
    late = iter([0.0])
    monkeypatch.setattr("django_verigator.client.deadline.monotonic", lambda: next(late, 99.0))
    error = failure(api)
    assert type(error) is RequestTimeoutError
    assert error.sent is False
    assert len(server.requests) == 1


def test_within__shortens_the_total_in_its_block(serve: Serve, client: Client, clock: Clock) -> None:
    server = serve(lambda connection: connection.server.stopped.wait())
    api = client(server.url)
    with clock(0.1), api.within(0.1), api.within(None), api.within(4):
        error = failure(api)
    assert type(error) is RequestTimeoutError


@pytest.mark.parametrize("seconds", [0, -1])
def test_within__nothing_left_sends_nothing(serve: Serve, client: Client, seconds: float) -> None:
    """Neither on a new connection nor on one that stands; afterwards calls are as before."""
    server = serve(keep)
    api = client(server.url)
    for sent in range(2):
        with api.within(seconds):
            error = failure(api)
        assert type(error) is RequestTimeoutError
        assert error.sent is False
        assert len(server.requests) == sent
        assert verify(api)


BAD_TLS = ["selfsigned.pem", "wronghost.pem", "expired.pem"]


@pytest.mark.threat("M08")
@pytest.mark.parametrize("certificate", BAD_TLS)
def test_certificate__refused(serve: Serve, client: Client, certificate: str) -> None:
    server = serve(keep, certificate)
    error = failure(client(server.url))
    assert type(error) is ConnectionFailedError
    assert error.sent is False
    assert server.requests == []


@pytest.mark.threat("M08")
@pytest.mark.parametrize("certificate", BAD_TLS)
def test_certificate__verify_false_changes_nothing(
    serve: Serve, client: Client, monkeypatch: pytest.MonkeyPatch, certificate: str
) -> None:
    server = serve(keep, certificate)
    api = client(server.url)
    api._transport._sessions.for_this_thread().verify = False
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(CERTS / certificate))
    monkeypatch.setenv("CURL_CA_BUNDLE", str(CERTS / certificate))
    monkeypatch.setenv("SSL_CERT_FILE", str(CERTS / certificate))
    assert failure(api).sent is False
    assert server.requests == []


@pytest.mark.threat("M08")
def test_certificate__test_ca_is_not_trusted_by_default(serve: Serve) -> None:
    server = serve(keep, "good.pem")
    api = Api(*CREDENTIAL, server.url)
    assert failure(api).sent is False
    assert server.requests == []


@pytest.mark.threat("M08")
def test_old_tls__refused(serve: Serve, client: Client) -> None:
    with pytest.warns(DeprecationWarning, match="TLSv1_1"):
        server = serve(keep, "good.pem", maximum=ssl.TLSVersion.TLSv1_1)
    assert failure(client(server.url)).sent is False
    assert server.requests == []


@pytest.mark.threat("M08")
def test_no_tls_at_all(serve: Serve, client: Client) -> None:
    def script(connection: Connection) -> None:
        connection.sock.recv(65536)
        connection.sock.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    error = failure(client(serve(script).url.replace("http", "https")))
    assert type(error) is ConnectionFailedError
    assert error.sent is False


def test_ca_bundle__directory(serve: Serve, client: Client, tmp_path: object) -> None:
    """A directory is searched by hashed names, as OpenSSL does; an empty one trusts nobody."""
    server = serve(keep, "good.pem")
    assert failure(client(server.url, ca_bundle=str(tmp_path))).sent is False
    assert server.requests == []


@pytest.mark.threat("M03")
@pytest.mark.parametrize("status", ["301 Moved", "302 Found", "303 See Other", "307 Temporary", "308 Permanent"])
def test_redirect__to_another_host(serve: Serve, client: Client, status: str) -> None:
    other = serve(keep)

    def script(connection: Connection) -> None:
        while connection.request():
            connection.answer(GOOD, status, f"Location: {other.url}/x\r\n")

    error = failure(client(serve(script).url))
    assert type(error) is InvalidResponseError
    assert error.status == int(status[:3])
    assert other.connections == 0


@pytest.mark.threat("M11")
def test_cookies__are_not_kept(serve: Serve, client: Client) -> None:
    def script(connection: Connection) -> None:
        while connection.request():
            connection.answer(GOOD, headers=f"{SimpleCookie({'canary': 'canary'}).output()}; Path=/\r\n")

    server = serve(script)
    api = client(server.url)
    verify(api)
    verify(api)
    assert "cookie" not in server.requests[1][0].lower()
    assert list(api._transport._sessions.for_this_thread().cookies) == []


@pytest.mark.threat("L05")
def test_environment__is_not_read(serve: Serve, client: Client, monkeypatch: pytest.MonkeyPatch, tmp_path) -> None:  # type: ignore[no-untyped-def]
    server = serve(keep)
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login canary password canary")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.setenv("SSLKEYLOGFILE", str(tmp_path / "keys"))
    assert verify(client(server.url))
    assert server.requests[0][0].startswith("PUT /v1/"), "no proxy's way to ask"
    assert "authorization" not in server.requests[0][0].lower()
    tls = serve(keep, "good.pem")
    assert verify(client(tls.url))
    assert not (tmp_path / "keys").exists()


def proxy_to(target: Server) -> Callable[[Connection], None]:
    """A CONNECT proxy for one connection."""

    def script(connection: Connection) -> None:
        connection.request()
        with socket.create_connection(("127.0.0.1", target.port)) as onward:
            connection.sock.sendall(b"HTTP/1.1 200 OK\r\n\r\n")

            def back() -> None:
                with contextlib.suppress(OSError):
                    while piece := onward.recv(65536):
                        connection.sock.sendall(piece)

            thread = threading.Thread(target=back, daemon=True)
            thread.start()
            while piece := connection.sock.recv(65536):
                onward.sendall(piece)
            with contextlib.suppress(OSError):
                onward.shutdown(socket.SHUT_RDWR)
            thread.join(5)

    return script


def test_proxy__tunnels_and_sees_no_credential(serve: Serve, client: Client) -> None:
    target = serve(keep, "good.pem")
    proxy = serve(proxy_to(target))
    api = client(target.url, proxies={"https": f"http://me:secret@127.0.0.1:{proxy.port}"})
    for _ in range(2):
        assert verify(api)
    api.close()
    assert len(proxy.requests) == 1
    head = proxy.requests[0][0]
    assert head.startswith(f"CONNECT 127.0.0.1:{target.port} ")
    assert f"Proxy-Authorization: Basic {base64.b64encode(b'me:secret').decode()}" in head
    assert "canary" not in head
    assert len(target.requests) == 2
    assert "proxy-authorization" not in target.requests[0][0].lower()


def test_proxy__certificate_of_the_target_is_verified(serve: Serve, client: Client) -> None:
    target = serve(keep, "wronghost.pem")
    proxy = serve(proxy_to(target))
    error = failure(client(target.url, proxies={"https": f"http://127.0.0.1:{proxy.port}"}))
    assert error.sent is False
    assert target.requests == []


@pytest.mark.parametrize("answer", [b"HTTP/1.1 407 canary\r\n\r\n", b"HTTP/1.1 502 x\r\n\r\n", b"garbage\r\n\r\n", b""])
def test_sent__proxy_refuses(serve: Serve, client: Client, answer: bytes) -> None:
    def script(connection: Connection) -> None:
        connection.request()
        connection.sock.sendall(answer)

    api = client("https://api.example", proxies={"https": f"http://me:canary@127.0.0.1:{serve(script).port}"})
    error = failure(api)
    assert type(error) is ConnectionFailedError
    assert error.sent is False
    assert "canary" not in f"{error!s}{error.__dict__}"


def test_proxy__not_used_for_plain_http(serve: Serve, client: Client) -> None:
    """The credentials would go to it in the clear."""
    server = serve(keep)
    assert verify(client(server.url, proxies={"http": "http://127.0.0.1:9", "all": "http://127.0.0.1:9"}))


@pytest.mark.parametrize("certificate", [None, "good.pem"])
def test_fork__child_does_not_share_the_connection(serve: Serve, client: Client, certificate: str | None) -> None:
    server = serve(keep, certificate)
    api = client(server.url)
    verify(api)
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.write(writer, b"1" if verify(api) else b"0")
        os._exit(0)
    os.waitpid(pid, 0)
    assert os.read(reader, 1) == b"1"
    os.close(reader)
    os.close(writer)
    assert verify(api)
    assert len(server.requests) == 3
    assert server.connections == 2


def test_thread__that_ends_closes_its_connection(serve: Serve, client: Client) -> None:
    server = serve(keep)
    api = client(server.url)
    thread = threading.Thread(target=verify, args=(api,))
    thread.start()
    thread.join()
    gc.collect()
    for serving in server.threads[1:]:
        serving.join(5)
        assert not serving.is_alive()


SECRETS = ["canary-user", "canary:pass", "004242", "37251234567"]


@pytest.mark.threat("F05")
def test_log_at_debug__holds_no_secret(serve: Serve, client: Client, caplog: pytest.LogCaptureFixture) -> None:
    def script(connection: Connection) -> None:
        while request := connection.request():
            user = b'{"id": "uid", "ctime": "x", "id_in_service": "alice", "method": "sms", "verified": true}'
            connection.answer(user if "POST" in request[0] else GOOD)

    caplog.set_level(logging.DEBUG)
    api = client(serve(script).url)
    api.users.create("sid", "+37251234567", "alice")
    api.auth.initiate("sid", "uid", "sms")
    verify(api)
    assert "PUT /v1/service/service/sid/users/uid/auth" in caplog.text
    assert {record.levelno for record in caplog.records} == {logging.DEBUG}
    assert [secret for secret in SECRETS if secret in caplog.text] == []


def frames(error: BaseException) -> str:
    """Every variable of every frame the exception went through, and of its context's, as a debug page shows them."""
    seen: list[str] = []
    chain: BaseException | None = error
    while chain is not None:
        for frame, _ in traceback.walk_tb(chain.__traceback__):
            if "/tests/" not in frame.f_code.co_filename:
                seen += [f"{name}={value!r}" for name, value in frame.f_locals.items()]
        chain = chain.__cause__ or chain.__context__
    return "\n".join(seen)


@pytest.mark.threat("F06")
@pytest.mark.parametrize("status", ["401 No", "500 No", "200 OK", "302 Found"])
def test_traceback__shows_no_secret(serve: Serve, client: Client, status: str) -> None:
    def script(connection: Connection) -> None:
        while connection.request():
            connection.answer(b'{"message": "canary:pass 004242 37251234567"', status)

    api = client(serve(script).url)
    for call in (verify, lambda api: api.users.create("sid", "+37251234567", "alice")):
        with pytest.raises(VerigatorError) as caught:
            call(api)
        shown = frames(caught.value) + repr(caught.value) + str(caught.value)
        assert "method=" in shown
        assert [secret for secret in SECRETS if secret in shown] == []


@pytest.mark.threat("F06")
def test_traceback__of_an_interrupt_in_the_middle(
    serve: Serve, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker that is stopped during a call prints the frames of requests and urllib3 too."""

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("http.client.HTTPResponse.begin", interrupted)
    api = client(serve(keep).url)
    with pytest.raises(KeyboardInterrupt) as caught:
        verify(api)
    shown = frames(caught.value)
    assert "X-Service-Auth" in shown
    assert [secret for secret in SECRETS if secret in shown] == []


@pytest.mark.threat("F06")
def test_traceback__of_an_interrupt_while_sending(
    serve: Serve, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(DeadlineSocket, "_send", interrupted)
    with pytest.raises(KeyboardInterrupt) as caught:
        verify(client(serve(keep).url))
    shown = frames(caught.value)
    assert "X-Service-Auth" in shown
    assert [secret for secret in SECRETS if secret in shown] == []


@pytest.mark.threat("F06")
@pytest.mark.fault("T10")
def test_traceback__of_an_interrupt_while_a_proxy_is_asked(
    serve: Serve, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("django_verigator.client.deadline.DeadlineSocket.recv_into", interrupted)
    proxy = f"http://canary-user:canary%3Apass@127.0.0.1:{serve(keep).port}"
    api = client("https://api.example", proxies={"https": proxy})
    with pytest.raises(KeyboardInterrupt) as caught:
        verify(api)
    shown = frames(caught.value)
    assert "proxies=" in shown
    secrets = [*SECRETS, "canary%3Apass", base64.b64encode(b"canary-user:canary:pass").decode()]
    assert [secret for secret in secrets if secret in shown] == []


@pytest.mark.threat("F06")
@pytest.mark.fault("T10")
def test_traceback__of_a_refused_proxy() -> None:
    proxies = {"https": "http://canary-user:canary:pass@proxy:3128", "http": "socks5://canary"}
    with pytest.raises(ValueError, match="http://") as caught:
        Api("u", "p", proxies=proxies)
    assert "canary" not in frames(caught.value)


@pytest.mark.threat("F06")
def test_traceback__of_refused_credentials() -> None:
    with pytest.raises(ValueError, match="username") as caught:
        Api("canary-user", "canary:pass\n")
    assert "canary" not in frames(caught.value)
