"""Post delivery reports to the site, from one thread in the background."""

from __future__ import annotations

import contextlib
import http.client
import json
import logging
import queue
import socket
import threading
from time import monotonic
from typing import Any
from urllib.parse import urlsplit

from .allowed_hosts import is_loopback

logger = logging.getLogger("django_verigator.sandbox")
MAX_WAITING = 1_000
TIMEOUT_SECONDS = 2.0
DELAY_SECONDS = 0.2
"""Seconds before a report, in which the site reads the answer to its send: the report names the id in it."""
ATTEMPTS = 3
RETRY_SECONDS = 1.0
JOIN_SECONDS = 5


class CallbackSender:
    """Post each report in turn, three times at most, until the site answers 200 to 399 (Messente docs, delivery
    report).

    Args:
        allow_remote: permits addresses of other machines.
    """

    def __init__(self, *, allow_remote: bool) -> None:
        self._allow_remote = allow_remote
        self._waiting: queue.Queue[tuple[float, str, bytes]] = queue.Queue(MAX_WAITING)
        self._stopping = threading.Event()
        self._socket: socket.socket | None = None
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def post(self, url: str, data: dict[str, Any]) -> None:
        """Have a report posted soon. One too many, or to another machine, is dropped, and the log says so."""
        if not self._allow_remote and not is_loopback(urlsplit(url).hostname or ""):
            logger.warning("A report is not posted: its address is not of this machine; see --allow-remote")
            return
        try:
            self._waiting.put_nowait((monotonic() + DELAY_SECONDS, url, json.dumps(data).encode("ascii")))
        except queue.Full:
            logger.warning("A report is not posted: %s others wait", MAX_WAITING)
            return
        with self._lock:
            if self._thread is None and not self._stopping.is_set():
                self._thread = threading.Thread(target=self._run, name="sandbox-callbacks", daemon=True)
                self._thread.start()

    def stop(self) -> None:
        """Drop what waits, break off what is under way, and wait for the thread, up to 5 seconds."""
        with self._lock:
            self._stopping.set()
            thread, open_socket = self._thread, self._socket
        if open_socket is not None:
            with contextlib.suppress(OSError):
                open_socket.shutdown(socket.SHUT_RDWR)
        if thread is not None:
            thread.join(JOIN_SECONDS)

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                due, url, body = self._waiting.get(timeout=DELAY_SECONDS)
            except queue.Empty:
                continue
            wait = max(0.0, due - monotonic())
            for _ in range(ATTEMPTS):
                if self._stopping.wait(wait) or self._post_once(url, body):
                    break
                wait = RETRY_SECONDS

    def _post_once(self, url: str, body: bytes) -> bool:
        """Post a report; return whether the site took it."""
        parts = urlsplit(url)
        kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        connection = kind(parts.hostname or "", parts.port, timeout=TIMEOUT_SECONDS)
        path = parts.path or "/"
        headers = {"Content-Type": "application/json", "User-Agent": "verigator-sandbox", "Connection": "close"}
        try:
            connection.connect()
            with self._lock:
                self._socket = None if self._stopping.is_set() else connection.sock
            if self._socket is None:
                return False
            connection.request("POST", f"{path}?{parts.query}" if parts.query else path, body, headers)
            return 200 <= connection.getresponse().status < 400
        except (OSError, http.client.HTTPException, ValueError) as error:
            logger.warning("A report could not be posted: %s", type(error).__name__)
            return False
        finally:
            with self._lock:
                self._socket = None
            connection.close()
