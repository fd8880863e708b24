"""What a provider's call can end in.

The first eight names are those of Messente's Python library, so that code written for it keeps its ``except`` clauses.
A wrong *setting* is ``django.core.exceptions.ImproperlyConfigured`` and stands outside this tree on purpose:
``except VerigatorError`` must never hide it.
"""

from __future__ import annotations

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
