"""What the Omnichannel API says became of a message: in its reports, and in what it posts to the site."""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from .answers import BadAnswer, id_of, objects_of, parse_object
from .omnimessages import CHANNELS

MAX_MESSAGES = 20
MAX_POSTED = 8 * 1024  # bytes

# protocol: Messente docs, delivery report; DELETED is in the OpenAPI file alone.
STATUSES = frozenset(
    "ACK ACCEPTD DELIVRD SEEN UNDELIV FAILED REJECTD DELETED EXPIRED NACK UNKNOWN".split()  # noqa: SIM905
)
_PRICE = re.compile(r"[0-9]{1,6}(\.[0-9]{1,12})?\Z")
_MAX_ERR = 9999


@dataclass(frozen=True, slots=True)
class MessageStatus:
    """What became of the message on one channel.

    Attributes:
        status: one of ``STATUSES``; "" while it is being processed.
        channel: one of ``CHANNELS``, or "".
        err: the provider's number for why it did not arrive; 0 for no error, None while it is being processed.
        price: what it costs in the currency of the account, or None.
    """

    status: str
    channel: str = ""
    err: int | None = None
    price: Decimal | None = None


def parse_statuses(data: dict[str, Any]) -> list[MessageStatus]:
    """Return the statuses of a report.

    Raises:
        BadAnswer: it is none.
    """
    return [_status(each) for each in objects_of(data, "statuses", MAX_MESSAGES)]


def parse_posted_status(body: bytes) -> tuple[str, MessageStatus]:
    """Return the omnimessage id and the status that was posted to a ``dlr_url``, by whomever.

    protocol: Messente docs, delivery report, "Report structure in callback request". They also name a header
    X-Messente-Signature, of which no more is known here.

    Raises:
        BadAnswer: it is none.
    """
    if len(body) > MAX_POSTED:
        raise BadAnswer("the report is too long")
    data = parse_object(body)
    return id_of(data, "omnimessage_id"), _status(data)


def _status(data: dict[str, Any]) -> MessageStatus:
    status, channel, err = data.get("status"), data.get("channel"), data.get("err")
    # protocol: null while the message is processed.
    if status is not None and not (isinstance(status, str) and status in STATUSES):
        raise BadAnswer("an unknown status")
    if channel is not None and not (isinstance(channel, str) and channel in CHANNELS):
        raise BadAnswer("an unknown channel")
    if err is not None and not (type(err) is int and 0 <= err <= _MAX_ERR):
        raise BadAnswer("err is no small number")
    return MessageStatus(status or "", channel or "", err, _price(data.get("price_info")))


def _price(info: object) -> Decimal | None:
    """protocol: PriceInfo in Messente's OpenAPI file; prices are texts there."""
    if info is None:
        return None
    total = info.get("total_price") if isinstance(info, dict) else None
    if not isinstance(total, str) or not _PRICE.match(total):
        raise BadAnswer("total_price is no price")
    return Decimal(total)
