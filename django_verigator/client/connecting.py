"""From the addresses of a host to a connection, without waiting long for one that is dead."""

from __future__ import annotations

import os
import selectors
import socket
from collections.abc import Iterable, Sequence
from contextlib import suppress
from time import monotonic
from typing import Any

NEXT_ADDRESS_SECONDS = 0.3
"""After so long without an answer the next address is tried beside the one before, which may still win."""

# So that a network that forgets a connection while an answer is waited for, or a list is read slowly, is noticed. The
# names differ from system to system.
_KEEP_ALIVE = [
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    *(
        (socket.IPPROTO_TCP, getattr(socket, name), value)
        for name, value in (("TCP_KEEPIDLE", 10), ("TCP_KEEPALIVE", 10), ("TCP_KEEPINTVL", 10), ("TCP_KEEPCNT", 3))
        if hasattr(socket, name)
    ),
]


def first_that_connects(found: Sequence[Any], options: Iterable[Any], seconds: float) -> socket.socket:
    """Return a socket that is connected to one of the addresses ``found`` by getaddrinfo.

    Raises the OSError of the address that failed last; TimeoutError if none has answered in time.
    """
    deadline = monotonic() + seconds
    failure = OSError("no address")
    left = list(found)
    running: list[socket.socket] = []
    with selectors.DefaultSelector() as selector:
        try:
            while left or selector.get_map():
                if left:
                    try:
                        running.append(_begin(left.pop(0), options))
                    except OSError as error:
                        failure = error
                        continue
                    selector.register(running[-1], selectors.EVENT_WRITE)
                wait = deadline - monotonic()
                if wait <= 0:
                    raise TimeoutError("connect time-out")
                if left:
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


def _begin(found: Any, options: Iterable[Any]) -> socket.socket:
    family, kind, protocol, _, address = found
    sock = socket.socket(family, kind, protocol)
    try:
        for option in options:
            sock.setsockopt(*option)
        for option in _KEEP_ALIVE:
            with suppress(OSError):
                sock.setsockopt(*option)
        sock.settimeout(0)
        with suppress(BlockingIOError):
            sock.connect(address)
    except BaseException:
        sock.close()
        raise
    return sock
