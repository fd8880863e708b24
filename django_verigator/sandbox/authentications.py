"""The rules of one authentication: start it by SMS or app, check the token, end it."""

from __future__ import annotations

import hmac
import uuid
from typing import NamedTuple, cast

from django_verigator.sandbox import totp
from django_verigator.sandbox.clock import Clock
from django_verigator.sandbox.directory import Service, User
from django_verigator.sandbox.phones import Phones
from django_verigator.sandbox.rules import Rules
from django_verigator.sandbox.store import Store

SMS, TOTP = METHODS = ("sms", "totp")
VERIFIED, INVALID, EXPIRED, THROTTLED = "VERIFIED", "INVALID", "EXPIRED", "THROTTLED"
TEXT = "Your Verification PIN code is {pin}"


class Authentication(NamedTuple):
    user_id: str
    auth_id: str
    method: str
    pin: str
    started: float
    wrong_tries: int


class Authentications:
    """At most one authentication is open for a user; a new start replaces it. Call these inside a transaction."""

    def __init__(self, store: Store, clock: Clock, phones: Phones, rules: Rules) -> None:
        self._store = store
        self._clock = clock
        self._phones = phones
        self._rules = rules

    def start(self, service: Service, user: User, method: str) -> Authentication:
        """Send the PIN, or ask the app. Without an app on the user's phone, "totp" becomes "sms"."""
        pin = ""
        if method == TOTP and self._phones.device(user.phone_number):
            self._phones.push(
                user.phone_number, f"{service.name} asks for a code for {user.id_in_service}", user_id=user.id
            )
        else:
            method, pin = SMS, self._phones.new_pin(user.phone_number, self._rules.pin_length)
            self._phones.send(user.phone_number, TEXT.format(pin=pin), pin=pin, user_id=user.id)
        started = Authentication(user.id, str(uuid.uuid4()), method, pin, self._clock.now(), 0)
        self._store.write(
            "INSERT OR REPLACE INTO authentication (user_id, auth_id, method, pin, started, wrong_tries)"
            " VALUES (?, ?, ?, ?, ?, ?)",
            started,
        )
        return started

    def open_for(self, user: User) -> Authentication | None:
        row = self._store.row(
            "SELECT user_id, auth_id, method, pin, started, wrong_tries FROM authentication WHERE user_id = ?",
            (user.id,),
        )
        return Authentication(*cast("tuple[str, str, str, str, float, int]", row)) if row else None

    def check(self, user: User, opened: Authentication, token: str) -> str:
        """One of the four result words. Success ends the authentication; a wrong token counts."""
        if self._clock.now() > opened.started + self._rules.pin_validity:
            return EXPIRED
        if opened.wrong_tries >= self._rules.max_tries:
            return THROTTLED
        if self._is_right(user, opened, token):
            self._store.write("DELETE FROM authentication WHERE user_id = ?", (user.id,))
            return VERIFIED
        self._store.write("UPDATE authentication SET wrong_tries = wrong_tries + 1 WHERE user_id = ?", (user.id,))
        return INVALID

    def _is_right(self, user: User, opened: Authentication, token: str) -> bool:
        if opened.method == SMS:
            return hmac.compare_digest(opened.pin.encode("ascii"), token.encode("utf-8", "replace"))
        device = self._phones.device(user.phone_number)
        if device is None:
            return False
        row = self._store.row(
            "SELECT step FROM accepted_step WHERE user_id = ? AND secret = ?", (user.id, device.secret)
        )
        used = cast("int", row[0]) if row else -1
        step = totp.matching_step(device.secret, token, self._clock.now(), after=used)
        if step is None:
            return False
        self._store.write("INSERT OR REPLACE INTO accepted_step VALUES (?, ?, ?)", (user.id, device.secret, step))
        return True
