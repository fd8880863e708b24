"""Answer Twilio's Verify API, version 2: start, check, fetch and update a verification."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import datetime, timezone
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qsl

from .config import ProviderConfig
from .credentials import account_of_basic_auth
from .http_messages import Headers, Request, Response, json_response
from .phone_numbers import parse_phone_number
from .routing import Route
from .store import Store
from .twilio_verifications import (
    CHANNELS,
    TooManyChecksError,
    TooManySendsError,
    TwilioVerification,
    TwilioVerifications,
)

FORM = "application/x-www-form-urlencoded"
MAX_FIELDS = 100
# Twilio's documentation, "error codes"; the patterns are those of its OpenAPI file.
CREDENTIALS, METHOD, NOT_FOUND = (401, 20003), (405, 20004), (404, 20404)
PARAMETER, CHECKS, SENDS = (400, 60200), (429, 60202), (429, 60203)
_SERVICE_SID = re.compile(r"VA[0-9a-fA-F]{32}")
_CODE = re.compile(r".{4,10}", re.DOTALL)
APPROVED, CANCELED, PENDING = "approved", "canceled", "pending"


class _ErrorAnswer(Exception):  # noqa: N818 - an answer of the API
    def __init__(self, error: tuple[int, int], message: str, headers: Headers = ()) -> None:
        super().__init__(message)
        status, code = error
        more_info = f"https://www.twilio.com/docs/errors/{code}"
        data = {"code": code, "message": message, "more_info": more_info, "status": status}
        self.response = json_response(status, data, headers=headers)


class TwilioVerifyApi:
    """Check in this order: credentials (20003), path and service (20404), method, parameters (60200), limits.

    Every service in the form of a SID exists, for every account.
    """

    def __init__(self, store: Store, verifications: TwilioVerifications, config: ProviderConfig) -> None:
        self._store = store
        self._verifications = verifications
        self._config = config

    def handle(self, request: Request, route: Route) -> Response:
        """Carry out a call; errors become responses too."""
        try:
            account = account_of_basic_auth(self._config.accounts, str(request.headers.get("Authorization", "")))
            if account is None:
                raise _ErrorAnswer(CREDENTIALS, "Authenticate", (("WWW-Authenticate", 'Basic realm="Twilio API"'),))
            if not route.allowed_methods or not _SERVICE_SID.fullmatch(route.service_id):
                raise _not_found(request)
            if not route.operation:
                raise _ErrorAnswer(METHOD, "Method not allowed", (("Allow", ", ".join(route.allowed_methods)),))
            with self._store.transaction():
                return self._answer(request, route, account)
        except _ErrorAnswer as error:
            return error.response

    def _answer(self, request: Request, route: Route, account: str) -> Response:
        if route.operation == "twilio.start":
            return self._start(_parameters(request), route, account, request)
        if route.operation == "twilio.check":
            return self._check(_parameters(request), route, account, request)
        found = self._verifications.fetch(account, route.service_id, route.resource_id)
        if found is None:
            raise _not_found(request)
        status = PENDING
        if route.operation == "twilio.update":
            status = _parameters(request).get("Status", "")
            if status not in (APPROVED, CANCELED):
                raise _ErrorAnswer(PARAMETER, "Invalid parameter: Status")
            self._verifications.end(found)
        return json_response(HTTPStatus.OK, _verification_json(found, status, request))

    def _start(self, parameters: Mapping[str, str], route: Route, account: str, request: Request) -> Response:
        number, channel = _number_of(parameters), parameters.get("Channel", "")
        if channel not in CHANNELS:
            raise _ErrorAnswer(PARAMETER, "Invalid parameter: Channel")
        try:
            started = self._verifications.start(account, route.service_id, number, channel)
        except TooManySendsError:
            raise _ErrorAnswer(SENDS, "Max send attempts reached") from None
        return json_response(HTTPStatus.CREATED, _verification_json(started, PENDING, request))

    def _check(self, parameters: Mapping[str, str], route: Route, account: str, request: Request) -> Response:
        code, sid = parameters.get("Code", ""), parameters.get("VerificationSid", "")
        if not _CODE.fullmatch(code):
            raise _ErrorAnswer(PARAMETER, "Invalid parameter: Code")
        if sid:
            found = self._verifications.fetch(account, route.service_id, sid)
        else:
            found = self._verifications.find(account, route.service_id, _number_of(parameters))
        if found is None:
            raise _not_found(request)
        try:
            is_right = self._verifications.check(found, code)
        except TooManyChecksError:
            raise _ErrorAnswer(CHECKS, "Max check attempts reached") from None
        data = _common_json(found, APPROVED if is_right else PENDING)
        data |= {"amount": None, "payee": None, "sna_attempts_error_codes": []}
        return json_response(HTTPStatus.OK, data, verified=is_right)


def _not_found(request: Request) -> _ErrorAnswer:
    return _ErrorAnswer(NOT_FOUND, f"The requested resource {request.path.removeprefix('/v2')} was not found")


def _parameters(request: Request) -> dict[str, str]:
    if request.content_type != FORM:
        return {}
    try:
        return dict(parse_qsl(request.body.decode("utf-8", "replace"), max_num_fields=MAX_FIELDS))
    except ValueError:
        raise _ErrorAnswer(PARAMETER, "Invalid parameters") from None


def _number_of(parameters: Mapping[str, str]) -> str:
    try:
        return parse_phone_number(parameters.get("To", ""))
    except ValueError:
        # Twilio's message repeats what was sent.
        raise _ErrorAnswer(PARAMETER, f"Invalid parameter `To`: {parameters.get('To', '')}") from None


def _common_json(verification: TwilioVerification, status: str) -> dict[str, Any]:
    return {
        "sid": verification.sid,
        "service_sid": verification.service_sid,
        "account_sid": verification.account,
        "to": verification.phone_number,
        "channel": verification.channel,
        "status": status,
        "valid": status == APPROVED,
        "date_created": _time(verification.started),
        "date_updated": _time(verification.updated),
    }


def _verification_json(verification: TwilioVerification, status: str, request: Request) -> dict[str, Any]:
    attempts = [{**attempt, "time": _time(attempt["time"])} for attempt in json.loads(verification.attempts)]
    address = f"{request.scheme}://{request.server[0]}:{request.server[1]}"
    return {
        **_common_json(verification, status),
        "lookup": {},
        "amount": None,
        "payee": None,
        "send_code_attempts": attempts,
        "sna": None,
        "url": f"{address}/v2/Services/{verification.service_sid}/Verifications/{verification.sid}",
    }


def _time(timestamp: float) -> str:
    return datetime.fromtimestamp(timestamp, timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
