"""The client of Twilio's Verify API, version 2.

Twilio makes the code, sends it by SMS, WhatsApp or in a call, and checks it. It keeps no user: a verification belongs
to a phone number and a service, lives ten minutes, and is sent with the same code whenever it is started again.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from django_verigator.exceptions import (
    InvalidDataError,
    NoSuchResourceError,
    ThrottledError,
    VerigatorError,
    WrongCredentialsError,
)

from ..hidden import HiddenText
from .answers import BadAnswer, parse_object, require_same, text_of
from .http import Client, Transport
from .options import ConnectionArguments, Unpack, mask_proxies, takes_connection_options
from .results import Verification
from .secrets import SecretForm, basic_auth, form_text, require_text

ENDPOINT = "https://verify.twilio.com"
CHANNELS = ("sms", "whatsapp", "call")
LIFETIME = 600
"""Seconds for which a verification lives (protocol: Twilio docs, verification)."""
MIN_CODE_LENGTH, MAX_CODE_LENGTH = 4, 10

# protocol: the SIDs' patterns in Twilio's OpenAPI file.
_VERIFICATION_SID = re.compile(r"VE[0-9a-fA-F]{32}\Z")
_SERVICE_SID = re.compile(r"VA[0-9a-fA-F]{32}\Z")

# protocol: the package twilio 9.13, VerificationInstance.
_ENDED = frozenset({"canceled", "max_attempts_reached", "deleted", "failed", "expired"})
_EXPIRED = frozenset({"canceled", "deleted", "expired"})

_TOO_MANY_CHECKS = "60202"
_NOT_SENT = (VerigatorError, "the provider does not send this, whatever the number")
_BLOCKED = (InvalidDataError, "the provider blocks the number")
# protocol: Twilio docs, error codes. A block by the fraud guard or by country is about the number, so that no other
# provider is given what this one has stopped.
_ERRORS: dict[str, tuple[type[VerigatorError], str]] = {
    "20003": (WrongCredentialsError, "the provider refuses the credentials"),
    "20404": (NoSuchResourceError, "no such service or verification"),
    "20429": (ThrottledError, "too many calls"),
    "60200": (InvalidDataError, "the provider refuses the data"),
    _TOO_MANY_CHECKS: (ThrottledError, "too many tries for this code"),
    "60203": (ThrottledError, "the code was sent too often"),
    "60205": (InvalidDataError, "no text message goes to a landline"),
    "60207": (ThrottledError, "a rate limit of the service"),
    "60212": (ThrottledError, "too many calls at once for the number"),
    "60220": _NOT_SENT,  # a country that needs a contract
    "60223": _NOT_SENT,  # the channel is switched off
    "60238": _NOT_SENT,  # the account is under review
    "60410": _BLOCKED,  # fraud guard
    "60412": _BLOCKED,  # fraudulent sign-up
    "60413": _BLOCKED,  # device intelligence
    "60605": _BLOCKED,  # geo-permissions
}


@dataclass(frozen=True, slots=True)
class StartedVerification:
    """A code is on its way.

    Attributes:
        sid: what the code is checked against.
        channel: how it goes: one of ``CHANNELS``.
    """

    sid: str
    channel: str


class TwilioVerify(Client):
    """The client of one service of Twilio Verify.

    Args:
        username, password: the account SID and its auth token, or an API key's SID and its secret; sent as HTTP Basic.
        service_sid: the service's SID, "VA" and 32 hexadecimal digits.
        endpoint: may have a path; http:// is accepted for loopback hosts alone.
        connection: see ``ConnectionOptions``.

    Raises:
        ValueError: an argument cannot be used.
    """

    @takes_connection_options
    def __init__(
        self,
        username: str,
        password: str,
        service_sid: str,
        endpoint: str = ENDPOINT,
        **connection: Unpack[ConnectionArguments],
    ) -> None:
        authorization = basic_auth(username, password)
        del username, password  # A debug page shows the variables of each frame.
        mask_proxies(connection)
        if authorization is None:
            raise ValueError("username and password must be text that is not blank, the username without a colon")
        if not isinstance(service_sid, str) or not _SERVICE_SID.match(service_sid):
            raise ValueError('service_sid must be "VA" and 32 hexadecimal digits')
        self._service_sid = service_sid
        self._path = f"/v2/Services/{service_sid}"
        headers = {"Accept": "application/json", "Authorization": authorization}
        super().__init__(Transport(endpoint, headers=headers, read_error=_read_error, **connection))

    def start(self, number: str, channel: str = "sms", *, locale: str | None = None) -> StartedVerification:
        """Send a code (protocol: POST Verifications).

        Within ten minutes it is the same code, under the same SID, until it was right once.

        Args:
            number: phone number in E.164.
            channel: "sms", "whatsapp" or "call".
            locale: the language of the text ("et"); None leaves it to the number's country.

        Raises:
            NoSuchResourceError: the account has no such service.
            InvalidDataError: the number cannot be sent to, or is blocked by the fraud guard or by country.
            ThrottledError: the code was sent five times, or there were too many calls.
            VerigatorError: if its ``sent`` is True and it has no status, the code may be on its way.
        """
        require_text(number=number)
        if channel not in CHANNELS:
            raise ValueError(f"channel must be one of {', '.join(CHANNELS)}")
        given = {"Locale": locale} if locale else {}
        body = SecretForm(form_text(To=number, Channel=channel, **given).encode("ascii"))
        to = HiddenText(number)
        del number

        def read(data: dict[str, Any]) -> StartedVerification:
            self._require_ours(data)
            if text_of(data, "to") != to:
                raise BadAnswer("the answer is about another number")
            if text_of(data, "status") != "pending" or data.get("valid") is not False:
                raise BadAnswer("no verification that waits for its code")
            return StartedVerification(_sid_of(data), _channel_of(data))

        return self._transport.call("POST", f"{self._path}/Verifications", read, body)

    def check(self, sid: str, code: str) -> Verification:
        """Check a code (protocol: POST VerificationCheck).

        Returns a value that is true in a condition only if the provider said "approved" *and* ``valid`` true, about
        this verification.

        Args:
            sid: what ``start`` returned.
            code: what the user typed; digits as text, so that leading zeros stay.

        Raises:
            NoSuchResourceError: the provider has no such verification any more: it has expired, was right before, or
                has used up its tries.
            VerigatorError: if its ``sent`` is True, the verdict is unknown, and the try may have been counted.
        """
        require_text(sid=sid, code=code)
        if not is_verification_sid(sid):
            raise ValueError("sid is not in the form of a verification's SID")
        body = SecretForm(form_text(VerificationSid=sid, Code=code).encode("ascii"))
        del code

        def read(data: dict[str, Any]) -> Verification:
            self._require_ours(data)
            if _sid_of(data) != sid:
                raise BadAnswer("the answer is about another verification")
            return _read_verdict(data)

        try:
            # protocol: documented with 200, and with 201 in the package's tests; a yes must name the SID in any case.
            return self._transport.call("POST", f"{self._path}/VerificationCheck", read, body)
        except ThrottledError as error:
            if error.provider_code != _TOO_MANY_CHECKS:
                raise
        return _verdict("throttled")

    def cancel(self, sid: str) -> None:
        """End a verification (protocol: POST Verifications/{sid} with Status "canceled").

        Args:
            sid: what ``start`` returned.

        Raises:
            NoSuchResourceError: it has ended already.
        """
        if not is_verification_sid(sid):
            raise ValueError("sid is not in the form of a verification's SID")
        body = SecretForm(form_text(Status="canceled").encode("ascii"))

        def read(data: dict[str, Any]) -> None:
            self._require_ours(data)

        self._transport.call("POST", f"{self._path}/Verifications/{sid}", read, body)

    def _require_ours(self, data: dict[str, Any]) -> None:
        require_same(data, service_sid=self._service_sid)


def is_verification_sid(text: str) -> bool:
    """Say whether a text is in the form of a verification's SID."""
    return bool(_VERIFICATION_SID.match(text))


def _sid_of(data: dict[str, Any]) -> str:
    sid = text_of(data, "sid")
    if not is_verification_sid(sid):
        raise BadAnswer("sid is not in the form of a verification's SID")
    return sid


def _channel_of(data: dict[str, Any]) -> str:
    channel = text_of(data, "channel")
    if channel not in CHANNELS:
        raise BadAnswer("an unknown channel")
    return channel


def _read_verdict(data: dict[str, Any]) -> Verification:
    status, valid = text_of(data, "status"), data.get("valid")
    if not isinstance(valid, bool):
        raise BadAnswer("valid is neither true nor false")
    if status == "approved" and valid:
        return Verification(True, None, _channel_of(data))
    if valid or status == "approved":
        raise BadAnswer("status and valid contradict each other")
    if status == "pending":
        return _verdict("invalid")
    if status not in _ENDED:
        raise BadAnswer("an unknown status")
    return _verdict("expired" if status in _EXPIRED else "throttled")


def _verdict(flag: str) -> Verification:
    flags: dict[str, bool | str] = {name: name == flag for name in ("throttled", "expired", "invalid")}
    return Verification(False, {**flags, "result": flag.upper()})


def _read_error(status: int, body: bytes) -> VerigatorError | None:
    """Return the error that a body stands for: one of Twilio's own form or of RFC 9457, which both have code and
    status.
    """
    data = parse_object(body)
    code, told = data.get("code"), data.get("status")
    if status >= 500 or told != status or type(code) is not int or str(code) not in _ERRORS:
        return None
    kind, message = _ERRORS[str(code)]
    error = kind(message, provider_code=str(code))
    if kind is VerigatorError:  # Whatever the status says, another provider may send to the number.
        error.status = 403
    return error
