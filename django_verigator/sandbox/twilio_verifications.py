"""Start, resend and check the verifications of Twilio Verify."""

from __future__ import annotations

import hmac
import json
import secrets
from typing import NamedTuple, cast

from .clock import Clock
from .config import ProviderConfig
from .phones import Phones
from .store import Row, Store

# Twilio's documentation, "verification" and "rate limits and timeouts".
LIFETIME = 600  # seconds
MAX_CHECKS = 5
MAX_SENDS = 5
MAX_CODE_LENGTH = 10
CALL = "call"
CHANNELS = ("sms", "whatsapp", CALL)


class TooManySendsError(Exception):
    """The code was sent five times."""


class TooManyChecksError(Exception):
    """Five codes were wrong."""


class TwilioVerification(NamedTuple):
    """Hold a verification that is pending; the fields are the columns of the table.

    Attributes:
        channel: the one of the last sending.
        started, updated: seconds since 1970.
        checks: how many codes were wrong.
        attempts: the sendings as JSON, a list of objects with ``time`` (seconds), ``channel`` and ``attempt_sid``.
    """

    sid: str
    account: str
    service_sid: str
    phone_number: str
    pin: str
    channel: str
    started: float
    updated: float
    checks: int
    attempts: str


_COLUMNS = ", ".join(TwilioVerification._fields)


class TwilioVerifications:
    """Keep one open verification for each number and service. Call the methods inside a transaction.

    One that was approved, was canceled or has expired is gone.
    """

    def __init__(self, store: Store, clock: Clock, phones: Phones, config: ProviderConfig) -> None:
        self._store = store
        self._clock = clock
        self._phones = phones
        self._config = config

    def start(self, account: str, service_sid: str, phone_number: str, channel: str) -> TwilioVerification:
        """Send a code; while a verification lives it is the same code, and the same verification.

        Raises:
            TooManySendsError: it was sent five times.
        """
        now = self._clock.now()
        self._forget_expired()
        found = self._find("account = ? AND service_sid = ? AND phone_number = ?", account, service_sid, phone_number)
        if found is None:
            pin = self._phones.new_pin(phone_number, min(self._config.pin_length, MAX_CODE_LENGTH))
            found = TwilioVerification(
                _new_sid("VE"), account, service_sid, phone_number, pin, channel, now, now, 0, "[]"
            )
        attempts = json.loads(found.attempts)
        if len(attempts) >= MAX_SENDS:
            raise TooManySendsError
        attempts.append({"time": now, "channel": channel, "attempt_sid": _new_sid("VL")})
        found = found._replace(channel=channel, updated=now, attempts=json.dumps(attempts))
        self._write(found)
        self._phones.send(phone_number, _text(found.pin, channel), pin=found.pin, user_id="", channel=channel)
        return found

    def fetch(self, account: str, service_sid: str, sid: str) -> TwilioVerification | None:
        """Return the pending verification, or None."""
        self._forget_expired()
        return self._find("account = ? AND service_sid = ? AND sid = ?", account, service_sid, sid)

    def find(self, account: str, service_sid: str, phone_number: str) -> TwilioVerification | None:
        """Return the pending verification of a number, or None."""
        self._forget_expired()
        return self._find("account = ? AND service_sid = ? AND phone_number = ?", account, service_sid, phone_number)

    def check(self, verification: TwilioVerification, code: str) -> bool:
        """Return whether the code is right, which ends the verification.

        Raises:
            TooManyChecksError: five were wrong before.
        """
        if verification.checks >= MAX_CHECKS:
            raise TooManyChecksError
        if hmac.compare_digest(verification.pin.encode("ascii"), code.encode("utf-8", "replace")):
            self.end(verification)
            return True
        self._write(verification._replace(checks=verification.checks + 1, updated=self._clock.now()))
        return False

    def end(self, verification: TwilioVerification) -> None:
        """Forget a verification."""
        self._store.write("DELETE FROM twilio_verification WHERE sid = ?", (verification.sid,))

    def _forget_expired(self) -> None:
        self._store.write("DELETE FROM twilio_verification WHERE started <= ?", (self._clock.now() - LIFETIME,))

    def _find(self, where: str, *values: str) -> TwilioVerification | None:
        row = self._store.row(f"SELECT {_COLUMNS} FROM twilio_verification WHERE {where}", values)  # noqa: S608 - constant
        return _from_row(row) if row else None

    def _write(self, verification: TwilioVerification) -> None:
        placeholders = ", ".join("?" for _ in verification)
        self._store.write(
            f"INSERT OR REPLACE INTO twilio_verification ({_COLUMNS}) VALUES ({placeholders})",  # noqa: S608 - constant
            verification,
        )


def _text(pin: str, channel: str) -> str:
    if channel == CALL:  # as of a service with DtmfInputRequired, which is the default
        return f"Press any key to hear your verification code. Your verification code is: {pin}"
    return f"Your verification code is: {pin}"


def _new_sid(kind: str) -> str:
    return f"{kind}{secrets.token_hex(16)}"


def _from_row(row: Row) -> TwilioVerification:
    return TwilioVerification(*cast("tuple[str, str, str, str, str, str, float, float, int, str]", row))
