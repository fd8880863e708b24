"""A network between the app and its provider, which on order does what networks do and loopback does not."""

from __future__ import annotations

import contextlib
import socket
import socketserver
import struct
import threading
import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit, urlunsplit

NO_LINGER = struct.pack("ii", 1, 0)  # close() sends a reset


@contextlib.contextmanager
def full_backlog() -> Iterator[int]:
    """The port of a listener whose queue is full: the kernel drops what asks for a connection, as a firewall would."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(4):
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(listener.getsockname())
        time.sleep(0.05)
        yield listener.getsockname()[1]


class _Refusal(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        self.request.recv(65536)
        self.request.sendall(b"HTTP/1.1 407 No\r\n\r\n")


class _Proxy(socketserver.ThreadingTCPServer):
    daemon_threads = True
    request_queue_size = 64


@contextlib.contextmanager
def refusing_proxy() -> Iterator[int]:
    """The port of a proxy that lets nobody through."""
    with _Proxy(("127.0.0.1", 0), _Refusal) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        yield server.server_address[1]
        server.shutdown()
        thread.join(5)


class Relay:
    """Listens on loopback and passes on, byte by byte, what comes from either end.

    Attributes:
        silent: connections that come from now on are accepted, and nothing is passed on.
        slow: seconds by which each piece of a reply is late.
        lines: the connections that came, in their order.
    """

    def __init__(self, provider: str) -> None:
        parts = urlsplit(provider)
        self._provider = ("127.0.0.1", parts.port)
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port: int = self._listener.getsockname()[1]
        self.url = urlunsplit(parts._replace(netloc=f"127.0.0.1:{self.port}"))
        self.lines: list[Line] = []
        self.silent = False
        self.slow = 0.0
        self.stopped = threading.Event()
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    def forget(self, how: str) -> None:
        """Know nothing of the connections there are: what is sent on them meets a "reset", or nobody ("swallow")."""
        for line in self.lines:
            line.forgotten = how

    def hang_up(self) -> None:
        """End each connection there is, in good order."""
        for line in self.lines:
            line.hang_up()

    def cut(self, **room: int) -> None:
        """Reset each connection there is after so many more bytes of the ``request`` or the ``reply``."""
        for line in self.lines:
            line.room = dict(room)

    def heal(self) -> None:
        """Be a good network for what comes from now on."""
        self.silent, self.slow = False, 0.0

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                self.lines.append(Line(self, client, self._provider))
                self.lines[-1].start()  # not before it can be given orders

    def __enter__(self) -> Relay:
        return self

    def __exit__(self, *exception: Any) -> None:
        self.stopped.set()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(5)
        for line in self.lines:
            line.end()


class Line:
    """One connection, with a thread for each direction."""

    def __init__(self, relay: Relay, client: socket.socket, provider: tuple[str, Any]) -> None:
        self.forgotten = "swallow" if relay.silent else ""
        self.room: dict[str, int] = {}
        self._relay = relay
        self._resetting = threading.Lock()
        self._client, self._server = client, socket.socket()
        self._server.connect(provider)  # create_connection() would ask getaddrinfo(), which tests replace
        for sock in (self._client, self._server):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        ways = ((self._client, self._server, "request"), (self._server, self._client, "reply"))
        self._threads = [threading.Thread(target=self._pass_on, args=way, daemon=True) for way in ways]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def _pass_on(self, source: socket.socket, target: socket.socket, what: str) -> None:
        with contextlib.suppress(OSError):
            while piece := source.recv(65536):
                if what == "reply" and self._relay.slow:
                    self._relay.stopped.wait(self._relay.slow)
                if self.forgotten == "reset":
                    return self.reset()
                if self.forgotten:
                    continue
                rooms = self.room  # an order that comes from here on is about the next piece
                target.sendall(piece[: rooms.get(what, len(piece))])
                if what in rooms:
                    rooms[what] -= len(piece)
                    if rooms[what] <= 0:
                        return self.reset()
            if not self.forgotten:
                target.shutdown(socket.SHUT_WR)
        return None

    def reset(self) -> None:
        if not self._resetting.acquire(blocking=False):
            return
        self.forgotten = "reset"
        for sock in (self._client, self._server):
            with contextlib.suppress(OSError):
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, NO_LINGER)
                sock.shutdown(socket.SHUT_RD)
        # Nothing is closed as long as somebody reads from it.
        for thread in self._threads:
            if thread is not threading.current_thread():
                thread.join(5)
        self._client.close()
        self._server.close()

    def hang_up(self) -> None:
        for sock in (self._client, self._server):
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)

    def end(self) -> None:
        self.hang_up()
        for thread in self._threads:
            thread.join(5)
        self._client.close()
        self._server.close()
