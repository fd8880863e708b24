"""Answer the Number Verification API: /verify/start and /verify/pin, in all the forms that Messente's clients send.

Every answer, errors included, is a short text with status 200. It ends without a line break, which messente-python
takes for a part of the id.
"""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from urllib.parse import parse_qsl

from .config import MAX_PIN_LENGTH, MIN_PIN_LENGTH, ProviderConfig
from .constants import DEFAULT_TEXT, PIN_PLACEHOLDER, VERIFIED
from .credentials import account_of_parameters
from .http_messages import Headers, HTTPError, Request, Response
from .number_verifications import MAX_VALIDITY, NumberVerifications, StartParameters
from .phone_numbers import parse_phone_number
from .routing import Route
from .store import Store

FORM = "application/x-www-form-urlencoded"
MAX_FIELDS = 100
MAX_FIELD_LENGTH = 255
MAX_SENDINGS = 99
MAX_RETRY_DELAY = 3600

# From Messente's OpenAPI file and its clients.
CREDENTIALS = "ERROR 101"
PARAMETERS = "ERROR 102"
TEMPLATE = "ERROR 109"
UNKNOWN_ID = "ERROR 110"
SENDER = "ERROR 111"


class _ErrorAnswer(Exception):  # noqa: N818 - an answer of the API
    """End the call with the text given as the argument."""


class NumberVerificationApi:
    """Check in this order: credentials (101), parameters (102), template (109), sender (111), id (110)."""

    def __init__(self, store: Store, verifications: NumberVerifications, config: ProviderConfig) -> None:
        self._store = store
        self._verifications = verifications
        self._config = config

    def handle(self, request: Request, route: Route) -> Response:
        """Carry out a call.

        Raises:
            HTTPError: 405, the method is neither GET nor POST.
        """
        if not route.operation:
            headers = (("Allow", ", ".join([*route.allowed_methods, "OPTIONS"])),)
            if request.method == "OPTIONS":
                return _text_response("", headers=headers)
            raise HTTPError(HTTPStatus.METHOD_NOT_ALLOWED, "This method is not allowed here", headers)
        try:
            parameters = _parameters(request)
            account = account_of_parameters(
                self._config.accounts, parameters.get("username", ""), parameters.get("password", "")
            )
            if account is None:
                raise _ErrorAnswer(CREDENTIALS)
            with self._store.transaction():
                if route.operation == "verify.start":
                    return self._start(parameters, account)
                return self._check_pin(parameters, account)
        except _ErrorAnswer as error:
            return _text_response(str(error))

    def _start(self, parameters: Mapping[str, str], account: str) -> Response:
        start = self._start_parameters(parameters, account)
        sender = parameters.get("from", "")
        if PIN_PLACEHOLDER not in start.template:
            raise _ErrorAnswer(TEMPLATE)
        if sender and self._config.senders and sender not in self._config.senders:
            raise _ErrorAnswer(SENDER)
        cookie, ip = parameters.get("cookie", ""), parameters.get("ip", "")
        if self._verifications.is_trusted(account, start.phone_number, cookie, ip):
            return _text_response(VERIFIED)
        return _text_response(f"OK {self._verifications.start(start)}")

    def _start_parameters(self, parameters: Mapping[str, str], account: str) -> StartParameters:
        try:
            phone_number = parse_phone_number(parameters.get("to", ""))
        except ValueError:
            raise _ErrorAnswer(PARAMETERS) from None
        default_validity = min(int(self._config.pin_validity), MAX_VALIDITY)
        return StartParameters(
            account=account,
            phone_number=phone_number,
            template=parameters.get("template", DEFAULT_TEXT),
            pin_length=_integer(parameters, "pin_length", self._config.pin_length, MIN_PIN_LENGTH, MAX_PIN_LENGTH),
            sendings=_integer(parameters, "max_tries", 2, 1, MAX_SENDINGS),
            retry_delay=_integer(parameters, "retry_delay", 30, 1, MAX_RETRY_DELAY),
            validity=_integer(parameters, "validity", default_validity, 1, MAX_VALIDITY),
        )

    def _check_pin(self, parameters: Mapping[str, str], account: str) -> Response:
        verification_id, pin = parameters.get("verification_id"), parameters.get("pin")
        if not verification_id or not pin:
            raise _ErrorAnswer(PARAMETERS)
        cookie, ip = parameters.get("cookie", ""), parameters.get("ip", "")
        result = self._verifications.check(account, verification_id, pin, cookie, ip)
        if result is None:
            raise _ErrorAnswer(UNKNOWN_ID)
        return _text_response(result, verified=result == VERIFIED)


def _text_response(text: str, *, verified: bool | None = None, headers: Headers = ()) -> Response:
    return Response(HTTPStatus.OK, text.encode("ascii"), "text/plain", headers, verified)


def _parameters(request: Request) -> dict[str, str]:
    """Return the non-empty parameters of query and form together, since Messente's Java SDK sends them in both."""
    sources = [request.query]
    if request.content_type == FORM:
        sources.append(request.body.decode("utf-8", "replace"))
    parameters: dict[str, str] = {}
    for source in sources:
        try:
            parameters |= dict(parse_qsl(source, max_num_fields=MAX_FIELDS))
        except ValueError:
            raise _ErrorAnswer(PARAMETERS) from None
    if any(len(value) > MAX_FIELD_LENGTH for value in parameters.values()):
        raise _ErrorAnswer(PARAMETERS)
    return parameters


def _integer(parameters: Mapping[str, str], key: str, default: int, low: int, high: int) -> int:
    text = parameters.get(key, str(default))
    if not (text.isascii() and text.isdigit() and len(text) < 10 and low <= int(text) <= high):
        raise _ErrorAnswer(PARAMETERS)
    return int(text)
