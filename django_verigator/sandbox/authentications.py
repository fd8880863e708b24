"""Start and check the authentications of the Verification API, by SMS or app."""

from __future__ import annotations

import hmac
import uuid
from typing import NamedTuple, cast

from . import totp
from .clock import Clock
from .config import ProviderConfig
from .constants import DEFAULT_TEXT, EXPIRED, INVALID, PIN_PLACEHOLDER, SMS, THROTTLED, TOTP, VERIFIED
from .directory import Service, User
from .phones import Phones
from .store import Store


class Authentication(NamedTuple):
    """Hold a started authentication; ``started`` is in seconds since 1970, ``pin`` is "" for the app."""

    user_id: str
    auth_id: str
    method: str
    pin: str
    started: float
    wrong_tries: int


class Authentications:
    """Keep at most one open authentication for each user. Call the methods inside a transaction."""

    def __init__(self, store: Store, clock: Clock, phones: Phones, config: ProviderConfig) -> None:
        self._store = store
        self._clock = clock
        self._phones = phones
        self._config = config

    def start(self, service: Service, user: User, method: str) -> Authentication:
        """Send the PIN or notify the app, and replace the user's open authentication.

        Without the app on the user's phone, "totp" becomes "sms" (Messente's documentation, "start authentication").
        """
        pin = ""
        if method == TOTP and self._phones.device(user.phone_number):
            text = f"{service.name} asks for a code for {user.id_in_service}"
            self._phones.push(user.phone_number, text, user_id=user.id)
        else:
            method, pin = SMS, self._phones.new_pin(user.phone_number, self._config.pin_length)
            text = DEFAULT_TEXT.replace(PIN_PLACEHOLDER, pin)
            self._phones.send(user.phone_number, text, pin=pin, user_id=user.id)
        authentication = Authentication(user.id, str(uuid.uuid4()), method, pin, self._clock.now(), 0)
        self._store.write(
            "INSERT OR REPLACE INTO authentication (user_id, auth_id, method, pin, started, wrong_tries)"
            " VALUES (?, ?, ?, ?, ?, ?)",
            authentication,
        )
        return authentication

    def open_for(self, user: User) -> Authentication | None:
        """Return the user's open authentication, or None."""
        row = self._store.row(
            "SELECT user_id, auth_id, method, pin, started, wrong_tries FROM authentication WHERE user_id = ?",
            (user.id,),
        )
        return Authentication(*cast("tuple[str, str, str, str, float, int]", row)) if row else None

    def check(self, user: User, authentication: Authentication, token: str) -> str:
        """Return VERIFIED, INVALID, EXPIRED or THROTTLED. Success ends the authentication; a wrong token is counted."""
        if self._clock.now() > authentication.started + self._config.pin_validity:
            return EXPIRED
        if authentication.wrong_tries >= self._config.max_tries:
            return THROTTLED
        if self._token_matches(user, authentication, token):
            self._store.write("DELETE FROM authentication WHERE user_id = ?", (user.id,))
            return VERIFIED
        self._store.write("UPDATE authentication SET wrong_tries = wrong_tries + 1 WHERE user_id = ?", (user.id,))
        return INVALID

    def _token_matches(self, user: User, authentication: Authentication, token: str) -> bool:
        if authentication.method == SMS:
            return hmac.compare_digest(authentication.pin.encode("ascii"), token.encode("utf-8", "replace"))
        device = self._phones.device(user.phone_number)
        if device is None:
            return False
        row = self._store.row(
            "SELECT step FROM accepted_step WHERE user_id = ? AND secret = ?", (user.id, device.secret)
        )
        last_step = cast("int", row[0]) if row else -1
        step = totp.matching_step(device.secret, token, self._clock.now(), after=last_step)
        if step is None:
            return False
        self._store.write("INSERT OR REPLACE INTO accepted_step VALUES (?, ?, ?)", (user.id, device.secret, step))
        return True
