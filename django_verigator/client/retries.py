"""Which calls are made again, after what, and how long after.

Only what is the same done twice: never a start (money), a verification (a try) or a registration (a second record).
"""

from __future__ import annotations

import random
from collections.abc import Iterator

from django_verigator.exceptions import ConnectionFailedError, VerigatorError

REPEATABLE = frozenset({"GET", "DELETE"})
PASSING = frozenset({500, 502, 503, 504})
RETRIES = 2
FIRST_PAUSE = 0.5  # seconds; doubled each time, and up to twice as long by chance, so that not all come back at once


def pauses() -> Iterator[float]:
    """Seconds before the second attempt, and before each further one."""
    for number in range(RETRIES):
        shortest = FIRST_PAUSE * 2**number
        yield random.uniform(shortest, 2 * shortest)  # noqa: S311 - nothing secret hangs on it


def wait_after(error: VerigatorError, pause: float) -> float | None:
    """Seconds to wait before the call is made again; None if it is not.

    Not after a time-out, which has used up the caller's patience, nor where nobody listens.
    """
    if error.status in PASSING:
        return max(pause, error.retry_after or 0)
    if isinstance(error, ConnectionFailedError) and error.sent:
        return pause
    return None
