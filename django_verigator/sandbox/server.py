"""The threaded HTTP server: a thread for a connection, and none of them left when it stops."""

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
from typing import Any

from django_verigator.sandbox.admin import Admin
from django_verigator.sandbox.desk import Desk
from django_verigator.sandbox.guard import Guard
from django_verigator.sandbox.handler import Handler
from django_verigator.sandbox.page import Page

logger = logging.getLogger("django_verigator.sandbox")
HANDSHAKE_SECONDS = 10
JOIN_SECONDS = 5


class SandboxServer(socketserver.ThreadingMixIn, socketserver.TCPServer):
    """Serves one desk. ``start`` once, then ``stop`` once."""

    daemon_threads = True
    # Elsewhere than on POSIX this would let two programs share a port.
    allow_reuse_address = os.name == "posix"
    allow_reuse_port = False
    request_queue_size = 256

    def __init__(self, address: tuple[str, int], desk: Desk, guard: Guard, tls: ssl.SSLContext | None = None) -> None:
        self.address_family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        self.desk = desk
        self.guard = guard
        self.admin = Admin(desk)
        self.page = Page(desk)
        self.stopping = threading.Event()
        self._tls = tls
        self._open: dict[threading.Thread, socket.socket] = {}
        self._open_lock = threading.Lock()
        super().__init__(address, Handler)
        self.socket.setblocking(False)  # a caller may be gone again before accept
        self._bell, self._rope = socket.socketpair()
        self._acceptor = threading.Thread(target=self._accept, name="sandbox", daemon=True)

    @property
    def scheme(self) -> str:
        return "https" if self._tls else "http"

    def start(self) -> None:
        self._acceptor.start()

    def _accept(self) -> None:
        """Take connections until the bell rings. (The standard loop looks twice a second whether it shall end.)"""
        with selectors.DefaultSelector() as selector:
            selector.register(self.socket, selectors.EVENT_READ)
            selector.register(self._bell, selectors.EVENT_READ)
            while not self.stopping.is_set():
                if self.socket in [key.fileobj for key, _ in selector.select()]:
                    with contextlib.suppress(OSError):
                        self.process_request(*self.get_request())

    def stop(self) -> None:
        """Take no more calls, end the hanging ones, close every connection and wait for their threads."""
        self.stopping.set()
        self._rope.send(b"!")
        if self._acceptor.is_alive():
            self._acceptor.join(JOIN_SECONDS)
        with self._open_lock:
            left = dict(self._open)
        for connection in left.values():
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        for thread in left:
            thread.join(JOIN_SECONDS)
        self._bell.close()
        self._rope.close()
        self.server_close()

    def process_request(self, request: Any, client_address: Any) -> None:
        thread = threading.Thread(
            target=self.process_request_thread, args=(request, client_address), name="sandbox-call", daemon=True
        )
        with self._open_lock:
            self._open[thread] = request
        try:
            thread.start()
        except RuntimeError:  # too many threads
            with self._open_lock:
                del self._open[thread]
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            with self._open_lock:
                self._open.pop(threading.current_thread(), None)

    def finish_request(self, request: Any, client_address: Any) -> None:
        if self._tls is None:
            super().finish_request(request, client_address)
            return
        # The handshake is done here, in the connection's own thread: a silent caller holds up nobody.
        request.settimeout(HANDSHAKE_SECONDS)
        with self._tls.wrap_socket(request.dup(), server_side=True, do_handshake_on_connect=False) as secured:
            secured.settimeout(HANDSHAKE_SECONDS)
            secured.do_handshake()
            super().finish_request(secured, client_address)

    def shutdown_request(self, request: Any) -> None:
        # No orderly end first: a connection that shall be reset must be closed as it is.
        self.close_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A connection that broke is the caller's affair; anything else is ours and goes to the log."""
        error = sys.exc_info()[1]
        if not isinstance(error, OSError):
            logger.error("A connection to the sandbox failed", exc_info=error)
