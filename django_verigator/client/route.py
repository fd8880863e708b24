"""The way to the provider: its addresses, a proxy, and TLS; each step within the budget of an exchange."""

from __future__ import annotations

import http.client
import os
import selectors
import socket
import ssl
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from time import monotonic
from typing import Any

from requests.utils import DEFAULT_CA_BUNDLE_PATH

from .deadline import Budget, DeadlineSocket
from .errors import ProxyRefusedError, why_no_tls, why_no_tunnel, why_not_connected
from .options import Proxy
from .secrets import SecretText

NEXT_ADDRESS_SECONDS = 0.3
"""Seconds without an answer after which the next address is tried beside the one before, which may still win."""

_SOCKET_OPTIONS = [
    (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1),
    # Keep-alive probes find out that a network has forgotten a connection while an answer is waited for, or a list is
    # read slowly. The names differ from system to system.
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    *(
        (socket.IPPROTO_TCP, getattr(socket, name), value)
        for name, value in (("TCP_KEEPIDLE", 10), ("TCP_KEEPALIVE", 10), ("TCP_KEEPINTVL", 10), ("TCP_KEEPCNT", 3))
        if hasattr(socket, name)
    ),
]


@dataclass(frozen=True)
class Route:
    """The way to the provider: its host and port, TLS unless it is on this machine, and a proxy, if there is one."""

    host: str
    port: int
    tls: ssl.SSLContext | None = None
    proxy: Proxy | None = None

    @property
    def address(self) -> str:
        return _join(self.host, self.port)

    @property
    def host_header(self) -> str:
        """Return the value of Host, where the usual port is left out."""
        host = self.host.partition("%")[0]  # An IPv6 zone means something on this machine alone.
        address = _join(host, self.port)
        return address.removesuffix(f":{443 if self.tls else 80}")

    def open(self, budget: Budget) -> DeadlineSocket:
        """Connect, through the proxy and with TLS."""
        first: Route | Proxy = self.proxy or self
        budget.address = _join(first.host, first.port)
        with budget.explaining(why_no_tunnel if self.proxy else why_not_connected):
            started = monotonic()
            found = socket.getaddrinfo(first.host, first.port, 0, socket.SOCK_STREAM)
            budget.extend(monotonic() - started)
            sock = DeadlineSocket(connect_to_first(found, budget.remaining()), budget)
        try:
            if self.proxy is not None:
                with budget.explaining(why_no_tunnel):
                    _open_tunnel(sock, self.address, self.proxy)
            if self.tls is not None:
                budget.address = self.address
                with budget.explaining(why_no_tls):
                    sock.start_tls(self.tls, self.host.rstrip("."))
        except BaseException:
            sock.abort()
            raise
        return sock


def _join(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def connect_to_first(found: Sequence[Any], seconds: float) -> socket.socket:
    """Return a socket that is connected to one of the addresses that getaddrinfo ``found``, after ``seconds`` at most.

    No address that is dead is waited for for long. Raises the OSError of the one that failed last.
    """
    deadline = monotonic() + seconds
    failure = OSError("no address")
    untried = list(found)
    running: list[socket.socket] = []
    with selectors.DefaultSelector() as selector:
        try:
            while untried or selector.get_map():
                if untried:
                    try:
                        running.append(_begin_connecting(untried.pop(0)))
                    except OSError as error:
                        failure = error
                        continue
                    selector.register(running[-1], selectors.EVENT_WRITE)
                wait = deadline - monotonic()
                if wait <= 0:
                    raise TimeoutError("connect time-out")
                if untried:
                    wait = min(wait, NEXT_ADDRESS_SECONDS, seconds / len(found))
                for key, _ in selector.select(wait):
                    sock: Any = key.fileobj
                    selector.unregister(sock)
                    number = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
                    if not number:
                        running.remove(sock)
                        return sock  # type: ignore[no-any-return]
                    failure = OSError(number, os.strerror(number))
        finally:
            for sock in running:
                sock.close()
    raise failure


def _begin_connecting(found: Any) -> socket.socket:
    family, kind, protocol, _, address = found
    sock = socket.socket(family, kind, protocol)
    try:
        for option in _SOCKET_OPTIONS:
            with suppress(OSError):
                sock.setsockopt(*option)
        sock.settimeout(0)
        with suppress(BlockingIOError):
            sock.connect(address)
    except BaseException:
        sock.close()
        raise
    return sock


def _open_tunnel(sock: DeadlineSocket, address: str, proxy: Proxy) -> None:
    """Ask the proxy for a connection to the provider (protocol: RFC 9110, section 9.3.6)."""
    head = f"CONNECT {address} HTTP/1.1\r\nHost: {address}\r\n"
    credentials = SecretText(f"Proxy-Authorization: {proxy.authorization}\r\n" if proxy.authorization else "")
    sock.sendall(SecretText(f"{head}{credentials}\r\n").encode("latin-1"))
    answer = http.client.HTTPResponse(sock, method="CONNECT")  # type: ignore[arg-type]
    try:
        answer.begin()
    finally:
        answer.close()
    if answer.status != 200:
        raise ProxyRefusedError(answer.status)


def tls_context(ca_bundle: str | None) -> ssl.SSLContext:
    """Return a context that verifies against a file or directory of CA certificates (None: those of requests).

    Nothing in the environment changes it. Raises ValueError if there are no certificates to be read.
    """
    path = ca_bundle or DEFAULT_CA_BUNDLE_PATH
    try:
        return _tls_context(path, os.stat(path).st_mtime_ns)
    except OSError:  # ssl.SSLError is one.
        pass
    raise ValueError("ca_bundle cannot be read as CA certificates")


@lru_cache(maxsize=8)  # Reading the usual bundle takes 25 ms.
def _tls_context(path: str, _changed: int) -> ssl.SSLContext:
    # ssl.create_default_context() would write session keys to the file that SSLKEYLOGFILE names.
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if os.path.isdir(path):
        context.load_verify_locations(capath=path)
    else:
        context.load_verify_locations(path)
    context.set_alpn_protocols(["http/1.1"])
    return context
