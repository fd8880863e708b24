"""The client of Messente's Omnichannel API, which sends a text by SMS, Viber, WhatsApp or RCS.

Whoever uses it makes and checks the PINs. The API says what became of a message: when asked, and by calls to an address
of the site.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django_verigator.exceptions import (
    InternalError,
    InvalidDataError,
    NoSuchResourceError,
    ResourceForbiddenError,
    VerigatorError,
    WrongCredentialsError,
)

from ..hidden import HiddenText
from .answers import BadAnswer, id_of, is_id, objects_of, parse_object, text_of
from .deliveries import MAX_MESSAGES, MessageStatus, parse_statuses
from .http import Client, Transport
from .omnimessages import CHANNELS, ChannelMessage, Omnimessage
from .options import ConnectionArguments, Unpack, mask_proxies, takes_connection_options
from .secrets import basic_auth, json_body, require_text

ENDPOINT = "https://api.messente.com"
PRIORITIES = ("low", "regular", "high")
TEXT_STORES = ("plaintext", "sha256", "nostore")

_PATH = "/v1/omnimessage"
_MAX_ERRORS = 20
# protocol: ErrorCodeOmnichannel in Messente's OpenAPI file, each with the status that says the same.
_ERRORS: dict[str, tuple[type[VerigatorError], int, str]] = {
    "101": (NoSuchResourceError, 404, "no such message"),
    "102": (ResourceForbiddenError, 403, "the provider forbids the call"),
    "103": (WrongCredentialsError, 401, "the provider refuses the credentials"),
    "104": (InternalError, 500, "the provider failed"),
    "105": (InvalidDataError, 400, "the provider refuses the data"),
    "106": (InvalidDataError, 400, "the provider misses some data"),
    "107": (VerigatorError, 405, "the provider refuses the call"),
}


class Omnichannel(Client):
    """The client of Messente's Omnichannel API.

    Args:
        username, password: of the API; sent as HTTP Basic.
        endpoint: may have a path; http:// is accepted for loopback hosts alone.
        connection: see ``ConnectionOptions``.

    Raises:
        ValueError: an argument cannot be used.
    """

    @takes_connection_options
    def __init__(
        self, username: str, password: str, endpoint: str = ENDPOINT, **connection: Unpack[ConnectionArguments]
    ) -> None:
        authorization = basic_auth(username, password)
        del username, password  # A debug page shows the variables of each frame.
        mask_proxies(connection)
        if authorization is None:
            raise ValueError("username and password must be text that is not blank, the username without a colon")
        headers = {"Accept": "application/json", "Authorization": authorization}
        super().__init__(Transport(endpoint, headers=headers, read_error=_read_error, **connection))

    def send(
        self,
        number: str,
        messages: Sequence[ChannelMessage],
        *,
        priority: str | None = None,
        dlr_url: str | None = None,
        text_store: str | None = None,
    ) -> Omnimessage:
        """Send one message, by the first channel that works (protocol: POST /v1/omnimessage).

        The provider's own values hold for what is None.

        Args:
            number: phone number in E.164.
            messages: one for each channel, in the order in which they are tried.
            priority: "low", "regular" or "high".
            dlr_url: the address to which each change of status is posted.
            text_store: how the provider keeps the text: "plaintext", "sha256" or "nostore".

        Raises:
            ResourceForbiddenError: also where the provider refuses the message for another reason than the number.
            VerigatorError: if its ``sent`` is True and it has no status, the message may be on its way.
        """
        require_text(number=number)
        if not messages:
            raise ValueError("messages must not be empty")
        given = {"priority": priority, "dlr_url": dlr_url, "text_store": text_store}
        body = json_body(
            to=number,
            messages=[message.as_json() for message in messages],
            **{key: value for key, value in given.items() if value is not None},
        )
        digits = HiddenText(number.lstrip("+"))
        del number

        def read(data: dict[str, Any]) -> Omnimessage:
            if text_of(data, "to").lstrip("+") != digits:
                raise BadAnswer("the answer is about another number")
            return _read_omnimessage(data)

        return self._transport.call("POST", _PATH, read, body)

    def report(self, omnimessage_id: str) -> list[MessageStatus]:
        """Return what became of a message, for each channel that was tried, in their order.

        protocol: GET /v1/omnimessage/{id}/status

        Args:
            omnimessage_id: what ``send`` returned.

        Raises:
            NoSuchResourceError: the provider does not know the message.
        """
        require_text(omnimessage_id=omnimessage_id)
        if not is_id(omnimessage_id):
            raise ValueError("omnimessage_id is not in the form of an id")

        def read(data: dict[str, Any]) -> list[MessageStatus]:
            if id_of(data, "omnimessage_id") != omnimessage_id:
                raise BadAnswer("the answer is about another message")
            return parse_statuses(data)

        return self._transport.call("GET", f"{_PATH}/{omnimessage_id}/status", read, only_200=True)


def _read_omnimessage(data: dict[str, Any]) -> Omnimessage:
    ids: dict[str, str] = {}
    for message in objects_of(data, "messages", MAX_MESSAGES):
        channel = text_of(message, "channel")
        if channel not in CHANNELS or channel in ids:
            raise BadAnswer("an unknown channel, or one twice")
        ids[channel] = id_of(message, "message_id")
    if not ids:
        raise BadAnswer("messages is empty")
    return Omnimessage(id_of(data, "omnimessage_id"), ids)


def _read_error(status: int, body: bytes) -> VerigatorError | None:
    """Return the error that a body stands for, if it says the same as the status."""
    errors = objects_of(parse_object(body), "errors", _MAX_ERRORS)
    codes = [error.get("code") for error in errors]
    known = [code for code in codes if isinstance(code, str) and code in _ERRORS]
    if not errors or len(known) < len(codes) or any(_ERRORS[code][1] != status for code in known):
        return None
    kind, _, message = _ERRORS[known[0]]
    if status == 400 and not any(map(_may_be_about_the_number, errors)):
        # Another provider may well send to the number, so this must not look like the refusal of a number.
        message = "the provider refuses the sender or the message"
        return ResourceForbiddenError(message, status=403, provider_code=known[0])
    return kind(message, provider_code=known[0])


def _may_be_about_the_number(error: dict[str, Any]) -> bool:
    """protocol: ``source`` names the field; in which form is a guess ("to", "payload.to", "/to")."""
    source = error.get("source")
    if not isinstance(source, str) or not source:
        return True
    return source.replace("/", ".").rpartition(".")[2] == "to"
