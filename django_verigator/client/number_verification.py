"""The client of the Number Verification API, the successor of the Verification API.

One call sends a PIN, one checks it, and the provider keeps no user in between.

Whatever the provider says comes as a line of text with status 200, errors too. They become our exceptions, with the
status that says the same in HTTP, so that callers need to know only one way of failing.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from time import monotonic

from django_verigator.exceptions import (
    InternalError,
    InvalidDataError,
    NoSuchResourceError,
    ResourceForbiddenError,
    VerigatorError,
    WrongCredentialsError,
)

from .answers import BadAnswer, parse_text
from .http import Client, Transport
from .options import ConnectionArguments, Unpack, mask_proxies, takes_connection_options
from .results import Verification
from .secrets import SecretForm, SecretText, form_text, require_text

ENDPOINT = "https://api2.messente.com"
BACKUP_ENDPOINT = "https://api3.messente.com"
PIN_PLACE = "<PIN>"
MIN_PIN_LENGTH, MAX_PIN_LENGTH = 4, 16
MAX_VALIDITY = 1800  # seconds
MAX_ID = 255
IN_QUERY, IN_BODY = "query", "body"

# protocol: no slash at the end, as in the provider's OpenAPI file; it answers both.
_START, _PIN = "/verify/start", "/verify/pin"
_STARTED = re.compile(rf"OK ([!-~]{{1,{MAX_ID}}})\Z")
_ERRORS: dict[str, tuple[type[VerigatorError], int, str]] = {
    "ERROR 101": (WrongCredentialsError, 401, "the provider refuses the credentials"),
    "ERROR 102": (InvalidDataError, 422, "the provider refuses the data"),
    "ERROR 103": (ResourceForbiddenError, 403, "the provider does not know this server's address"),
    "ERROR 109": (InvalidDataError, 422, "the template has no place for the PIN"),
    "ERROR 110": (NoSuchResourceError, 404, "no such verification"),
    "ERROR 111": (InvalidDataError, 422, "the sender is not activated"),
    # protocol: the OpenAPI file says ERROR, every client expects FAILED.
    "ERROR 209": (InternalError, 503, "the provider failed"),
    "FAILED 209": (InternalError, 503, "the provider failed"),
}
_FAILED = ("ERROR 209", "FAILED 209")
_VERDICTS = {"INVALID": "invalid", "EXPIRED": "expired", "THROTTLED": "throttled"}


class NumberVerification(Client):
    """The client of Messente's Number Verification API.

    A call goes to the backup once if the first host failed (209) or certainly never saw the call, within the same total
    time-out. It does not after a lost reply: a start would send a second PIN, and a check would cost a second try.

    Args:
        username, password: of the API; sent with each request.
        endpoint: may have a path; http:// is accepted for loopback hosts alone.
        backup_endpoint: None for api3.messente.com behind the default endpoint, and for no backup behind any other;
            "" for no backup.
        parameters_in: where credentials, number and PIN stand: in the "query", as Messente's own clients send them, or
            in the "body". A query is put behind the path on the connection, below ``requests`` and all that logs or
            reports its addresses.
        connection: see ``ConnectionOptions``.

    Raises:
        ValueError: an argument cannot be used.
    """

    @takes_connection_options
    def __init__(
        self,
        username: str,
        password: str,
        endpoint: str = ENDPOINT,
        *,
        backup_endpoint: str | None = None,
        parameters_in: str = IN_QUERY,
        **connection: Unpack[ConnectionArguments],
    ) -> None:
        credentials = _form(username=username, password=password)
        del username, password  # A debug page shows the variables of each frame.
        mask_proxies(connection)
        if credentials is None:
            raise ValueError("username and password must be text that is not blank")
        self._credentials = credentials
        if parameters_in not in (IN_QUERY, IN_BODY):
            raise ValueError('parameters_in must be "query" or "body"')
        self._in_query = parameters_in == IN_QUERY
        headers = {"Accept": "text/plain"}
        super().__init__(Transport(endpoint, headers=headers, **connection))
        if backup_endpoint is None and self.endpoint == ENDPOINT:
            backup_endpoint = BACKUP_ENDPOINT
        self._backup = Transport(backup_endpoint, headers=headers, **connection) if backup_endpoint else None
        self.backup_endpoint = self._backup.endpoint if self._backup else ""

    def start(
        self,
        number: str,
        *,
        template: str | None = None,
        sender: str | None = None,
        pin_length: int | None = None,
        max_tries: int | None = None,
        retry_delay: int | None = None,
        validity: int | None = None,
    ) -> str:
        """Send a PIN and return the verification's id (protocol: verify/start).

        The provider's own values hold for what is None. No ``cookie`` is ever sent, so an answer that asks for no PIN
        is an error.

        Args:
            number: phone number with country prefix.
            template: the text, with ``<PIN>`` in it.
            sender: the name that the text comes from; must be activated on the account.
            pin_length: digits, 4 to 16.
            max_tries: how often the provider sends the PIN in all, while no right one has come.
            retry_delay: seconds between two sendings.
            validity: seconds for which the PIN is good, 1800 at most.
        """
        require_text(number=number)
        values: dict[str, str | int | None] = {
            "template": template,
            "from": sender,
            "pin_length": pin_length,
            "max_tries": max_tries,
            "retry_delay": retry_delay,
            "validity": validity,
        }
        given = {key: str(value) for key, value in values.items() if value is not None}
        parameters = self._parameters(to=number, **given)
        del number
        return self._ask(_START, _read_start, parameters)

    def pin(self, verification_id: str, pin: str) -> Verification:
        """Check a PIN (protocol: verify/pin).

        Returns a value that is true in a condition only if the provider said ``VERIFIED``, and nothing else, in a 200.

        Args:
            verification_id: what ``start`` returned.
            pin: what the user typed; digits as text, so that leading zeros stay.

        Raises:
            NoSuchResourceError: the provider does not know the verification, or no longer.
            VerigatorError: if its ``sent`` is True, the verdict is unknown, and the try may have been counted.
        """
        require_text(verification_id=verification_id, pin=pin)
        parameters = self._parameters(verification_id=verification_id, pin=pin)
        del pin
        verdict = self._ask(_PIN, _read_pin, parameters)
        if verdict == "VERIFIED":
            return Verification(True, None, "sms")
        flags: dict[str, bool | str] = {flag: word == verdict for word, flag in _VERDICTS.items()}
        return Verification(False, {**flags, "result": verdict}, "sms")

    def _parameters(self, **values: str) -> SecretText | None:
        form = _form(**values)
        return SecretText(f"{self._credentials}&{form}") if form is not None else None

    def _ask(self, path: str, read: Callable[[bytes], str], parameters: SecretText | None) -> str:
        """Return what ``read`` makes of the answer, or of the backup's where the first host did not do the work."""
        if parameters is None:
            raise ValueError("an argument is no valid text, or blank")
        deadline = monotonic() + self._transport.allowance()
        answer, error = self._try(self._transport, path, read, parameters)
        remaining = deadline - monotonic()
        is_undone = answer in _FAILED if error is None else not error.sent
        if is_undone and self._backup is not None and remaining > 0:
            with self._backup.within(remaining):
                second, second_error = self._try(self._backup, path, read, parameters)
            # What the first host said stands if nobody answered at the backup.
            if second_error is None or second_error.sent or error is not None:
                answer, error = second, second_error
        if error is not None:
            raise error
        if answer in _ERRORS:
            kind, status, message = _ERRORS[answer]
            raise kind(message, status=status, method="POST", path=path)
        return answer

    def _try(
        self, transport: Transport, path: str, read: Callable[[bytes], str], parameters: SecretText
    ) -> tuple[str, VerigatorError | None]:
        # protocol: in the OpenAPI file, and so in messente-api, the query of a POST holds everything.
        body = None if self._in_query else SecretForm(parameters.encode("ascii"))
        query = parameters if self._in_query else None
        try:
            return transport.exchange("POST", path, read, body, query=query, only_200=True), None
        except VerigatorError as error:
            return "", error

    def close(self) -> None:
        super().close()
        if self._backup is not None:
            self._backup.close()


def _form(**values: str) -> SecretText | None:
    """Return the values as a form, or None if one of them is not a str, or blank."""
    try:
        require_text(**values)
        return form_text(**values)
    except ValueError:  # UnicodeEncodeError is one.
        return None


def _read_start(body: bytes) -> str:
    line = parse_text(body)
    if line in _ERRORS:
        return line
    started = _STARTED.match(line)
    if started is None:
        raise BadAnswer("an answer that is not of this call")
    return started[1]


def _read_pin(body: bytes) -> str:
    line = parse_text(body)
    if line not in _ERRORS and line not in _VERDICTS and line != "VERIFIED":
        raise BadAnswer("an answer that is not of this call")
    return line
