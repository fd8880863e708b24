"""What a provider's call can end in.

The first eight names are those of Messente's Python library, so that code written for it keeps its ``except`` clauses.
A wrong *setting* is ``django.core.exceptions.ImproperlyConfigured`` and stands outside this tree on purpose:
``except VerigatorError`` must never hide it.
"""

from __future__ import annotations

import enum
from datetime import datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Any


class VerigatorError(Exception):
    """A call to the provider did not end in an answer that can be used.

    The message is ours: never the provider's text, a credential, a PIN or a phone number.

    Attributes:
        status: the HTTP status, or None where no answer came.
        method: the HTTP method, or "".
        path: the path that was asked for, without host and query, or "".
        sent: False only if it is certain that the provider never saw the request.
        retry_after: seconds the provider asked to wait (0 to 3600), or None.
        reason: a stable word for this kind of error; stored and logged.
        why: a word for how it failed, where no answer came ("refused", "unknown_ca", ...), or "".
        address: host and port where it did, or "".
    """

    reason = "error"

    def __init__(
        self,
        message: str = "",
        *,
        status: int | None = None,
        method: str = "",
        path: str = "",
        sent: bool = True,
        retry_after: int | None = None,
        why: str = "",
        address: str = "",
    ) -> None:
        super().__init__(message)
        self.message = message
        self.status = status
        self.method = method
        self.path = path
        self.sent = sent
        self.retry_after = retry_after
        self.why = why
        self.address = address

    @property
    def details(self) -> dict[str, Any]:
        """What a log line tells of it."""
        known = {"reason": self.reason, "status": self.status}
        return known | ({"why": self.why, "address": self.address} if self.why else {})

    @property
    def cause(self) -> str:
        """The words of it in one: ``"connection: refused at 192.0.2.1:443"``."""
        return f"{self.reason}: {self.why} at {self.address}" if self.why else self.reason

    @property
    def code(self) -> int:
        """The HTTP status as Messente's library names it; 0 where no usable answer came."""
        return self.status or 0

    def __str__(self) -> str:
        where = f"{self.method} {self.path}".strip()
        status = f"HTTP {self.status}" if self.status else ""
        return ": ".join(part for part in (where, status, self.message or self.reason) if part)

    def __reduce__(self) -> tuple[object, ...]:
        # Task queues pickle exceptions; keyword-only arguments need help.
        return (_rebuild, (type(self), self.message, dict(self.__dict__)))


def _rebuild(cls: type[VerigatorError], message: str, state: dict[str, object]) -> VerigatorError:
    error = cls(message)
    error.__dict__.update(state)
    return error


class InvalidDataError(VerigatorError):
    """400 or 422: the provider refuses what was sent (a phone number, for instance)."""

    reason = "invalid_data"


class WrongCredentialsError(VerigatorError):
    """401: the API username or password is wrong, or was revoked."""

    reason = "wrong_credentials"


class ResourceForbiddenError(VerigatorError):
    """403: the service or user belongs to another account."""

    reason = "forbidden"


class NoSuchResourceError(VerigatorError):
    """404: no such service, user, or running authentication."""

    reason = "not_found"


class NoSuchServiceError(VerigatorError):
    """404 of everything, since the provider has no service under the ``service_id`` of the settings."""

    reason = "no_such_service"


class ResourceAlreadyExistsError(VerigatorError):
    """409: the service or ``id_in_service`` is taken."""

    reason = "already_exists"


class InternalError(VerigatorError):
    """5xx: the provider failed."""

    reason = "provider_error"


class InvalidResponseError(VerigatorError):
    """An answer that is not what the protocol says: no JSON object, a missing key, too long, a redirect."""

    reason = "invalid_response"


class ThrottledError(VerigatorError):
    """429: too many calls; ``retry_after`` says for how long to leave it alone, if the provider said so."""

    reason = "throttled"


class RequestTimeoutError(VerigatorError):
    """No complete answer within the connect, read or total time limit."""

    reason = "timeout"


class ConnectionFailedError(VerigatorError):
    """No connection, or it broke: refused, reset, unresolved, TLS not acceptable."""

    reason = "connection"


class CircuitOpenError(VerigatorError):
    """Not asked: the provider did not answer lately, and is left alone for ``retry_after`` seconds."""

    reason = "circuit_open"


class ProviderBusyError(VerigatorError):
    """Not asked: as many calls as one process may make at once are waiting for the provider."""

    reason = "busy"


class Reason(enum.Enum):
    """The value is the word that is logged and sent with signals."""

    WRONG = "wrong"  # the provider says the PIN is not right
    UNCLEAR = "unclear"  # the provider was asked, its verdict did not arrive or made no sense
    UNAVAILABLE = "unavailable"  # the provider could not be asked
    EXPIRED = "expired"  # the code is too old, or the provider knows of none
    USED = "used"  # this code has logged in somebody already
    SUPERSEDED = "superseded"  # a newer code was sent
    TOO_MANY_TRIES = "too_many_tries"  # for this code: only a new one helps
    LOCKED = "locked"  # for this user, for some time
    NOTHING_SENT = "nothing_sent"  # there is no code yet
    LOST = "lost"  # the provider's answer was, and with it what a PIN could be checked against
    PAUSE = "pause"  # a code went out a moment ago
    SEND_LIMIT = "send_limit"  # too many codes for this user, number or address
    SITE_BUDGET = "site_budget"  # the site's budget of codes is used up
    WRONG_PASSWORDS = "wrong_passwords"  # too many wrong passwords where it is asked for once more
    SAME_PHONE = "same_phone"  # the new number is the one in force
    CHANGE_LIMIT = "change_limit"  # too many new numbers
    STOPPED = "stopped"  # too many wrong PINs in a row: only support or a new password helps
    NUMBER_REFUSED = "number_refused"  # a country or kind of number that no code is sent to
    WRONG_CODE = "wrong_code"  # a recovery code that is none, or was used
    SMS_FORBIDDEN = "sms_forbidden"  # only the app is allowed, and it is not linked
    NO_PHONE = "no_phone"  # there is no number to send to
    BUSY = "busy"  # the user is just being registered by somebody else
    REPEATED = "repeated"  # this very form was posted before
    ENDED = "ended"  # the pending login is over: back to the password


class Refused(Exception):  # noqa: N818 - the field's word; nothing went wrong
    """A flow refuses. Carries no PIN, number or provider text.

    Attributes:
        reason: why.
        until: when trying again makes sense, or None.
        tries_left: for a wrong PIN, how many more may be tried against this code.
        scope: for a limit, which one.
    """

    def __init__(
        self,
        reason: Reason,
        *,
        until: datetime | None = None,
        tries_left: int | None = None,
        scope: str = "",
    ) -> None:
        super().__init__(reason.value)
        self.reason = reason
        self.until = until
        self.tries_left = tries_left
        self.scope = scope
