"""The errors of a call to the provider, and the refusal of a flow.

The names from VerigatorError to InvalidResponseError, but for NoSuchServiceError, are those of Messente's Python
library, so that code written for it keeps its ``except`` clauses. A wrong *setting* is Django's
``ImproperlyConfigured``, which ``except VerigatorError`` must never hide.
"""

from __future__ import annotations

import enum
from datetime import datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Any


class VerigatorError(Exception):
    """A call to the provider that brought no usable answer.

    The message never holds the provider's text, a credential, a PIN or a phone number.

    Attributes:
        status: the HTTP status, or None where no answer came.
        method: the HTTP method, or "".
        path: the path of the URL, without host and query, or "".
        sent: False only if it is certain that the provider never saw the request.
        retry_after: seconds the provider asked to wait (0 to 3600), or None.
        reason: a stable word for this kind of error, stored and logged.
        why: a word for the cause where no answer came ("refused", "unknown_ca", ...), or "".
        address: host and port that did not answer, or "".
        reference: what a PIN can be checked against although the answer to a start is lost, or "".
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
        self.reference = ""

    @property
    def details(self) -> dict[str, Any]:
        """Return what a log line shows of the error."""
        known = {"reason": self.reason, "status": self.status}
        return known | ({"why": self.why, "address": self.address} if self.why else {})

    @property
    def cause(self) -> str:
        """Return reason and cause as one text: ``"connection: refused at 192.0.2.1:443"``."""
        return f"{self.reason}: {self.why} at {self.address}" if self.why else self.reason

    @property
    def code(self) -> int:
        """Return the HTTP status, under the name in Messente's library; 0 where no answer came."""
        return self.status or 0

    def __str__(self) -> str:
        where = f"{self.method} {self.path}".strip()
        status = f"HTTP {self.status}" if self.status else ""
        return ": ".join(part for part in (where, status, self.message or self.reason) if part)

    def __reduce__(self) -> tuple[object, ...]:
        # Task queues pickle exceptions, which by default lose their keyword-only arguments.
        return (_rebuild, (type(self), self.message, dict(self.__dict__)))


def _rebuild(cls: type[VerigatorError], message: str, state: dict[str, object]) -> VerigatorError:
    error = cls(message)
    error.__dict__.update(state)
    return error


class InvalidDataError(VerigatorError):
    """400 or 422: the provider refuses the data, for instance a phone number."""

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
    """404 of every call: the provider has no service with the ``service_id`` of the settings."""

    reason = "no_such_service"


class ResourceAlreadyExistsError(VerigatorError):
    """409: the service or ``id_in_service`` is taken."""

    reason = "already_exists"


class InternalError(VerigatorError):
    """5xx: the provider failed."""

    reason = "provider_error"


class InvalidResponseError(VerigatorError):
    """An answer against the protocol: no JSON object, a missing key, too long, a redirect."""

    reason = "invalid_response"


class ThrottledError(VerigatorError):
    """429: too many calls; ``retry_after`` is the pause that the provider asks for, if any."""

    reason = "throttled"


class RequestTimeoutError(VerigatorError):
    """No complete answer within the connect, read or total time limit."""

    reason = "timeout"


class ConnectionFailedError(VerigatorError):
    """No connection, or a broken one: refused, reset, host not resolved, TLS not acceptable."""

    reason = "connection"


class CircuitOpenError(VerigatorError):
    """Not asked: the circuit breaker is open, for another ``retry_after`` seconds."""

    reason = "circuit_open"


class ProviderBusyError(VerigatorError):
    """Not asked: the bulkhead is full, since PROVIDER_CALLS_AT_ONCE calls of this process are under way."""

    reason = "busy"


class Reason(enum.Enum):
    """Why a flow refuses. Logs and signals carry the value."""

    WRONG = "wrong"  # the provider says that the PIN is wrong
    UNCLEAR = "unclear"  # the provider was asked, but no usable verdict arrived
    UNAVAILABLE = "unavailable"  # the provider could not be asked
    EXPIRED = "expired"  # the code is too old, or the provider has no running authentication
    USED = "used"  # the code was accepted before
    SUPERSEDED = "superseded"  # a newer code was sent
    TOO_MANY_TRIES = "too_many_tries"  # the tries of this code are used up: only a new code helps
    LOCKED = "locked"  # the user is locked out for some time
    NOTHING_SENT = "nothing_sent"  # no code was sent yet
    LOST = "lost"  # the answer to the start was lost, and with it the reference that a PIN is checked against
    PAUSE = "pause"  # a code was sent a moment ago
    SEND_LIMIT = "send_limit"  # too many codes for this user, number or address
    SITE_BUDGET = "site_budget"  # the site's budget of codes is used up
    WRONG_PASSWORDS = "wrong_passwords"  # too many wrong passwords where a change asks for the password again
    SAME_PHONE = "same_phone"  # the new number is the one in force
    CHANGE_LIMIT = "change_limit"  # too many new numbers
    STOPPED = "stopped"  # too many wrong PINs in a row: locked out until support helps or the password changes
    NUMBER_REFUSED = "number_refused"  # the site sends no code to this country or kind of number
    WRONG_CODE = "wrong_code"  # not an unused recovery code of the user
    SMS_FORBIDDEN = "sms_forbidden"  # only the app is allowed, and it is not linked
    WAY_FORBIDDEN = "way_forbidden"  # the site, or its providers, do not send so
    NO_PHONE = "no_phone"  # there is no number to send to
    BUSY = "busy"  # another request is registering the user
    REPEATED = "repeated"  # the same form was posted before
    ENDED = "ended"  # the pending login is over: the user starts again with the password


class Refused(Exception):  # noqa: N818 - the field's word; nothing went wrong
    """The refusal of a flow. Carries no PIN, number or provider text.

    Attributes:
        reason: why.
        until: from when on another attempt may succeed, or None.
        tries_left: how many more PINs may be tried for this code, or None.
        scope: the rate limit that is used up, or "".
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
