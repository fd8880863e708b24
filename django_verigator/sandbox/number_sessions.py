"""The rules of one number verification: send a PIN, send it again, check it, end it."""

from __future__ import annotations

import hmac
import secrets
from typing import NamedTuple, cast

from django_verigator.sandbox.authentications import EXPIRED, INVALID, THROTTLED, VERIFIED
from django_verigator.sandbox.clock import Clock
from django_verigator.sandbox.phones import Phones
from django_verigator.sandbox.rules import Rules
from django_verigator.sandbox.store import Store

MAX_VALIDITY = 1800
KEPT_SECONDS = 24 * 3600


class Order(NamedTuple):
    """What a start asks for. ``sendings`` counts the first one too."""

    account: str
    phone_number: str
    template: str
    pin_length: int
    sendings: int
    retry_delay: int
    validity: int


class Session(NamedTuple):
    id: str
    account: str
    phone_number: str
    text: str
    pin: str
    started: float
    ends: float
    sendings: int
    retry_delay: int
    sent: int
    wrong_tries: int


_FIELDS = ", ".join(Session._fields)


class Sessions:
    """Any number of verifications may be open for one phone. Call these inside a transaction."""

    def __init__(self, store: Store, clock: Clock, phones: Phones, rules: Rules) -> None:
        self._store = store
        self._clock = clock
        self._phones = phones
        self._rules = rules

    def start(self, order: Order) -> str:
        """Send the PIN and return the verification's id."""
        now = self._clock.now()
        self._store.write("DELETE FROM number_session WHERE ends < ?", (now - KEPT_SECONDS,))
        pin = self._phones.new_pin(order.phone_number, order.pin_length)
        session = Session(
            secrets.token_hex(16),
            order.account,
            order.phone_number,
            order.template.replace("<PIN>", pin),
            pin,
            now,
            now + order.validity,
            order.sendings,
            order.retry_delay,
            0,
            0,
        )
        marks = ", ".join("?" for _ in session)
        self._store.write(f"INSERT INTO number_session ({_FIELDS}) VALUES ({marks})", session)  # noqa: S608 - our words
        self.send_due()
        return session.id

    def send_due(self) -> None:
        """Send what should have gone out by now. Nobody waits here: the times are those at which it was due.

        Not documented: whether the same PIN is sent again (it is), and whether its life begins anew (it does not).
        """
        now = self._clock.now()
        rows = self._store.rows(
            f"SELECT {_FIELDS} FROM number_session"  # noqa: S608 - our own words
            " WHERE sent < sendings AND started + sent * retry_delay <= min(?, ends)",
            (now,),
        )
        for session in map(_session, rows):
            sent = session.sent
            while sent < session.sendings and (due := session.started + sent * session.retry_delay) <= min(
                now, session.ends
            ):
                self._phones.send(session.phone_number, session.text, pin=session.pin, user_id="", sent=due)
                sent += 1
            self._store.write("UPDATE number_session SET sent = ? WHERE id = ?", (sent, session.id))

    def check(self, account: str, number: str, pin: str, cookie: str, ip: str) -> str | None:
        """One of the four result words, or None for an id nobody knows. Success ends the session, not documented."""
        self.send_due()
        row = self._store.row(
            f"SELECT {_FIELDS} FROM number_session WHERE id = ? AND account = ?",  # noqa: S608 - our own words
            (number, account),
        )
        if row is None:
            return None
        session = _session(row)
        if session.wrong_tries >= self._rules.max_tries:
            return THROTTLED
        if self._clock.now() > session.ends:
            return EXPIRED
        if not hmac.compare_digest(session.pin.encode("ascii"), pin.encode("utf-8", "replace")):
            self._store.write("UPDATE number_session SET wrong_tries = wrong_tries + 1 WHERE id = ?", (number,))
            return INVALID
        self._store.write("DELETE FROM number_session WHERE id = ?", (number,))
        if cookie:
            values = (account, session.phone_number, cookie, ip)
            self._store.write("INSERT OR REPLACE INTO trusted_cookie VALUES (?, ?, ?, ?)", values)
        return VERIFIED

    def trusts(self, account: str, phone_number: str, cookie: str, ip: str) -> bool:
        """Whether a PIN to this phone was right before with this cookie.

        The provider wants a PIN all the same if the address is of another country. Countries are not known here: any
        other address counts as abroad.
        """
        row = self._store.row(
            "SELECT ip FROM trusted_cookie WHERE account = ? AND phone_number = ? AND cookie = ?",
            (account, phone_number, cookie),
        )
        if row is None:
            return False
        return not ip or row[0] in ("", ip)


def _session(row: tuple[object, ...]) -> Session:
    return Session(*cast("tuple[str, str, str, str, str, float, float, int, int, int, int]", row))
