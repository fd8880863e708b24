"""Twilio Verify: its codes, by SMS, WhatsApp or call."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import suppress

from django.core.checks import CheckMessage, Error

from .. import check_ids, conf
from ..client import TwilioVerify
from ..client.options import ConnectionArguments, Unpack, takes_connection_options
from ..client.twilio_verify import CHANNELS, ENDPOINT, LIFETIME, MAX_CODE_LENGTH, MIN_CODE_LENGTH, is_verification_sid
from ..constants import METHOD_SMS
from ..exceptions import NoSuchResourceError, NoSuchServiceError, VerigatorError
from .base import Checked, HttpBackend, Recipient, Started
from .pin_options import checked_channels, checked_integer, checked_text


class TwilioVerifyBackend(HttpBackend):
    """Names the phone number at each start, and sends the SID it gets for that along with the code. Twilio makes and
    checks the code, and keeps no user record.

    A start within the life of a verification sends the same code, under the same SID. So two users with one number
    cannot log in at the same time: the second is refused until the first one's code is used or has expired.

    Args:
        account_sid, auth_token: the API credentials, or
        api_key_sid, api_key_secret: those of an API key.
        service_sid: the Verify service, "VA" and 32 hexadecimal digits.
        endpoint: the provider's address; ``http`` only on loopback, where it means the sandbox.
        channels: "sms", "whatsapp" and "call", those that the service has switched on.
        locale: the language of the texts ("et"). Default: that of the number's country.
        call_needs_key_press: what the service is set to (``DtmfInputRequired``); users are told so.
        pin_length: the digits that the service is set to (``CodeLength``), 4 to 10. Twilio is not asked.
        connection: see ``django_verigator.client.ConnectionOptions``.
    """

    @takes_connection_options
    def __init__(
        self,
        alias: str,
        *,
        account_sid: str = "",
        auth_token: str = "",
        api_key_sid: str = "",
        api_key_secret: str = "",
        service_sid: str = "",
        endpoint: str = ENDPOINT,
        channels: Sequence[str] = (METHOD_SMS,),
        locale: str | None = None,
        call_needs_key_press: bool = True,
        pin_length: int = 6,
        **connection: Unpack[ConnectionArguments],
    ) -> None:
        uses_key = _uses_api_key((account_sid, auth_token), (api_key_sid, api_key_secret))
        if not service_sid:
            raise ValueError('the service is missing: make one in Twilio\'s console and set OPTIONS["service_sid"]')
        self.service_sid = service_sid
        self.methods = checked_channels(channels, CHANNELS)
        self.locale = checked_text("locale", locale)
        if not isinstance(call_needs_key_press, bool):
            raise ValueError("call_needs_key_press must be True or False")
        self.call_needs_key_press = call_needs_key_press
        self.pin_length = checked_integer("pin_length", pin_length, MIN_CODE_LENGTH, MAX_CODE_LENGTH) or 0
        self.api = TwilioVerify(
            api_key_sid if uses_key else account_sid,
            api_key_secret if uses_key else auth_token,
            service_sid,
            endpoint,
            **connection,
        )
        super().__init__(alias, self.api, self.api.endpoint)

    def start(self, recipient: Recipient, method: str, *, timeout: float | None = None) -> Started:
        channel = next((each for each in (method, METHOD_SMS) if each in self.methods), self.methods[0])
        try:
            with self.api.within(timeout):
                started = self.api.start(recipient.phone_number, channel, locale=self.locale)
        except NoSuchResourceError as error:
            missing = error
        else:
            return Started(started.channel, started.sid)
        # A start names nothing but the service.
        raise NoSuchServiceError(
            'the provider has no such service: correct OPTIONS["service_sid"]',
            status=missing.status,
            method=missing.method,
            path=missing.path,
            provider_code=missing.provider_code,
        )

    def check(self, recipient: Recipient, pin: str, reference: str, *, timeout: float | None = None) -> Checked:
        if not is_verification_sid(reference):
            # The answer to the start was lost, and with it the SID.
            raise NoSuchResourceError("the start was never answered", sent=False)
        deadline = time.monotonic() + min(self.total_timeout, timeout or self.total_timeout)
        with self.api.within(timeout):
            verdict = self.api.check(reference, pin)
        if verdict.throttled:
            self._give_up(reference, deadline - time.monotonic())
        # The verdict is about every code of this SID, by whatever channel, so it names no method.
        return Checked(verdict.verified, expired=verdict.expired, throttled=verdict.throttled)

    def _give_up(self, sid: str, seconds: float) -> None:
        """Cancel a verification whose tries are used up, so that the next start makes another, with a code of its own.

        Else a stranger who has entered the number, and uses up the tries, keeps its owner out for ten minutes.
        protocol: that such a verification can still be canceled is a guess; where it cannot, it ends by itself.
        """
        with suppress(VerigatorError), self.api.within(max(seconds, 0.01)):
            self.api.cancel(sid)

    def system_checks(self) -> list[CheckMessage]:
        found = super().system_checks()
        config = conf.current()
        if config.LIMITS.CHALLENGE_SECONDS > LIFETIME:
            text = f"its codes expire after {LIFETIME} seconds, before CHALLENGE_SECONDS are over."
            hint = f"Set CHALLENGE_SECONDS to {LIFETIME} or less."
            found.append(self._message(Error, text, hint, id=check_ids.OPTIONS_CONTRADICT_SETTINGS))
        if self.pin_length < config.PIN_LENGTH:
            text = "its codes are shorter than PIN_LENGTH, and more easily guessed than the limits assume."
            hint = "Set the service's code length, and pin_length, to PIN_LENGTH or more."
            found.append(self._message(Error, text, hint, id=check_ids.OPTIONS_CONTRADICT_SETTINGS))
        others = [entry.get("OPTIONS") or {} for alias, entry in config.BACKENDS.items() if alias != self.alias]
        if any(options.get("service_sid") == self.service_sid for options in others):
            text = "another backend has the same service, which gives a number one code for both."
            hint = "Make a service for each, so that no code is good for two users."
            found.append(self._message(Error, text, hint, id=check_ids.OPTIONS_CONTRADICT_SETTINGS))
        return found


def _uses_api_key(account: tuple[str, str], api_key: tuple[str, str]) -> bool:
    """Say which of two pairs of credentials is there; raise ValueError unless it is exactly one, and whole."""
    given = [pair for pair in (account, api_key) if any(pair)]
    if len(given) != 1 or not all(given[0]):
        raise ValueError(
            'set either OPTIONS["account_sid"] and OPTIONS["auth_token"], or OPTIONS["api_key_sid"] and '
            'OPTIONS["api_key_secret"]'
        )
    return bool(api_key[0])
