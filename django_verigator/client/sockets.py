"""Sockets, connections and an adapter that keep to the ``Limits`` of the exchange they serve.

CPython takes a socket's time-out as the total for one connect, recv, sendall, TLS read or TLS handshake, however many
packets that takes. So setting it anew before each of these bounds them all.
"""

from __future__ import annotations

import http.client
import socket
import ssl
from collections.abc import Callable
from time import monotonic
from typing import Any

from requests import PreparedRequest
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import ConnectTimeoutError, NewConnectionError

from .limits import Limits, current_limits
from .masked import SecretText


def _limited(sock: LimitedSocket | LimitedTlsSocket, operation: Callable[..., Any], *args: Any) -> Any:
    sock.settimeout(sock.limits.left())
    try:
        return operation(*args)
    except TimeoutError:
        sock.limits.timed_out = True
        raise


class LimitedSocket(socket.socket):
    limits: Limits

    def connect(self, *args: Any) -> Any:
        return _limited(self, super().connect, *args)

    def recv_into(self, *args: Any) -> Any:
        received = _limited(self, super().recv_into, *args)
        self.limits.count(received)
        return received

    def sendall(self, *args: Any) -> Any:
        return _limited(self, super().sendall, *args)


class LimitedTlsSocket(ssl.SSLSocket):
    limits: Limits

    def do_handshake(self, *args: Any) -> Any:
        # Runs inside wrap_socket(), before anyone else can hand over the limits.
        self.limits = current_limits()
        return _limited(self, super().do_handshake, *args)

    def read(self, *args: Any) -> Any:  # what SSLSocket's recv_into() calls
        received = _limited(self, super().read, *args)
        self.limits.count(received if isinstance(received, int) else len(received))
        return received

    def send(self, *args: Any) -> Any:  # what SSLSocket's sendall() calls
        return _limited(self, super().send, *args)


class LimitedResponse(http.client.HTTPResponse):
    """Refuses headers that cannot be parsed; urllib3 would log them, which lets the provider write into our log."""

    def __init__(self, sock: LimitedSocket | LimitedTlsSocket, *args: Any, **kwargs: Any) -> None:
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


class LimitedConnection(HTTPConnection):
    response_class = LimitedResponse

    def _new_conn(self) -> socket.socket:
        limits = current_limits()
        limits.engaged = True
        started = monotonic()
        try:
            found = socket.getaddrinfo(self._dns_host, self.port, 0, socket.SOCK_STREAM)
        except (OSError, UnicodeError) as error:
            raise NewConnectionError(self, "name not resolved") from error
        limits.exclude(monotonic() - started)
        failure = OSError("no address")
        for family, kind, protocol, _, address in found:
            limits.timed_out = False
            try:
                sock = LimitedSocket(family, kind, protocol)
            except OSError as error:
                failure = error
                continue
            sock.limits = limits
            try:
                for option in self.socket_options or ():
                    sock.setsockopt(*option)
                sock.connect(address)
            except OSError as error:
                sock.close()
                failure = error
            else:
                return sock
        if isinstance(failure, TimeoutError):
            raise ConnectTimeoutError(self, "connect time-out") from failure
        raise NewConnectionError(self, "no connection") from failure

    def request(self, method: str, url: str, *args: Any, **kwargs: Any) -> None:
        # urllib3 connects plain HTTP in the middle of sending; here nothing is sent before the connection stands.
        if self.sock is None:
            self.connect()
        assert isinstance(self.sock, LimitedSocket | LimitedTlsSocket)
        limits = current_limits()
        limits.engaged = True
        self.sock.limits = limits
        limits.start_sending()
        if limits.query is not None:
            url = SecretText(f"{url}?{limits.query}")
        super().request(method, url, *args, **kwargs)


class LimitedTlsConnection(LimitedConnection, HTTPSConnection):
    pass


class LimitedPool(HTTPConnectionPool):
    ConnectionCls = LimitedConnection


class LimitedTlsPool(HTTPSConnectionPool):
    ConnectionCls = LimitedTlsConnection


class LimitedAdapter(HTTPAdapter):
    """An adapter for one thread. It knows one TLS context, and no ``verify`` argument can talk it out of that."""

    def __init__(self, tls: ssl.SSLContext | None) -> None:
        self._tls = tls
        super().__init__(pool_connections=1, pool_maxsize=2, max_retries=0)  # 2: a stream, and calls made meanwhile

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

    def cert_verify(self, *args: Any) -> None:
        """Nothing to do: the context holds the CA certificates already, loaded once and not for each connection."""
