"""Answer the Omnichannel API: send a message, report on it, cancel a scheduled one."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from .clock import Clock
from .config import ProviderConfig
from .credentials import account_of_basic_auth
from .http_messages import Headers, HTTPError, Request, Response, json_response
from .omnimessage_parser import FieldError, parse_omnimessage
from .omnimessages import Omnimessages
from .routing import Route

# Messente's OpenAPI file: ErrorCodeOmnichannel and ErrorTitleOmnichannel.
NOT_FOUND = (HTTPStatus.NOT_FOUND, "101", "Not found")
UNAUTHORIZED = (HTTPStatus.UNAUTHORIZED, "103", "Unauthorized")
INVALID_DATA = (HTTPStatus.BAD_REQUEST, "105", "Invalid data")
MISSING_DATA = (HTTPStatus.BAD_REQUEST, "106", "Missing data")
NOT_ALLOWED = (HTTPStatus.METHOD_NOT_ALLOWED, "107", "Method not allowed")


class OmnichannelApi:
    """Check in this order: method (107), credentials (103), data (105, 106), id (101)."""

    def __init__(self, omnimessages: Omnimessages, clock: Clock, config: ProviderConfig) -> None:
        self._omnimessages = omnimessages
        self._clock = clock
        self._config = config

    def handle(self, request: Request, route: Route) -> Response:
        """Carry out a call."""
        if not route.operation:
            allowed = (("Allow", ", ".join([*route.allowed_methods, "OPTIONS"])),)
            if request.method == "OPTIONS":
                return json_response(HTTPStatus.OK, {}, headers=allowed)
            return _error(NOT_ALLOWED, "This method is not allowed here", headers=allowed)
        account = account_of_basic_auth(self._config.accounts, str(request.headers.get("Authorization", "")))
        if account is None:
            challenge = (("WWW-Authenticate", 'Basic realm="Messente"'),)
            return _error(UNAUTHORIZED, "The credentials are wrong", headers=challenge)
        if route.operation == "omnimessage.send":
            return self._send(request, account)
        if route.operation == "omnimessage.cancel":
            if not self._omnimessages.cancel(account, route.resource_id):
                return _error(NOT_FOUND, "No such message is scheduled")
            return json_response(HTTPStatus.ACCEPTED, {})
        report = self._omnimessages.report(account, route.resource_id)
        if report is None:
            return _error(NOT_FOUND, "No such message")
        return json_response(HTTPStatus.OK, report)

    def _send(self, request: Request, account: str) -> Response:
        try:
            message = parse_omnimessage(request.json_object(), account, self._clock.now(), self._config.senders)
        except FieldError as error:
            return _error(MISSING_DATA if error.is_missing else INVALID_DATA, str(error), error.source)
        except HTTPError:
            return _error(INVALID_DATA, "The body is no JSON object")
        self._omnimessages.send(message)
        messages: list[dict[str, Any]] = [
            {"channel": each.channel, "message_id": each.id, "sender": each.sender} for each in message.messages
        ]
        answer = {"messages": messages, "to": message.to, "omnimessage_id": message.id}
        return json_response(HTTPStatus.CREATED, answer)


def _error(
    kind: tuple[HTTPStatus, str, str], detail: str, source: str | None = None, *, headers: Headers = ()
) -> Response:
    status, code, title = kind
    error = {"title": title, "detail": detail, "code": code, "source": source}
    return json_response(status, {"errors": [error]}, headers=headers)
