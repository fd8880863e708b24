"""Sockets, connections and an adapter that keep to the ``Limits`` of the exchange they serve.

All that is asked of a socket is connect, send, recv, settimeout and close; TLS is done in memory. So sockets of any
class will do, also those that gevent and eventlet put in the place of Python's, whenever they did it.
"""

from __future__ import annotations

import http.client
import io
import socket
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from time import monotonic
from typing import Any

from requests import PreparedRequest
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

from . import reasons
from .connecting import first_that_connects
from .limits import Limits, current_limits
from .masked import SecretText

REUSE_SECONDS = 20.0
"""A connection that was idle for longer is not used again. The least patient networks forget one after a minute, and
tell neither end."""

_PIECE = 64 * 1024


class LimitedSocket:
    """A socket, with or without TLS, as http.client uses one. Each operation takes as long as the limits say, however
    many packets that takes.
    """

    def __init__(self, sock: socket.socket, limits: Limits) -> None:
        self.limits = limits
        self._sock = sock
        self._tls: ssl.SSLObject | None = None
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._reader: _Reader | None = None
        self._unasked = False
        self._used = monotonic()
        self._closed = False
        self._deadline = 0.0

    def start_tls(self, context: ssl.SSLContext, host: str) -> None:
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname=host)
        self._in_time(self._through_tls, self._tls.do_handshake)

    def is_reusable(self) -> bool:
        """Whether another request may go this way: not idle for long, not ended, and nothing was said unasked."""
        if self._unasked or monotonic() - self._used > REUSE_SECONDS:
            return False
        try:
            self._sock.settimeout(0)
            for _ in range(4):  # records of TLS itself, a session ticket for instance, are no reason
                if self._tls is not None:
                    with suppress(ssl.SSLWantReadError):
                        self._tls.read(1)
                        return False
                received = self._sock.recv(_PIECE)
                if self._tls is None or not received:
                    return False
                self._incoming.write(received)
        except BlockingIOError:
            return True
        except OSError:
            pass
        return False

    def recv_into(self, buffer: memoryview) -> int:
        if self.limits.sending and not self.limits.sent:
            raise ConnectionResetError("not an answer to what was never sent")
        if self._tls is None:
            received: int = self._in_time(self._wait, self._sock.recv_into, buffer)
            self.limits.count(received)
        else:
            try:
                received = self._in_time(self._through_tls, self._tls.read, len(buffer), buffer)
            except ssl.SSLEOFError:  # many servers end a connection without saying so in TLS
                received = 0
        self.limits.answered = self.limits.answered or bool(received and self.limits.sent)
        return received

    def sendall(self, data: bytes) -> None:
        self._in_time(self._send if self._tls is None else self._send_through_tls, data)

    def makefile(self, *_: Any) -> io.BufferedReader:
        self._reader = _Reader(self)
        return self._reader

    def settimeout(self, _: Any) -> None:
        """Nothing to do: the limits say how long each operation may take."""

    def fileno(self) -> int:
        return self._sock.fileno()

    def close(self) -> None:
        """Close the socket, or have it closed with what ``makefile`` gave, which may still be read."""
        self._closed = True
        if self._reader is None or self._reader.closed:
            self._sock.close()

    def reader_closed(self, unread: bytes) -> None:
        self._reader = None
        self._unasked = self._unasked or bool(unread)
        self._used = monotonic()
        if self._closed:
            self._sock.close()

    def _in_time(self, operation: Callable[..., Any], *args: Any) -> Any:
        self._deadline = monotonic() + self.limits.left()
        try:
            return operation(*args)
        except TimeoutError:
            self.limits.timed_out = True
            raise

    def _wait(self, operation: Callable[..., Any], *args: Any) -> Any:
        seconds = self._deadline - monotonic()
        if seconds <= 0:
            raise TimeoutError("time-out")
        self._sock.settimeout(seconds)
        return operation(*args)

    def _send(self, data: bytes) -> None:
        rest = memoryview(data)
        while rest:
            rest = rest[self._wait(self._sock.send, rest) :]
            self.limits.sent = self.limits.sending

    def _send_through_tls(self, data: bytes) -> None:
        rest = memoryview(data)
        while rest:
            assert self._tls is not None
            rest = rest[self._through_tls(self._tls.write, rest) :]

    def _through_tls(self, operation: Callable[..., Any], *args: Any) -> Any:
        while True:
            try:
                result = operation(*args)
            except ssl.SSLWantReadError:
                self._send(self._outgoing.read())
                self._receive()
            except ssl.SSLError:
                with suppress(OSError):  # the other end's log says why
                    self._send(self._outgoing.read())
                raise
            else:
                self._send(self._outgoing.read())
                return result

    def _receive(self) -> None:
        received = self._wait(self._sock.recv, _PIECE)
        self.limits.count(len(received))
        if received:
            self._incoming.write(received)
        else:
            self._incoming.write_eof()


class _Received(io.RawIOBase):
    def __init__(self, sock: LimitedSocket) -> None:
        self.sock = sock
        self.ended = False

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        return 0 if self.ended else self.sock.recv_into(buffer)


class _Reader(io.BufferedReader):
    """What arrives at a socket, as a file."""

    raw: _Received

    def __init__(self, sock: LimitedSocket) -> None:
        super().__init__(_Received(sock))

    def close(self) -> None:
        if not self.closed:
            self.raw.ended = True  # so that peek() does not wait for more
            unread = self.peek(1)
            super().close()
            self.raw.sock.reader_closed(unread)


class LimitedResponse(http.client.HTTPResponse):
    """Refuses headers that cannot be parsed; urllib3 would log them, which lets the provider write into our log."""

    def __init__(self, sock: Any, *args: Any, **kwargs: Any) -> None:
        super().__init__(sock, *args, **kwargs)
        self._limits = sock.limits

    def begin(self) -> None:
        try:
            super().begin()
            if self.headers.defects or self.headers.get_payload():
                raise http.client.HTTPException("malformed headers")
        except http.client.HTTPException as error:
            # RemoteDisconnected is both: no answer at all, which is a broken connection and no malformed answer.
            self._limits.garbled = not isinstance(error, ConnectionError)
            raise


@contextmanager
def _noting(limits: Limits, why: Callable[[Exception], str]) -> Iterator[None]:
    """Note why the block fails."""
    try:
        yield
    except Exception as error:
        limits.why = why(error)
        limits.timed_out = limits.timed_out or isinstance(error, TimeoutError)
        raise


class LimitedConnection(HTTPConnection):
    response_class = LimitedResponse
    sock: Any  # a LimitedSocket, or None

    def connect(self) -> None:
        limits = current_limits()
        limits.engaged = True
        limits.address = f"{self.host}:{self.port}"
        with _noting(limits, reasons.of_proxy if self.proxy else reasons.of_connecting):
            self.sock = LimitedSocket(self._open(limits), limits)
            if self._tunnel_host:
                self._tunnel()

    @property
    def _address(self) -> str:
        return f"{self._tunnel_host or self.host}:{self._tunnel_port or self.port}"

    def _open(self, limits: Limits) -> socket.socket:
        started = monotonic()
        found = socket.getaddrinfo(self._dns_host, self.port, 0, socket.SOCK_STREAM)
        limits.exclude(monotonic() - started)
        return first_that_connects(found, self.socket_options or (), limits.left())

    @property
    def is_connected(self) -> bool:
        # What urllib3 asks right before each request; where it is not so, it makes a new connection.
        return self.sock is not None and self.sock.is_reusable()

    def request(self, method: str, url: str, *args: Any, **kwargs: Any) -> None:
        # urllib3 connects plain HTTP in the middle of sending; here nothing is sent before the connection stands.
        if self.sock is None:
            self.connect()
        limits = current_limits()
        limits.engaged = True
        limits.address = self._address
        limits.reused = self.sock.limits is not limits
        self.sock.limits = limits
        limits.start_sending()
        if limits.query is not None:
            url = SecretText(f"{url}?{limits.query}")
        super().request(method, url, *args, **kwargs)


class LimitedTlsConnection(LimitedConnection, HTTPSConnection):
    def connect(self) -> None:
        super().connect()
        assert self.ssl_context is not None
        limits = current_limits()
        limits.address = self._address
        host = (self._tunnel_host or self.host).strip("[]").rstrip(".")
        with _noting(limits, reasons.of_tls):
            self.sock.start_tls(self.ssl_context, host)
        self.is_verified = True


class LimitedPool(HTTPConnectionPool):
    ConnectionCls = LimitedConnection


class LimitedTlsPool(HTTPSConnectionPool):
    ConnectionCls = LimitedTlsConnection


class LimitedAdapter(HTTPAdapter):
    """An adapter for one thread. It knows one TLS context, and no ``verify`` argument can talk it out of that."""

    def __init__(self, tls: ssl.SSLContext | None, proxy_headers: dict[str, str]) -> None:
        self._tls = tls
        self._proxy_headers = proxy_headers
        # More than one: a stream and calls made meanwhile; the greenlets of a thread that was patched late.
        super().__init__(pool_connections=1, pool_maxsize=20, max_retries=0)

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs)
        self.poolmanager.pool_classes_by_scheme = {"http": LimitedPool, "https": LimitedTlsPool}

    def proxy_manager_for(self, *args: Any, **kwargs: Any) -> Any:
        manager = super().proxy_manager_for(*args, **kwargs)
        manager.pool_classes_by_scheme = {"http": LimitedPool, "https": LimitedTlsPool}
        return manager

    def build_connection_pool_key_attributes(self, request: PreparedRequest, verify: Any, cert: Any = None) -> Any:
        host, _ = super().build_connection_pool_key_attributes(request, True)
        return host, {"ssl_context": self._tls, "cert_reqs": "CERT_REQUIRED"} if self._tls else {}

    def proxy_headers(self, proxy: str) -> dict[str, str]:
        return self._proxy_headers

    def cert_verify(self, *args: Any) -> None:
        """Nothing to do: the context holds the CA certificates already, loaded once and not for each connection."""
