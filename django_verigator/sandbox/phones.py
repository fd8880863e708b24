"""The phones that nobody has to buy: the messages they got, and those with the app on them."""

from __future__ import annotations

import re
import secrets
from typing import NamedTuple, cast

from django_verigator.sandbox import totp
from django_verigator.sandbox.clock import Clock
from django_verigator.sandbox.store import Store

KEPT_MESSAGES = 10_000
SHOWN_MESSAGES = 1_000
SHOWN_NOTICES = 20
UNLIKE_THE_LAST = 10
PUNCTUATION = str.maketrans("", "", " -().")
NUMBER = re.compile(r"\+?([0-9]{7,15})")


class Message(NamedTuple):
    id: int
    to: str
    text: str
    pin: str
    user_id: str
    sent: float


class Notice(NamedTuple):
    """What the app shows when a site asks for a code."""

    text: str
    user_id: str
    sent: float


class Device(NamedTuple):
    phone_number: str
    secret: str
    attached: float


def normalised(phone_number: str) -> str | None:
    """``+`` and digits, or None where this is no phone number; blanks and the usual punctuation do not count."""
    match = NUMBER.fullmatch(phone_number.translate(PUNCTUATION))
    return f"+{match[1]}" if match else None


class Phones:
    """Every number passed in is a normalised one."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    def new_pin(self, to: str, length: int) -> str:
        """Digits, with leading zeros, but never zeros alone: some clients take those for no PIN.

        None that this phone got of late: a site refuses a PIN that it accepted a moment ago, so a test that logs in
        twice would fail one day, by chance.
        """
        latest = {message.pin for message in self.messages(to, limit=UNLIKE_THE_LAST)}
        most = 10**length - 1
        number = secrets.randbelow(most)
        while (pin := f"{number % most + 1:0{length}}") in latest:
            number += 1
        return pin

    def send(self, to: str, text: str, *, pin: str, user_id: str, sent: float | None = None) -> None:
        self._store.write(
            "INSERT INTO message (phone_number, text, pin, user_id, sent) VALUES (?, ?, ?, ?, ?)",
            (to, text, pin, user_id, self._clock.now() if sent is None else sent),
        )
        self._store.write("DELETE FROM message WHERE seq <= (SELECT max(seq) FROM message) - ?", (KEPT_MESSAGES,))

    def messages(self, to: str | None = None, *, limit: int = SHOWN_MESSAGES) -> list[Message]:
        """The newest ``limit`` messages, newest last."""
        where, values = ("WHERE phone_number = ?", [to]) if to else ("", [])
        rows = self._store.rows(
            f"SELECT seq, phone_number, text, pin, user_id, sent FROM message {where}"  # noqa: S608 - our own words
            " ORDER BY seq DESC LIMIT ?",
            [*values, limit],
        )
        return [Message(*cast("tuple[int, str, str, str, str, float]", row)) for row in reversed(rows)]

    def numbers(self) -> list[str]:
        """Every number that has a message or the app."""
        rows = self._store.rows("SELECT phone_number FROM message UNION SELECT phone_number FROM device ORDER BY 1")
        return [str(number) for (number,) in rows]

    def push(self, to: str, text: str, *, user_id: str) -> None:
        self._store.write(
            "INSERT INTO notice (phone_number, text, user_id, sent) VALUES (?, ?, ?, ?)",
            (to, text, user_id, self._clock.now()),
        )
        self._store.write("DELETE FROM notice WHERE seq <= (SELECT max(seq) FROM notice) - ?", (KEPT_MESSAGES,))

    def notices(self, to: str) -> list[Notice]:
        rows = self._store.rows(
            "SELECT text, user_id, sent FROM notice WHERE phone_number = ? ORDER BY seq DESC LIMIT ?",
            (to, SHOWN_NOTICES),
        )
        return [Notice(*cast("tuple[str, str, float]", row)) for row in reversed(rows)]

    def attach(self, phone_number: str) -> Device:
        """Put the app on the phone; where it is already, nothing changes."""
        self._store.write(
            "INSERT INTO device (phone_number, secret, attached) VALUES (?, ?, ?) ON CONFLICT DO NOTHING",
            (phone_number, totp.new_secret(), self._clock.now()),
        )
        device = self.device(phone_number)
        assert device is not None
        return device

    def detach(self, phone_number: str) -> bool:
        return self._store.write("DELETE FROM device WHERE phone_number = ?", (phone_number,)) > 0

    def device(self, phone_number: str) -> Device | None:
        row = self._store.row(
            "SELECT phone_number, secret, attached FROM device WHERE phone_number = ?", (phone_number,)
        )
        return Device(*cast("tuple[str, str, float]", row)) if row else None

    def devices(self) -> list[Device]:
        rows = self._store.rows("SELECT phone_number, secret, attached FROM device ORDER BY attached, phone_number")
        return [Device(*cast("tuple[str, str, float]", row)) for row in rows]
