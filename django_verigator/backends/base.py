"""What a provider can do, as the flows see it. A backend knows no model and counts nothing; it starts and checks."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from enum import Enum
from typing import Any, NoReturn
from urllib.parse import urlsplit

from django.core.checks import CheckMessage, Error
from django.core.checks import Warning as CheckWarning

from .. import check_ids
from ..client import ConnectionOptions, is_loopback
from ..client.http import Client
from ..client.options import longest_advised
from ..constants import METHOD_SMS, METHOD_TOTP


@dataclass(frozen=True, slots=True)
class Recipient:
    """Whom a code is for.

    Attributes:
        user_id: the provider's UserID, or "" where the provider keeps no user records.
        phone_number: in E.164, or "" where the UserID is enough.
        report_url: where the provider may post what became of the message, or "". Whoever knows it can post there.
    """

    user_id: str
    phone_number: str = ""
    report_url: str = ""

    def __repr__(self) -> str:
        return "<Recipient>"


@dataclass(frozen=True, slots=True)
class Started:
    """What a start has led to: a code is on its way.

    Attributes:
        method: how it really went: "sms", "totp", "call" or "whatsapp".
        reference: what the provider wants back with the PIN, or "".
        message_id: the provider's id of the message, to ask what became of it, or "".
        channel: what the message goes by where that is not the method itself ("viber"), or "". At most 12 characters.
    """

    method: str
    reference: str = ""
    message_id: str = ""
    channel: str = ""


@dataclass(frozen=True, slots=True)
class Checked:
    """The provider's verdict on a PIN.

    Attributes:
        verified: True for the right PIN; then ``expired`` and ``throttled`` are False.
        expired: the code is too old, and only a new one helps.
        throttled: the provider takes no more tries for this code.
        method: what the verdict is about, as in ``Started``; "" if the provider does not say.
    """

    verified: bool
    expired: bool = False
    throttled: bool = False
    method: str = ""


class DeliveryStatus(str, Enum):
    """What became of a message, in few words for all providers.

    Each says more than those before it, and is never replaced by one of them, in whatever order reports come.
    """

    SENT = "sent"
    """The provider or the network has taken it."""
    EXPIRED = "expired"
    """It does not arrive, on any channel: the phone was not reached in time."""
    UNDELIVERED = "undelivered"
    """It does not arrive, on any channel."""
    DELIVERED = "delivered"
    SEEN = "seen"

    @property
    def is_failure(self) -> bool:
        return self in (DeliveryStatus.EXPIRED, DeliveryStatus.UNDELIVERED)


@dataclass(frozen=True, slots=True)
class DeliveryReport:
    """What a provider says about a message.

    Attributes:
        status: where the message is now.
        channel: how it goes: "sms", "viber", "whatsapp", "rcs"; "" if the provider does not say.
        error: the provider's word or number for why it did not arrive, or "". At most 32 characters.
        price: what the message costs in the currency of the account, or None.
    """

    status: DeliveryStatus
    channel: str = ""
    error: str = ""
    price: Decimal | None = None


@dataclass(frozen=True, slots=True)
class RemoteUser:
    """A user record at the provider."""

    user_id: str
    id_in_service: str


class BaseBackend:
    """One provider, built from one entry of VERIGATOR["BACKENDS"].

    A subclass takes its options as keyword-only parameters, so that a misspelt one fails at once. Every method may
    raise a VerigatorError, whose ``sent`` tells whether the provider may have seen the call. ``timeout`` is the number
    of seconds that the call may take in all; None leaves it to ``total_timeout``.
    """

    keeps_users: bool = False
    """The provider has user records, so users are registered before they can be sent a code."""

    methods: tuple[str, ...] = (METHOD_SMS, METHOD_TOTP)
    """How it can send: "sms", "totp", "call", "whatsapp". One that is asked for "totp" and knows no app sends a text
    message, and says so; it is asked for nothing else that is not here."""

    call_needs_key_press: bool = False
    """Before it reads the code, a call asks for a key press, so that no voice mail takes the code."""

    checks_pins_itself: bool = False
    """``check`` asks nobody: it works while the provider is down."""

    reports_delivery: bool = False
    """``report`` tells what became of a message."""

    report_base: str = ""
    """The site's address in front of the path that reports are posted to (``https://shop.example``), or ""."""

    is_stand_in: bool = False
    """For tests and development only; refused with DEBUG off unless VERIGATOR["STAND_IN"] is set."""

    total_timeout: float = ConnectionOptions.total_timeout
    """Seconds for all calls of this backend that one request needs."""

    def __init__(self, alias: str) -> None:
        self.alias = alias

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.alias!r}>"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a backend holds credentials and connections, and is not pickled or copied")

    def start(self, recipient: Recipient, method: str, *, timeout: float | None = None) -> Started:
        """Send a code by ``method`` and return how it really went."""
        raise NotImplementedError

    def check(self, recipient: Recipient, pin: str, reference: str, *, timeout: float | None = None) -> Checked:
        """Ask whether ``pin`` is right for the code that was started last. Only an explicit yes counts as one."""
        raise NotImplementedError

    def report(self, message_id: str, *, timeout: float | None = None) -> DeliveryReport:
        """Ask what became of a message."""
        raise NotImplementedError

    def read_report(self, body: bytes) -> tuple[str, DeliveryReport]:
        """Return the message id and the report that a provider has posted to ``Recipient.report_url``.

        Raises:
            ValueError: it is no report.
        """
        raise NotImplementedError

    def register(self, phone_number: str, id_in_service: str, *, timeout: float | None = None) -> str:
        """Create the user record and return its UserID."""
        raise NotImplementedError

    def unregister(self, user_id: str, *, timeout: float | None = None) -> None:
        """Delete the user record; it may be gone already."""
        raise NotImplementedError

    def exists(self, user_id: str, *, timeout: float | None = None) -> bool:
        """Return whether the user record is still there."""
        raise NotImplementedError

    def users(self) -> Iterator[RemoteUser]:
        """Yield every user record of the service, as a stream."""
        raise NotImplementedError

    def close(self) -> None:
        """Close the connections of the calling thread, which is about to end."""

    def system_checks(self) -> list[CheckMessage]:
        """Return what is wrong with this backend's options."""
        return []


class HttpBackend(BaseBackend):
    """A backend that uses one of the clients of this package.

    Args:
        addresses: the endpoints of the client.
        options: for the next class, where a backend has two.
    """

    def __init__(self, alias: str, client: Client, *addresses: str, **options: Any) -> None:
        super().__init__(alias, **options)
        self.total_timeout = client.total_timeout
        self._client = client
        self._hosts = [urlsplit(address).hostname or "" for address in addresses]
        self.is_stand_in = any(map(is_loopback, self._hosts))  # What answers on this machine is the sandbox.

    def close(self) -> None:
        self._client.close()

    def system_checks(self) -> list[CheckMessage]:
        found = super().system_checks()
        advised = longest_advised("total_timeout")
        if self.total_timeout > advised:
            text = f"a request may wait {self.total_timeout:g} seconds for it."
            hint = f"Web servers give up on a worker after about 30: set total_timeout to {advised:g} or less."
            found.append(self._message(CheckWarning, text, hint, id=check_ids.BACKEND_WAITS_TOO_LONG))
        # The provider is on the internet; a machine next door must not get what is sent.
        hint = "Leave endpoint out for the provider's own; the sandbox of this machine is at a loopback address."
        private = self._message(Error, "its endpoint is a private address.", hint, id=check_ids.ENDPOINT_PRIVATE)
        return [*found, *(private for host in self._hosts if _is_private(host))]

    def _message(self, kind: type[Error | CheckWarning], text: str, hint: str, *, id: str) -> CheckMessage:  # noqa: A002
        return kind(f'VERIGATOR["BACKENDS"]["{self.alias}"]: {text}', hint=hint, id=id)


def require_credentials(username: str, password: str) -> None:
    """Raise ValueError unless the options have API credentials."""
    if not (username and password):
        raise ValueError('the API credentials are missing: set OPTIONS["username"] and OPTIONS["password"]')


def _is_private(host: str) -> bool:
    try:
        return not is_loopback(host) and not ipaddress.ip_address(host).is_global
    except ValueError:  # A name.
        return False
