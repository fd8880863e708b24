"""A loopback server that says, byte by byte, what a test wants; and clients for it."""

from __future__ import annotations

import contextlib
import functools
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from django_verigator.client import Api
from tests.deadlines import in_time
from tests.network.relay import full_backlog

CERTS = Path(__file__).parent / "certs"
CREDENTIAL = "canary-user", "canary:pass"
Script = Callable[["Connection"], None]


class Connection:
    """The server's end of one connection."""

    def __init__(self, server: Server, sock: socket.socket) -> None:
        self.server = server
        self.sock = sock
        self._rest = b""

    def request(self) -> tuple[str, bytes] | None:
        """The next request's head and body, or None at the end."""
        while b"\r\n\r\n" not in self._rest:
            piece = self.sock.recv(65536)
            if not piece:
                return None
            self._rest += piece
        head, _, self._rest = self._rest.partition(b"\r\n\r\n")
        text = head.decode("latin-1")
        length = next((int(line[15:]) for line in text.split("\r\n") if line.lower().startswith("content-length:")), 0)
        while len(self._rest) < length:
            self._rest += self.sock.recv(65536)
        body, self._rest = self._rest[:length], self._rest[length:]
        self.server.requests.append((text, body))
        return text, body

    def answer(self, body: bytes = b"{}", status: str = "200 OK", headers: str = "") -> None:
        head = f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n{headers}\r\n"
        self.sock.sendall(head.encode() + body)

    def drip(self, data: bytes, every: float = 0.05) -> None:
        """Send ``data`` one byte at a time, then the last byte for ever."""
        for byte in data:
            self.sock.sendall(bytes([byte]))
            if self.server.stopped.wait(every):
                return
        while not self.server.stopped.wait(every):
            self.sock.sendall(data[-1:])


class Server:
    def __init__(self, script: Script, certificate: str | None = None, maximum: ssl.TLSVersion | None = None) -> None:
        self.script = script
        self.requests: list[tuple[str, bytes]] = []
        self.connections = 0
        self.stopped = threading.Event()
        self._open: list[socket.socket] = []
        self.threads: list[threading.Thread] = []
        self._tls = None
        if certificate:
            self._tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self._tls.load_cert_chain(CERTS / certificate, CERTS / "server.key")
            if maximum:
                self._tls.set_ciphers("ALL:@SECLEVEL=0")
                self._tls.maximum_version = maximum
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port: int = self.listener.getsockname()[1]
        self.url = f"{'https' if certificate else 'http'}://127.0.0.1:{self.port}"
        self._start(self._accept)

    def _start(self, target: Callable[..., None], *args: Any) -> None:
        thread = threading.Thread(target=target, args=args, daemon=True)
        self.threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while not self.stopped.is_set():
            try:
                sock, _ = self.listener.accept()
            except OSError:
                return
            self.connections += 1
            self._open.append(sock)
            self._start(self._serve, sock)

    def _serve(self, sock: socket.socket) -> None:
        with contextlib.suppress(OSError):
            if self._tls:
                sock = self._tls.wrap_socket(sock, server_side=True)
                self._open.append(sock)
            self.script(Connection(self, sock))
        with contextlib.suppress(OSError):
            sock.close()

    def wait_for_requests(self, number: int) -> int:
        """How many requests have come, after a while in which there may be ``number`` of them: on a busy machine a
        client gives up before this end has read what it sent."""
        for _ in range(500):
            if len(self.requests) >= number:
                break
            self.stopped.wait(0.01)
        return len(self.requests)

    def stop(self) -> None:
        self.stopped.set()
        with contextlib.suppress(OSError):
            self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        for sock in self._open:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
        for thread in self.threads:
            thread.join(5)
        for sock in self._open:
            sock.close()


@pytest.fixture
def serve() -> Iterator[Callable[..., Server]]:
    """``serve(script, certificate=None)`` starts a server on loopback; ``script`` runs for each connection."""
    servers: list[Server] = []

    def start(script: Script, certificate: str | None = None, **options: Any) -> Server:
        servers.append(Server(script, certificate, **options))
        return servers[-1]

    yield start
    for server in servers:
        server.stop()


@pytest.fixture
def client() -> Iterator[Callable[..., Api]]:
    """``client(url, **options)`` makes an Api that trusts the test CA."""
    made: list[Api] = []

    def make(url: str, **options: Any) -> Api:
        made.append(Api(*CREDENTIAL, url, **{"ca_bundle": str(CERTS / "ca.pem"), **options}))
        return made[-1]

    yield make
    for api in made:
        api.close()


@pytest.fixture
def hasty(client: Callable[..., Api]) -> Callable[..., Api]:
    """As ``client``, with short time-outs: 0.4 seconds for a wait, 0.6 in all. Only where a time-out is what must come:
    a busy machine takes longer than that over an honest answer."""
    return functools.partial(client, connect_timeout=0.4, read_timeout=0.4, total_timeout=0.6, idle_timeout=0.4)


@pytest.fixture
def clock() -> Callable[[], contextlib.AbstractContextManager[None]]:
    """``with clock():`` fails if its block takes longer than the total time-out of ``hasty`` and half a second."""
    return lambda seconds=0.6: in_time(seconds)


@pytest.fixture
def full_listener() -> Iterator[int]:
    """The port of a listener that takes no more connections, and refuses none."""
    with full_backlog() as port:
        yield port
