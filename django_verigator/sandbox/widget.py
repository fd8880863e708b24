"""Answer for the Verification Widget: check what a site asks, send and check its PINs, and sign the outcome."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from typing import NamedTuple

from .config import ProviderConfig
from .constants import DEFAULT_TEXT
from .number_verifications import NumberVerifications, StartParameters
from .store import Store

VERSION = "1"
CANCELLED = "CANCELLED"
REQUEST_KEYS = ("user", "version", "callback_url", "phone", "sig")
SIGNED_KEYS = ("user", "phone", "version", "callback_url", "status")
SENDINGS, RETRY_DELAY = 1, 30


class WidgetError(ValueError):
    """Refuse a request of a site; the message says why."""


class WidgetRequest(NamedTuple):
    """Hold what a site asks, as it was signed; without ``phone`` the user types the number."""

    user: str
    version: str
    callback_url: str
    sig: str
    phone: str | None = None


def signature(parameters: Mapping[str, str], password: str) -> str:
    """Return the signature (protocol: Verification Widget): MD5 over sorted keys and values, password included."""
    values = {key: parameters[key] for key in SIGNED_KEYS if key in parameters} | {"pass": password}
    text = "".join(key + values[key] for key in sorted(values))
    # Messente's choice. It keeps nothing safe that is worth more than a stand-in.
    return hashlib.md5(text.encode("utf-8", "replace"), usedforsecurity=False).hexdigest()


class Widget:
    """Simulate what is behind the widget's page."""

    def __init__(self, store: Store, verifications: NumberVerifications, config: ProviderConfig) -> None:
        self._store = store
        self._verifications = verifications
        self._config = config

    def read(self, parameters: Mapping[str, str]) -> WidgetRequest:
        """Return what a site asks.

        Raises:
            WidgetError: a parameter is missing or wrong, or the signature is.
        """
        for key in ("user", "version", "callback_url", "sig"):
            if not parameters.get(key):
                raise WidgetError(f"The parameter {key} is missing")
        if parameters["version"] != VERSION:
            raise WidgetError(f"The version must be {VERSION}")
        password = self._config.accounts.get(parameters["user"])
        given = {key: parameters[key] for key in REQUEST_KEYS if key in parameters}
        expected = signature(given, password or "")
        if password is None or not hmac.compare_digest(expected.encode(), given["sig"].encode("utf-8", "replace")):
            raise WidgetError("The signature is wrong")
        return WidgetRequest(**given)

    def send(self, request: WidgetRequest, phone_number: str) -> str:
        """Send a PIN to a number that ``parse_phone_number`` returned, and return the id of the verification."""
        start = StartParameters(
            account=request.user,
            phone_number=phone_number,
            template=DEFAULT_TEXT,
            pin_length=self._config.pin_length,
            sendings=SENDINGS,
            retry_delay=RETRY_DELAY,
            validity=int(self._config.pin_validity),
        )
        with self._store.transaction():
            return self._verifications.start(start)

    def check(self, request: WidgetRequest, verification_id: str, pin: str) -> tuple[str, str]:
        """Return VERIFIED, INVALID, EXPIRED or THROTTLED, and the number that the PIN went to; "" for an unknown id."""
        with self._store.transaction():
            # The number that the PIN went to: what the browser says could be another one.
            number = self._verifications.phone_number(request.user, verification_id)
            if number is None:
                return "", ""
            return self._verifications.check(request.user, verification_id, pin, "", "") or "", number

    def answer(self, request: WidgetRequest, status: str, phone_number: str) -> dict[str, str]:
        """Return what the browser takes back to the site.

        Args:
            status: VERIFIED or CANCELLED.
            phone_number: "" leaves it out, for a user who cancels before typing one.
        """
        values = {"user": request.user, "version": VERSION, "status": status}
        if phone_number:
            values["phone"] = phone_number
        return {**values, "sig": signature(values, self._config.accounts[request.user])}
