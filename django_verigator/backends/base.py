"""What a provider can do, as the flows see it. A backend knows no model and counts nothing; it starts and checks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NoReturn

from django.core.checks import CheckMessage

from ..constants import METHOD_SMS, METHOD_TOTP


@dataclass(frozen=True, slots=True)
class Recipient:
    """Whom a code is for.

    Attributes:
        user_id: the provider's UserID, or "" where the provider keeps no user records.
        phone_number: E.164, or "" where the UserID is enough.
    """

    user_id: str
    phone_number: str = ""

    def __repr__(self) -> str:
        return "<Recipient>"


@dataclass(frozen=True, slots=True)
class Started:
    """A code is on its way.

    Attributes:
        method: how it really went, "sms" or "totp".
        reference: what the provider wants back with the PIN, or "".
    """

    method: str
    reference: str = ""


@dataclass(frozen=True, slots=True)
class Checked:
    """The provider's verdict on a PIN.

    Attributes:
        verified: True for the right PIN, and then neither of the others is.
        expired: the code is too old; only a new one helps.
        throttled: the provider takes no more tries for this code.
        method: what the verdict is about, "sms" or "totp"; "" where the provider does not say.
    """

    verified: bool
    expired: bool = False
    throttled: bool = False
    method: str = ""


@dataclass(frozen=True, slots=True)
class RemoteUser:
    """A user record at the provider."""

    user_id: str
    id_in_service: str


class BaseBackend:
    """One provider, built from one entry of VERIGATOR["BACKENDS"].

    A subclass takes its options as keyword-only parameters, so that a misspelt one fails at once. Every method may
    raise a VerigatorError; ``sent`` on it tells whether the provider may have seen the call. ``timeout`` is the number
    of seconds the call may take in all; None leaves it to the backend's own setting.
    """

    keeps_users: bool = False
    """The provider has user records, so users are registered before they can be sent a code."""

    methods: tuple[str, ...] = (METHOD_SMS, METHOD_TOTP)
    """How it can send. One that cannot send by the method asked for sends a text message instead, and says so."""

    is_stand_in: bool = False
    """For tests and development only; refused with DEBUG off unless VERIGATOR["STAND_IN"] is set."""

    total_timeout: float = 8.0
    """Seconds within which a request that needs several calls of this backend must be done with all of them."""

    def __init__(self, alias: str) -> None:
        self.alias = alias

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.alias!r}>"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a backend holds credentials and connections, and is not pickled or copied")

    def start(self, recipient: Recipient, method: str, *, timeout: float | None = None) -> Started:
        """Send a code by ``method`` ("sms" or "totp") and say how it really went."""
        raise NotImplementedError

    def check(self, recipient: Recipient, pin: str, reference: str, *, timeout: float | None = None) -> Checked:
        """Ask whether ``pin`` is right for the code started last. Only an explicit yes is one."""
        raise NotImplementedError

    def register(self, phone_number: str, id_in_service: str, *, timeout: float | None = None) -> str:
        """Create the user record and return its UserID."""
        raise NotImplementedError

    def unregister(self, user_id: str, *, timeout: float | None = None) -> None:
        """Delete the user record; one that is gone already is no error."""
        raise NotImplementedError

    def exists(self, user_id: str, *, timeout: float | None = None) -> bool:
        """Say whether the user record is still there."""
        raise NotImplementedError

    def users(self) -> Iterator[RemoteUser]:
        """Yield every user record of the service, as a stream."""
        raise NotImplementedError

    def close(self) -> None:
        """Let go of the connections of the thread that calls this; a thread that ends says so."""

    def system_checks(self) -> list[CheckMessage]:
        """Return what is wrong with this backend's options."""
        return []
