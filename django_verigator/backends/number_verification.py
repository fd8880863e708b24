"""Messente's Number Verification API, the successor of the Verification API."""

from __future__ import annotations

from django.core.checks import CheckMessage
from django.core.checks import Warning as CheckWarning

from .. import check_ids
from ..client import NumberVerification
from ..client.number_verification import ENDPOINT, IN_QUERY, MAX_VALIDITY
from ..client.options import ConnectionArguments, Unpack, takes_connection_options
from ..constants import METHOD_SMS
from ..exceptions import NoSuchResourceError
from .base import Checked, HttpBackend, Recipient, Started, require_credentials
from .pin_options import PinOptions, checked_integer, checked_text


class NumberVerificationBackend(HttpBackend):
    """Names the phone number at each start, and sends the id it gets for that along with the PIN. The provider keeps no
    user record.

    The provider is not told the user's address or browser, and gets no cookie, so that no login goes without a PIN.

    Args:
        username, password: the API credentials.
        endpoint: the provider's address; ``http`` only on loopback, where it means the sandbox.
        backup_endpoint: called once where the first certainly did not do the work. Default: the provider's own for the
            default endpoint, none for any other; "" for none.
        sender: the name that the text comes from; must be activated on the account. Default: the provider's.
        template: the text, with ``<PIN>`` in it. Default: the provider's.
        pin_length: digits of the PIN, 4 to 16. Default: PIN_LENGTH.
        validity: seconds for which the PIN is good, 1800 at most. Default: CHALLENGE_SECONDS.
        max_tries: how often the provider sends the PIN by itself, the first time included. The default is 1, since
            users have a button for that, behind the limits that count what is sent.
        retry_delay: seconds between two of these sendings.
        parameters_in: where credentials, number and PIN stand in a request: in the "query" or in the "body".
        connection: see ``django_verigator.client.ConnectionOptions``.
    """

    methods = (METHOD_SMS,)

    @takes_connection_options
    def __init__(
        self,
        alias: str,
        *,
        username: str = "",
        password: str = "",
        endpoint: str = ENDPOINT,
        backup_endpoint: str | None = None,
        sender: str | None = None,
        template: str | None = None,
        pin_length: int | None = None,
        validity: int | None = None,
        max_tries: int = 1,
        retry_delay: int | None = None,
        parameters_in: str = IN_QUERY,
        **connection: Unpack[ConnectionArguments],
    ) -> None:
        require_credentials(username, password)
        self.pins = PinOptions.from_options(pin_length, validity, template)
        self.max_tries = checked_integer("max_tries", max_tries, 1, 10)
        self.retry_delay = checked_integer("retry_delay", retry_delay, 1, MAX_VALIDITY)
        self.sender = checked_text("sender", sender)
        self.api = NumberVerification(
            username,
            password,
            endpoint,
            backup_endpoint=backup_endpoint,
            parameters_in=parameters_in,
            **connection,
        )
        super().__init__(alias, self.api, self.api.endpoint, self.api.backup_endpoint)

    def start(self, recipient: Recipient, method: str, *, timeout: float | None = None) -> Started:
        with self.api.within(timeout):
            reference = self.api.start(
                recipient.phone_number,
                sender=self.sender,
                template=self.pins.template,
                pin_length=self.pins.pin_length,
                validity=self.pins.validity,
                max_tries=self.max_tries,
                retry_delay=self.retry_delay,
            )
        return Started(METHOD_SMS, reference)

    def check(self, recipient: Recipient, pin: str, reference: str, *, timeout: float | None = None) -> Checked:
        if not reference:
            # The answer to the start was lost, and with it the id of the verification.
            raise NoSuchResourceError("the start was never answered", sent=False)
        with self.api.within(timeout):
            verdict = self.api.pin(reference, pin)
        return Checked(verdict.verified, expired=verdict.expired, throttled=verdict.throttled, method=METHOD_SMS)

    def system_checks(self) -> list[CheckMessage]:
        found = [*super().system_checks(), *self.pins.system_checks(self.alias)]
        if self.max_tries != 1:
            text = f"the provider sends up to {self.max_tries} messages for each one that is counted."
            hint = "Leave max_tries out: users have a button for that, behind the limits."
            found.append(self._message(CheckWarning, text, hint, id=check_ids.PROVIDER_RESENDS))
        return found
