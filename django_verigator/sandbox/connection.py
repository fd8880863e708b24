"""Give the code that sends responses the client's connection, and ways to stall or break it."""

from __future__ import annotations

import socket
import struct
import threading
import time
from collections.abc import Callable

POLL_SECONDS = 0.2


class ClientConnection:
    """Write to one client, wait for it, or cut it off.

    Attributes:
        http10: the client speaks HTTP/1.0, which has no chunked encoding.
        head_only: the request is a HEAD.
        closing: the connection ends after this response.
        on_response: called with the status before a response goes out, so that the call log is never behind what the
            client knows; None for requests that are not logged.
    """

    def __init__(self, connection: socket.socket, stopping: threading.Event) -> None:
        self._connection = connection
        self._stopping = stopping
        self.http10 = False
        self.head_only = False
        self.closing = False
        self.on_response: Callable[[int], None] | None = None

    def begin_response(self, status: int) -> None:
        """Announce that a response with this status is about to go out."""
        if self.on_response:
            self.on_response(status)

    def write(self, data: bytes) -> None:
        """Send all of ``data``."""
        if data:
            self._connection.sendall(data)

    def sleep(self, seconds: float) -> bool:
        """Wait; return False if the sandbox stopped meanwhile."""
        return not self._stopping.wait(seconds)

    def hang(self, seconds: float | None) -> None:
        """Keep the client waiting until it disconnects, ``seconds`` pass (None: no limit) or the sandbox stops."""
        end = None if seconds is None else time.monotonic() + seconds
        self._connection.settimeout(POLL_SECONDS)
        while not self._stopping.is_set() and (end is None or time.monotonic() < end):
            try:
                if not self._connection.recv(1, socket.MSG_PEEK):
                    return
            except TimeoutError:
                continue
            except ValueError:  # a TLS socket cannot peek
                pass
            self._stopping.wait(POLL_SECONDS)

    def reset_on_close(self) -> None:
        """Make the next close a TCP reset instead of an orderly end."""
        self._connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
