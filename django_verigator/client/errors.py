"""From an HTTP status to our exception. The provider's text goes nowhere."""

from __future__ import annotations

import math
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime

from django_verigator.exceptions import (
    InternalError,
    InvalidDataError,
    InvalidResponseError,
    NoSuchResourceError,
    ResourceAlreadyExistsError,
    ResourceForbiddenError,
    ThrottledError,
    VerigatorError,
    WrongCredentialsError,
)

MAX_RETRY_AFTER = 3600  # seconds

# protocol: Messente docs name 401, 403, 404, 409 and 422; 400 and 500 are known from their clients alone.
_BY_STATUS: dict[int, tuple[type[VerigatorError], str]] = {
    400: (InvalidDataError, "the provider refuses the data"),
    401: (WrongCredentialsError, "the provider refuses the credentials"),
    403: (ResourceForbiddenError, "the resource belongs to another account"),
    404: (NoSuchResourceError, "no such service, user or authentication"),
    409: (ResourceAlreadyExistsError, "it exists already"),
    422: (InvalidDataError, "the provider refuses the data"),
    429: (ThrottledError, "too many calls"),
}


def status_error(status: int, method: str, path: str, retry_after: str | None) -> VerigatorError:
    """The error for a status that is no success. ``retry_after`` is the header's text; read for 429 and 503."""
    if status in _BY_STATUS:
        kind, message = _BY_STATUS[status]
    elif 400 <= status < 500:
        kind, message = VerigatorError, "the provider refuses the call"
    elif 500 <= status < 600:
        kind, message = InternalError, "the provider failed"
    elif 300 <= status < 400:
        kind, message = InvalidResponseError, "a redirect, which is never followed"
    else:
        kind, message = InvalidResponseError, "a status that is no answer"
    wait = parse_retry_after(retry_after) if status in {429, 503} else None
    return kind(message, status=status, method=method, path=path, retry_after=wait)


def parse_retry_after(text: str | None) -> int | None:
    """Seconds to wait, 0 to 3600, from a number or an HTTP date; None for anything else."""
    if not text or not text.isascii():
        return None
    if text.isdigit():
        return MAX_RETRY_AFTER if len(text) > 9 else min(int(text), MAX_RETRY_AFTER)
    try:
        date = parsedate_to_datetime(text)
        if date.tzinfo is None:  # how the parser marks "-0000", which is UTC
            date = date.replace(tzinfo=timezone.utc)
        seconds = math.ceil((date - datetime.now(timezone.utc)).total_seconds())
    except (TypeError, ValueError, OverflowError, IndexError):
        return None
    return max(0, min(seconds, MAX_RETRY_AFTER))
