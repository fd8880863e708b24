"""One connection: requests in, replies out, until either side has enough."""

from __future__ import annotations

import http.server
import logging
from collections.abc import Callable
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, BinaryIO, cast

from django_verigator.sandbox.admin import MOUNT
from django_verigator.sandbox.calls import Call
from django_verigator.sandbox.delivery import Wire, ignored, own_reply, send, send_damaged
from django_verigator.sandbox.exchange import Refusal, Reply, Request, error_reply
from django_verigator.sandbox.faults import BEFORE, LATENCY, Fault
from django_verigator.sandbox.reading import read_body

if TYPE_CHECKING:
    from django_verigator.sandbox.server import SandboxServer

MAX_LINE = 65536
IDLE_SECONDS = 75
logger = logging.getLogger("django_verigator.sandbox")


class Handler(http.server.BaseHTTPRequestHandler):
    """The standard library reads the request line and headers; the rest is ours."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    timeout = IDLE_SECONDS
    server: SandboxServer

    def setup(self) -> None:
        super().setup()
        self.wire = Wire(self.connection, self.server.stopping)

    def handle_one_request(self) -> None:
        self.close_connection = True
        self.wire.on_reply = ignored
        try:
            self.raw_requestline = self.rfile.readline(MAX_LINE + 1)
            if len(self.raw_requestline) > MAX_LINE:
                self.send_error(HTTPStatus.REQUEST_URI_TOO_LONG)
            elif self.raw_requestline and self.parse_request():
                self._exchange()
        except OSError:
            # The caller left, or was silent for too long. (Time limits and TLS errors are OSErrors too.)
            self.close_connection = True

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """A request that cannot be read: the answer is a JSON object like every other."""
        self.wire.closing = True
        self.close_connection = True
        send(self.wire, error_reply(code, HTTPStatus(code).phrase))

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class named it
        """Nothing is printed for a request: ``/_sandbox/calls`` is the log."""

    def _exchange(self) -> None:
        wire = self.wire
        wire.http10 = self.request_version == "HTTP/1.0"
        wire.head_only = self.command == "HEAD"
        wire.closing = self.close_connection
        try:
            if self.request_version == "HTTP/0.9":
                raise Refusal(HTTPStatus.BAD_REQUEST, "HTTP/0.9 is not spoken here")
            request = self._read()
        except Refusal as refusal:
            wire.closing = True
            send(wire, refusal.reply)
        else:
            self._answer(request)
        self.close_connection = wire.closing

    def _read(self) -> Request:
        body = read_body(cast("BinaryIO", self.rfile), self.headers)
        target = self.path
        if "://" in target.partition("?")[0]:
            target = "/" + target.partition("://")[2].partition("/")[2]
        path, _, query = target.partition("#")[0].partition("?")
        address, port = self.connection.getsockname()[:2]
        return Request(self.command, path, query, self.headers, body, (address, port), self.server.scheme)

    def _answer(self, request: Request) -> None:
        try:
            self.server.guard.check(request)
        except Refusal as refusal:
            send(self.wire, refusal.reply)
            return
        first = request.segments[:1]
        if first in ([], ["static"], ["favicon.ico"]):
            send(self.wire, _safely(lambda: self.server.page.answer(request)))
        elif first == [MOUNT]:
            send(self.wire, _safely(lambda: self.server.admin.answer(request)))
        else:
            self._answer_call(request)

    def _answer_call(self, request: Request) -> None:
        desk = self.server.desk
        target = desk.routes.locate(request)
        call = desk.call_log.arrived(request, target, desk.clock.now())
        self.wire.on_reply = call.replied
        try:
            faults = desk.fault_book.striking(target, request.path)
            call.faults = [fault.fault for fault in faults]
            self._carry_out(call, faults, lambda: desk.answer(request, target))
        except BaseException:
            self.wire.closing = True
            raise
        finally:
            call.ended()

    def _carry_out(self, call: Call, faults: list[Fault], answer: Callable[[], Reply]) -> None:
        """Let the latencies pass, do what was asked unless a fault comes before, and reply as the faults allow."""
        wire = self.wire
        slow = [fault for fault in faults if fault.fault == LATENCY]
        damage = next((fault for fault in faults if fault.fault != LATENCY), None)
        if slow and not wire.pause(sum(fault.seconds or 0 for fault in slow if fault.when == BEFORE)):
            wire.closing = True
            return
        if damage and damage.when == BEFORE:
            reply = own_reply(damage)
        else:
            reply = _safely(answer)
            call.verified = reply.verified
        if slow and not wire.pause(sum(fault.seconds or 0 for fault in slow if fault.when != BEFORE)):
            wire.closing = True
        elif damage:
            send_damaged(wire, reply, damage)
        else:
            send(wire, reply)


def _safely(answer: Callable[[], Reply]) -> Reply:
    try:
        return answer()
    except Refusal as refusal:
        return refusal.reply
    except Exception:
        logger.exception("The sandbox failed to answer a request")
        return error_reply(HTTPStatus.INTERNAL_SERVER_ERROR, "The sandbox failed; its log says why")
