"""Simulate the phones: the messages they received, and the Verigator app on some of them."""

from __future__ import annotations

import re
import secrets
from typing import NamedTuple, cast

from . import totp
from .clock import Clock
from .constants import SMS
from .store import Store

MAX_STORED_MESSAGES = 10_000
MAX_LISTED_MESSAGES = 1_000
MAX_LISTED_NOTICES = 20
RECENT_PINS = 10
_PIN = re.compile(r"(?<![0-9])[0-9]{4,16}(?![0-9])")


class Message(NamedTuple):
    """Hold one message or call; ``sent`` is in seconds since 1970.

    Attributes:
        channel: "sms", "viber", "whatsapp", "rcs", or "call" for a voice call, whose ``text`` is what it says.
    """

    id: int
    to: str
    text: str
    pin: str
    user_id: str
    sent: float
    channel: str


class Notice(NamedTuple):
    """Hold one push notification, which the app shows when a service asks for a code."""

    text: str
    user_id: str
    sent: float


class Device(NamedTuple):
    """Hold the app's registration on one phone."""

    phone_number: str
    secret: str
    attached: float


def pin_in(text: str) -> str:
    """Return the first run of 4 to 16 digits in a text that somebody else has written, or ""."""
    found = _PIN.search(text)
    return found[0] if found else ""


class Phones:
    """Send messages and notifications to phones; every number is one that ``parse_phone_number`` returned."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    def new_pin(self, to: str, length: int) -> str:
        """Return a random PIN of ``length`` digits.

        It is never only zeros, which some clients take for no PIN. It also differs from the last ten that this phone
        received: a site may reject a PIN that it accepted a moment ago, so that a test with two logins would fail at
        random.
        """
        recent = {message.pin for message in self.messages(to, limit=RECENT_PINS)}
        highest = 10**length - 1
        number = secrets.randbelow(highest)
        while (pin := f"{number % highest + 1:0{length}}") in recent:
            number += 1
        return pin

    def send(
        self, to: str, text: str, *, pin: str, user_id: str, sent: float | None = None, channel: str = SMS
    ) -> None:
        """Deliver a message or call, dated ``sent`` (seconds since 1970) or now; only the newest 10,000 are kept."""
        self._store.write(
            "INSERT INTO message (phone_number, text, pin, user_id, sent, channel) VALUES (?, ?, ?, ?, ?, ?)",
            (to, text, pin, user_id, self._clock.now() if sent is None else sent, channel),
        )
        self._store.write("DELETE FROM message WHERE seq <= (SELECT max(seq) FROM message) - ?", (MAX_STORED_MESSAGES,))

    def messages(self, to: str | None = None, *, limit: int = MAX_LISTED_MESSAGES) -> list[Message]:
        """Return the newest ``limit`` messages to one number or to all, newest last."""
        where, values = ("WHERE phone_number = ?", [to]) if to else ("", [])
        rows = self._store.rows(
            f"SELECT seq, phone_number, text, pin, user_id, sent, channel FROM message {where}"  # noqa: S608 - constant text
            " ORDER BY seq DESC LIMIT ?",
            [*values, limit],
        )
        return [Message(*cast("tuple[int, str, str, str, str, float, str]", row)) for row in reversed(rows)]

    def numbers(self) -> list[str]:
        """Return every number that has a message or the app."""
        rows = self._store.rows("SELECT phone_number FROM message UNION SELECT phone_number FROM device ORDER BY 1")
        return [str(number) for (number,) in rows]

    def push(self, to: str, text: str, *, user_id: str) -> None:
        """Deliver a push notification to the app; only the newest 10,000 are kept."""
        self._store.write(
            "INSERT INTO notice (phone_number, text, user_id, sent) VALUES (?, ?, ?, ?)",
            (to, text, user_id, self._clock.now()),
        )
        self._store.write("DELETE FROM notice WHERE seq <= (SELECT max(seq) FROM notice) - ?", (MAX_STORED_MESSAGES,))

    def notices(self, to: str) -> list[Notice]:
        """Return the newest 20 push notifications to one number, newest last."""
        rows = self._store.rows(
            "SELECT text, user_id, sent FROM notice WHERE phone_number = ? ORDER BY seq DESC LIMIT ?",
            (to, MAX_LISTED_NOTICES),
        )
        return [Notice(*cast("tuple[str, str, float]", row)) for row in reversed(rows)]

    def attach(self, phone_number: str) -> Device:
        """Install the app on a phone. Idempotent: a phone that has the app keeps its secret."""
        self._store.write(
            "INSERT INTO device (phone_number, secret, attached) VALUES (?, ?, ?) ON CONFLICT DO NOTHING",
            (phone_number, totp.new_secret(), self._clock.now()),
        )
        device = self.device(phone_number)
        assert device is not None
        return device

    def detach(self, phone_number: str) -> bool:
        """Remove the app from a phone; return whether it was there."""
        return self._store.write("DELETE FROM device WHERE phone_number = ?", (phone_number,)) > 0

    def device(self, phone_number: str) -> Device | None:
        """Return the app on this phone, or None."""
        row = self._store.row(
            "SELECT phone_number, secret, attached FROM device WHERE phone_number = ?", (phone_number,)
        )
        return Device(*cast("tuple[str, str, float]", row)) if row else None

    def devices(self) -> list[Device]:
        """Return every phone with the app, the one attached first in front."""
        rows = self._store.rows("SELECT phone_number, secret, attached FROM device ORDER BY attached, phone_number")
        return [Device(*cast("tuple[str, str, float]", row)) for row in rows]
