"""Answer the Number Verification API: /verify/start and /verify/pin, in all the forms that Messente's clients send."""

from __future__ import annotations

from collections.abc import Mapping

from .config import MAX_PIN_LENGTH, MIN_PIN_LENGTH, ProviderConfig
from .constants import DEFAULT_TEXT, PIN_PLACEHOLDER, VERIFIED
from .http_messages import Request, Response
from .number_verifications import MAX_VALIDITY, NumberVerifications, StartParameters
from .phone_numbers import parse_phone_number
from .routing import Route
from .store import Store
from .text_answers import PARAMETERS, SENDER, ErrorAnswer, Parameters, answer_call, text_response

MAX_SENDINGS = 99
MAX_RETRY_DELAY = 3600

# From Messente's OpenAPI file and its clients.
TEMPLATE = "ERROR 109"
UNKNOWN_ID = "ERROR 110"


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

        def answer(parameters: Parameters, account: str) -> Response:
            with self._store.transaction():
                if route.operation == "verify.start":
                    return self._start(parameters, account)
                return self._check_pin(parameters, account)

        return answer_call(request, route, self._config.accounts, answer)

    def _start(self, parameters: Mapping[str, str], account: str) -> Response:
        start = self._start_parameters(parameters, account)
        sender = parameters.get("from", "")
        if PIN_PLACEHOLDER not in start.template:
            raise ErrorAnswer(TEMPLATE)
        if sender and self._config.senders and sender not in self._config.senders:
            raise ErrorAnswer(SENDER)
        cookie, ip = parameters.get("cookie", ""), parameters.get("ip", "")
        if self._verifications.is_trusted(account, start.phone_number, cookie, ip):
            return text_response(VERIFIED)
        return text_response(f"OK {self._verifications.start(start)}")

    def _start_parameters(self, parameters: Mapping[str, str], account: str) -> StartParameters:
        try:
            phone_number = parse_phone_number(parameters.get("to", ""))
        except ValueError:
            raise ErrorAnswer(PARAMETERS) from None
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
            raise ErrorAnswer(PARAMETERS)
        cookie, ip = parameters.get("cookie", ""), parameters.get("ip", "")
        result = self._verifications.check(account, verification_id, pin, cookie, ip)
        if result is None:
            raise ErrorAnswer(UNKNOWN_ID)
        return text_response(result, verified=result == VERIFIED)


def _integer(parameters: Mapping[str, str], key: str, default: int, low: int, high: int) -> int:
    text = parameters.get(key, str(default))
    if not (text.isascii() and text.isdigit() and len(text) < 10 and low <= int(text) <= high):
        raise ErrorAnswer(PARAMETERS)
    return int(text)
