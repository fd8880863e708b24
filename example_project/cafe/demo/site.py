"""This site on a port of this machine, in a thread and without a line for each request."""

from __future__ import annotations

import threading
from typing import Any

from django.contrib.staticfiles.handlers import StaticFilesHandler
from django.core.servers.basehttp import ThreadedWSGIServer, WSGIRequestHandler, get_internal_wsgi_application

HOST = "127.0.0.1"


class QuietHandler(WSGIRequestHandler):
    def log_message(self, *args: Any) -> None:
        pass


class Site:
    """Bound at once, so that a port in use is found out first (OSError); it answers from ``start`` on."""

    def __init__(self, port: int) -> None:
        self._server = ThreadedWSGIServer((HOST, port), QuietHandler)
        self._server.set_app(StaticFilesHandler(get_internal_wsgi_application()))
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), name="site", daemon=True)
        self.url = f"http://{HOST}:{self._server.server_port}"

    def start(self) -> None:
        self._thread.start()

    def wait(self) -> None:
        """Wait until Ctrl-C (KeyboardInterrupt)."""
        while self._thread.is_alive():
            self._thread.join(1)  # with a time-out, since on Windows nothing interrupts a join without one

    def stop(self) -> None:
        if self._thread.is_alive():
            self._server.shutdown()
        self._server.server_close()
