"""Start, resend and check the verifications of the Number Verification API."""

from __future__ import annotations

import hmac
import secrets
from typing import NamedTuple, cast

from .clock import Clock
from .config import ProviderConfig
from .constants import EXPIRED, INVALID, PIN_PLACEHOLDER, THROTTLED, VERIFIED
from .phones import Phones
from .store import Row, Store

MAX_VALIDITY = 1800
RETENTION_SECONDS = 24 * 3600


class StartParameters(NamedTuple):
    """Hold what a caller asks for.

    Attributes:
        pin_length: digits.
        sendings: how often the SMS goes out in all.
        retry_delay: seconds between two sendings.
        validity: seconds for which the PIN is valid.
    """

    account: str
    phone_number: str
    template: str
    pin_length: int
    sendings: int
    retry_delay: int
    validity: int


class NumberVerification(NamedTuple):
    """Hold a started verification; the fields are the columns of the table.

    Attributes:
        started, ends: seconds since 1970.
        sent: how often the SMS has gone out.
    """

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


_COLUMNS = ", ".join(NumberVerification._fields)


class NumberVerifications:
    """Keep any number of open verifications for each phone. Call the methods inside a transaction."""

    def __init__(self, store: Store, clock: Clock, phones: Phones, config: ProviderConfig) -> None:
        self._store = store
        self._clock = clock
        self._phones = phones
        self._config = config

    def start(self, parameters: StartParameters) -> str:
        """Send the PIN and return the id of the verification."""
        now = self._clock.now()
        self._store.write("DELETE FROM number_session WHERE ends < ?", (now - RETENTION_SECONDS,))
        pin = self._phones.new_pin(parameters.phone_number, parameters.pin_length)
        verification = NumberVerification(
            id=secrets.token_hex(16),
            account=parameters.account,
            phone_number=parameters.phone_number,
            text=parameters.template.replace(PIN_PLACEHOLDER, pin),
            pin=pin,
            started=now,
            ends=now + parameters.validity,
            sendings=parameters.sendings,
            retry_delay=parameters.retry_delay,
            sent=0,
            wrong_tries=0,
        )
        placeholders = ", ".join("?" for _ in verification)
        self._store.write(
            f"INSERT INTO number_session ({_COLUMNS}) VALUES ({placeholders})",  # noqa: S608 - constant names
            verification,
        )
        self.send_due()
        return verification.id

    def send_due(self) -> None:
        """Send the messages that are due by now, dated with the time at which each was due.

        Messente does not document whether a resend carries the same PIN (here it does), or whether it extends the PIN's
        validity (here it does not).
        """
        now = self._clock.now()
        rows = self._store.rows(
            f"SELECT {_COLUMNS} FROM number_session"  # noqa: S608 - constant names
            " WHERE sent < sendings AND started + sent * retry_delay <= min(?, ends)",
            (now,),
        )
        for each in map(_from_row, rows):
            sent = each.sent
            while sent < each.sendings and (due := each.started + sent * each.retry_delay) <= min(now, each.ends):
                self._phones.send(each.phone_number, each.text, pin=each.pin, user_id="", sent=due)
                sent += 1
            self._store.write("UPDATE number_session SET sent = ? WHERE id = ?", (sent, each.id))

    def phone_number(self, account: str, verification_id: str) -> str | None:
        """Return the number that a verification's PIN went to, or None for an unknown id."""
        row = self._store.row(
            "SELECT phone_number FROM number_session WHERE id = ? AND account = ?", (verification_id, account)
        )
        return str(row[0]) if row else None

    def check(self, account: str, verification_id: str, pin: str, cookie: str, ip: str) -> str | None:
        """Return VERIFIED, INVALID, EXPIRED or THROTTLED, or None for an unknown id.

        Success ends the verification, which Messente does not document, and makes ``cookie`` a trusted one.
        """
        self.send_due()
        row = self._store.row(
            f"SELECT {_COLUMNS} FROM number_session WHERE id = ? AND account = ?",  # noqa: S608 - constant names
            (verification_id, account),
        )
        if row is None:
            return None
        verification = _from_row(row)
        if verification.wrong_tries >= self._config.max_tries:
            return THROTTLED
        if self._clock.now() > verification.ends:
            return EXPIRED
        if not hmac.compare_digest(verification.pin.encode("ascii"), pin.encode("utf-8", "replace")):
            self._store.write(
                "UPDATE number_session SET wrong_tries = wrong_tries + 1 WHERE id = ?", (verification.id,)
            )
            return INVALID
        self._store.write("DELETE FROM number_session WHERE id = ?", (verification.id,))
        if cookie:
            values = (account, verification.phone_number, cookie, ip)
            self._store.write("INSERT OR REPLACE INTO trusted_cookie VALUES (?, ?, ?, ?)", values)
        return VERIFIED

    def is_trusted(self, account: str, phone_number: str, cookie: str, ip: str) -> bool:
        """Return whether a PIN to this phone was right before with this cookie.

        The provider demands a PIN again if the IP address is in another country. The sandbox knows no countries: to it
        every other address is in another one.
        """
        row = self._store.row(
            "SELECT ip FROM trusted_cookie WHERE account = ? AND phone_number = ? AND cookie = ?",
            (account, phone_number, cookie),
        )
        if row is None:
            return False
        return not ip or row[0] in ("", ip)


def _from_row(row: Row) -> NumberVerification:
    return NumberVerification(*cast("tuple[str, str, str, str, str, float, float, int, int, int, int]", row))
