"""Check an order for the outcome of the next messages, and turn it into a ``Delivery``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from .omnimessages import CHANNELS, ERRORS, STATUSES, Delivery
from .phone_numbers import parse_phone_number

MAX_TIMES = 1_000_000
KEYS = ("to", "status", "err", "channel", "times")


def parse_delivery(data: Mapping[str, Any]) -> Delivery:
    """Return the order that ``data`` describes; a value of None counts as left out.

    Raises:
        ValueError: a key or value is wrong.
    """
    values = {key: value for key, value in data.items() if value is not None}
    if unknown := sorted(set(values) - set(KEYS)):
        raise ValueError(f"{', '.join(unknown)}: not a key of a delivery, which takes {', '.join(KEYS)}")
    to, status, channel, times = (
        values.get("to"),
        values.get("status"),
        values.get("channel", ""),
        values.get("times", 1),
    )
    if not isinstance(to, str):
        raise ValueError("to must be a phone number")
    if not isinstance(status, str) or status not in STATUSES:
        raise ValueError(f"status must be one of {', '.join(STATUSES)}")
    err = values.get("err", STATUSES[status])
    if err is not None and (type(err) is not int or err not in ERRORS):
        raise ValueError("err must be a number, 0 to 10 or 999")
    if channel not in ("", *CHANNELS):
        raise ValueError(f"channel must be one of {', '.join(CHANNELS)}")
    if type(times) is not int or not 1 <= times <= MAX_TIMES:
        raise ValueError(f"times must be a whole number, 1 to {MAX_TIMES}")
    return Delivery(parse_phone_number(to), status, err, channel, times)


def delivery_json(delivery: Delivery) -> dict[str, Any]:
    """Return the order as JSON; ``times`` is for how many messages it still holds."""
    return asdict(delivery)
