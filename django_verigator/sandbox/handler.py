"""Read the requests of one connection and hand each to the application."""

from __future__ import annotations

import http.server
import ssl
import threading
from http import HTTPStatus
from typing import Any, BinaryIO, cast

from .application import Application
from .connection import ClientConnection
from .http_messages import HTTPError, Request, error_response
from .request_body import read_body
from .response_writer import send_response

MAX_REQUEST_LINE = 65536
IDLE_SECONDS = 75


class RequestHandler(http.server.BaseHTTPRequestHandler):
    """Serve one connection; the standard library parses the request line and the headers.

    Args:
        application: answers the requests.
        stopping: set when the server stops.
        server_arguments: what ``socketserver`` gives every handler.
    """

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    timeout = IDLE_SECONDS

    def __init__(self, application: Application, stopping: threading.Event, *server_arguments: Any) -> None:
        self._application = application
        self._stopping = stopping
        super().__init__(*server_arguments)  # serves the connection until it ends

    def setup(self) -> None:
        """Prepare the connection for responses."""
        super().setup()
        self._client = ClientConnection(self.connection, self._stopping)

    def handle_one_request(self) -> None:
        """Read and answer one request; end the connection if the client left or stayed silent for 75 seconds."""
        self.close_connection = True
        self._client.on_response = None
        try:
            self.raw_requestline = self.rfile.readline(MAX_REQUEST_LINE + 1)
            if len(self.raw_requestline) > MAX_REQUEST_LINE:
                self.send_error(HTTPStatus.REQUEST_URI_TOO_LONG)
            elif self.raw_requestline and self.parse_request():
                self._handle_request()
        except OSError:  # includes time-outs and TLS errors
            self.close_connection = True

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Answer a request that cannot be parsed with a JSON object, as all errors are."""
        self._client.closing = True
        self.close_connection = True
        send_response(self._client, error_response(code, HTTPStatus(code).phrase))

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class chose the name
        """Print nothing: ``/_sandbox/calls`` is the log."""

    def _handle_request(self) -> None:
        client = self._client
        client.http10 = self.request_version == "HTTP/1.0"
        client.head_only = self.command == "HEAD"
        client.closing = self.close_connection
        try:
            if self.request_version == "HTTP/0.9":
                raise HTTPError(HTTPStatus.BAD_REQUEST, "HTTP/0.9 is not spoken here")
            request = self._read_request()
        except HTTPError as error:
            client.closing = True
            send_response(client, error.response)
        else:
            self._application.handle(request, client)
        self.close_connection = client.closing

    def _read_request(self) -> Request:
        body = read_body(cast("BinaryIO", self.rfile), self.headers)
        target = self.path
        if "://" in target.partition("?")[0]:  # the absolute form, which a client sends to a proxy
            target = "/" + target.partition("://")[2].partition("/")[2]
        path, _, query = target.partition("#")[0].partition("?")
        address, port = self.connection.getsockname()[:2]
        scheme = "https" if isinstance(self.connection, ssl.SSLSocket) else "http"
        return Request(self.command, path, query, self.headers, body, (address, port), scheme)
