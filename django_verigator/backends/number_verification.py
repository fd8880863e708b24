"""Messente's Number Verification API, the successor of the Verification API."""

from __future__ import annotations

from urllib.parse import urlsplit

from django.core.checks import CheckMessage, Error
from django.core.checks import Warning as CheckWarning

from .. import check_ids, conf
from ..client import NumberVerification, is_loopback
from ..client.number_verification import ENDPOINT, MAX_PIN_LENGTH, MAX_VALIDITY, MIN_PIN_LENGTH, PIN_PLACE
from ..constants import METHOD_SMS
from ..exceptions import NoSuchResourceError
from .base import BaseBackend, Checked, Recipient, Started
from .options import private_endpoints, too_patient

MAX_TEMPLATE = 255


class NumberVerificationBackend(BaseBackend):
    """Each start names the phone number and is given an id, which goes along with the PIN. No user record is kept.

    Neither the user's address nor browser is told, and no cookie, so that no login goes without a PIN.

    Args:
        username, password: the API credentials.
        endpoint: the provider's address; ``http`` only on loopback, where it means the sandbox.
        backup_endpoint: asked once where the first certainly did not do the work. Default: the provider's own for the
            default endpoint, none for any other; "" for none.
        sender: the name the text comes from; must be activated on the account. Default: the provider's.
        template: the text, with ``<PIN>`` in it. Default: the provider's.
        pin_length: digits of the PIN, 4 to 16. Default: PIN_LENGTH.
        validity: seconds for which the PIN is good, 1800 at most. Default: CHALLENGE_SECONDS.
        max_tries: how often the provider sends the PIN by itself, the first time included. The default is 1, since
            the user has a button for that, behind the limits that count what is sent.
        retry_delay: seconds between two of these sendings.
        connect_timeout, read_timeout, total_timeout: seconds.
        proxies: as requests takes them; the environment's are not read.
        ca_bundle: path of a CA bundle instead of certifi's.
        credentials_in_query: send credentials and PIN behind the path and not in the body, should the service insist.
    """

    methods = (METHOD_SMS,)

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
        connect_timeout: float = 3.0,
        read_timeout: float = 5.0,
        total_timeout: float = 8.0,
        proxies: dict[str, str] | None = None,
        ca_bundle: str | None = None,
        credentials_in_query: bool = False,
    ) -> None:
        super().__init__(alias)
        if not (username and password):
            raise ValueError('the API credentials are missing: set OPTIONS["username"] and OPTIONS["password"]')
        config = conf.current()
        self.pin_length = _whole("pin_length", pin_length, MIN_PIN_LENGTH, MAX_PIN_LENGTH) or config.PIN_LENGTH
        self.validity = _whole("validity", validity, 1, MAX_VALIDITY) or config.LIMITS.CHALLENGE_SECONDS
        self.max_tries = _whole("max_tries", max_tries, 1, 10)
        self.retry_delay = _whole("retry_delay", retry_delay, 1, MAX_VALIDITY)
        self.sender = _text("sender", sender)
        self.template = _text("template", template)
        if self.template is not None and PIN_PLACE not in self.template:
            raise ValueError(f"template must hold {PIN_PLACE}, where the PIN is put")
        self.credentials_in_query = credentials_in_query
        self.api = NumberVerification(
            username,
            password,
            endpoint,
            backup_endpoint=backup_endpoint,
            connect_timeout=connect_timeout,
            read_timeout=read_timeout,
            total_timeout=total_timeout,
            proxies=proxies,
            ca_bundle=ca_bundle,
            credentials_in_query=credentials_in_query,
        )
        self.total_timeout = total_timeout
        # What answers on this machine is the sandbox.
        addresses = (self.api.endpoint, self.api.backup_endpoint)
        self.is_stand_in = any(is_loopback(urlsplit(address).hostname or "") for address in addresses)

    def start(self, recipient: Recipient, method: str, *, timeout: float | None = None) -> Started:
        with self.api.within(timeout):
            reference = self.api.start(
                recipient.phone_number,
                sender=self.sender,
                template=self.template,
                pin_length=self.pin_length,
                validity=self.validity,
                max_tries=self.max_tries,
                retry_delay=self.retry_delay,
            )
        return Started(METHOD_SMS, reference)

    def check(self, recipient: Recipient, pin: str, reference: str, *, timeout: float | None = None) -> Checked:
        if not reference:
            # The answer to the start was lost, and the id of its verification with it.
            raise NoSuchResourceError("the start was never answered", sent=False)
        with self.api.within(timeout):
            verdict = self.api.pin(reference, pin)
        return Checked(verdict.verified, expired=verdict.expired, throttled=verdict.throttled, method=METHOD_SMS)

    def system_checks(self) -> list[CheckMessage]:
        found = [*too_patient(self), *private_endpoints(self, [self.api.endpoint, self.api.backup_endpoint])]
        where = f'VERIGATOR["BACKENDS"]["{self.alias}"]'
        config = conf.current()
        if self.validity < config.LIMITS.CHALLENGE_SECONDS:
            found.append(
                Error(
                    f"{where}: its PINs expire before CHALLENGE_SECONDS are over.",
                    hint="Leave validity out, or make it at least as long.",
                    id=check_ids.OPTIONS_CONTRADICT_SETTINGS,
                )
            )
        if self.pin_length < config.PIN_LENGTH:
            found.append(
                Error(
                    f"{where}: its PINs are shorter than PIN_LENGTH, and more easily guessed than the limits assume.",
                    hint="Leave pin_length out, or make it at least as long.",
                    id=check_ids.OPTIONS_CONTRADICT_SETTINGS,
                )
            )
        if self.max_tries != 1:
            found.append(
                CheckWarning(
                    f"{where}: the provider sends up to {self.max_tries} messages for each one that is counted.",
                    hint="Leave max_tries out: users have a button for that, behind the limits.",
                    id=check_ids.PROVIDER_RESENDS,
                )
            )
        if self.credentials_in_query:
            found.append(
                CheckWarning(
                    f"{where}: credentials and PINs stand in addresses, which servers on the way log.",
                    hint="Set credentials_in_query only if the service refuses them in the body.",
                    id=check_ids.CREDENTIALS_IN_ADDRESSES,
                )
            )
        return found


def _whole(name: str, value: int | None, least: int, most: int) -> int | None:
    if value is None:
        return None
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        raise ValueError(f"{name} must be an integer from {least} to {most}")
    return value


def _text(name: str, value: str | None) -> str | None:
    if value is None:
        return None
    if not isinstance(value, str) or not value.strip() or len(value) > MAX_TEMPLATE:
        raise ValueError(f"{name} must be a text of at most {MAX_TEMPLATE} characters")
    return value
