"""Answer Messente's older HTTP SMS API: /send_sms, as messente-python and many small scripts call it."""

from __future__ import annotations

import secrets

from .config import ProviderConfig
from .http_messages import Request, Response
from .phone_numbers import parse_phone_number
from .phones import Phones, pin_in
from .routing import Route
from .text_answers import PARAMETERS, SENDER, ErrorAnswer, Parameters, answer_call, text_response

MAX_TEXT = 1600
"""Characters of a text. The documents name no limit; ten parts of a long SMS are more than a gateway sends."""

# From messente-python.
NO_SUCH_NUMBER = "ERROR 105"


class SmsApi:
    """Check in this order: credentials (101), parameters (102), number (105), sender (111)."""

    def __init__(self, phones: Phones, config: ProviderConfig) -> None:
        self._phones = phones
        self._config = config

    def handle(self, request: Request, route: Route) -> Response:
        """Carry out a call.

        Raises:
            HTTPError: 405, the method is neither GET nor POST.
        """
        return answer_call(request, route, self._config.accounts, self._send, max_length=MAX_TEXT)

    def _send(self, parameters: Parameters, account: str) -> Response:
        to, text, sender = (parameters.get(name, "") for name in ("to", "text", "from"))
        if not to or not text:
            raise ErrorAnswer(PARAMETERS)
        try:
            number = parse_phone_number(to)
        except ValueError:
            raise ErrorAnswer(NO_SUCH_NUMBER) from None
        if sender and self._config.senders and sender not in self._config.senders:
            raise ErrorAnswer(SENDER)
        self._phones.send(number, text, pin=pin_in(text), user_id="")
        return text_response(f"OK {secrets.token_hex(20)}")
