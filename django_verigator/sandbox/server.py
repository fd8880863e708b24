"""Accept TCP connections, plain or TLS, and serve each in its own thread."""

from __future__ import annotations

import contextlib
import logging
import os
import selectors
import socket
import socketserver
import ssl
import sys
import threading
from collections.abc import Callable
from typing import Any

logger = logging.getLogger("django_verigator.sandbox")
HANDSHAKE_SECONDS = 10
JOIN_SECONDS = 5


class ThreadedServer(socketserver.ThreadingMixIn, socketserver.TCPServer):
    """Serve connections from ``start()`` to ``stop()``, each of which may be called once.

    Args:
        address: host and port; port 0 takes any free one.
        handler: serves one connection, as the standard library's request handlers do.
        stopping: set by ``stop()``, so that handlers stop waiting.
        tls: serve TLS with this context.

    Raises:
        OSError: the address cannot be listened on.
    """

    daemon_threads = True
    # Outside POSIX, SO_REUSEADDR lets two programs share a port.
    allow_reuse_address = os.name == "posix"
    allow_reuse_port = False
    request_queue_size = 256

    def __init__(
        self,
        address: tuple[str, int],
        handler: Callable[..., socketserver.BaseRequestHandler],
        stopping: threading.Event,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.address_family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        self._stopping = stopping
        self._tls = tls
        self._connections: dict[threading.Thread, socket.socket] = {}
        self._connections_lock = threading.Lock()
        super().__init__(address, handler)
        self.socket.setblocking(False)  # the client may disconnect between select() and accept()
        self._wakeup_receiver, self._wakeup_sender = socket.socketpair()
        self._accept_thread = threading.Thread(target=self._accept_connections, name="sandbox", daemon=True)

    @property
    def scheme(self) -> str:
        """Return ``http`` or ``https``."""
        return "https" if self._tls else "http"

    def start(self) -> None:
        """Begin to accept connections in the background."""
        self._accept_thread.start()

    def _accept_connections(self) -> None:
        # serve_forever() polls for shutdown; waiting for a wake-up socket as well makes stop() immediate.
        with selectors.DefaultSelector() as selector:
            selector.register(self.socket, selectors.EVENT_READ)
            selector.register(self._wakeup_receiver, selectors.EVENT_READ)
            while not self._stopping.is_set():
                if self.socket in [key.fileobj for key, _ in selector.select()]:
                    with contextlib.suppress(OSError):
                        self.process_request(*self.get_request())

    def stop(self) -> None:
        """Refuse new connections, close the open ones and wait for their threads, up to 5 seconds for each."""
        self._stopping.set()
        self._wakeup_sender.send(b"!")
        if self._accept_thread.is_alive():
            self._accept_thread.join(JOIN_SECONDS)
        with self._connections_lock:
            remaining = dict(self._connections)
        for connection in remaining.values():
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        for thread in remaining:
            thread.join(JOIN_SECONDS)
        self._wakeup_receiver.close()
        self._wakeup_sender.close()
        self.server_close()

    def process_request(self, request: Any, client_address: Any) -> None:
        """Start a thread for a connection and remember both, for ``stop()``."""
        thread = threading.Thread(
            target=self.process_request_thread, args=(request, client_address), name="sandbox-call", daemon=True
        )
        with self._connections_lock:
            self._connections[thread] = request
        try:
            thread.start()
        except RuntimeError:  # too many threads
            with self._connections_lock:
                del self._connections[thread]
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Serve a connection and forget it."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            with self._connections_lock:
                self._connections.pop(threading.current_thread(), None)

    def finish_request(self, request: Any, client_address: Any) -> None:
        """Serve a connection after its TLS handshake, which runs here so that a silent client blocks no other."""
        if self._tls is None:
            super().finish_request(request, client_address)
            return
        request.settimeout(HANDSHAKE_SECONDS)
        with self._tls.wrap_socket(request.dup(), server_side=True, do_handshake_on_connect=False) as secured:
            secured.settimeout(HANDSHAKE_SECONDS)
            secured.do_handshake()
            super().finish_request(secured, client_address)

    def shutdown_request(self, request: Any) -> None:
        """Close a connection without an orderly end first, which would prevent a TCP reset."""
        self.close_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Log an error, unless it only says that the connection broke, which clients may cause at will."""
        error = sys.exc_info()[1]
        if not isinstance(error, OSError):
            logger.error("A connection to the sandbox failed", exc_info=error)
