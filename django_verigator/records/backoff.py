"""How long a failed call to the provider waits for its next attempt."""

from __future__ import annotations

import random
from datetime import timedelta

from ..exceptions import VerigatorError

FIRST_RETRY_SECONDS = 60

LAST_RETRY_SECONDS = 6 * 3600

MOST_ATTEMPTS = 1000


def delay(attempts: int, error: VerigatorError) -> timedelta:
    """Return the time until the next attempt: a minute at first, doubled up to six hours.

    Args:
        attempts: how many have failed before.
        error: its ``retry_after`` (seconds) is the least; clamped, since a site's own backend may pass anything on.
    """
    # Jitter spreads what failed together; it never shortens the provider's Retry-After.
    seconds = min(FIRST_RETRY_SECONDS * 2 ** min(attempts, 16), LAST_RETRY_SECONDS) * random.uniform(0.8, 1.2)  # noqa: S311
    least = min(error.retry_after or 0, LAST_RETRY_SECONDS) * random.uniform(1.0, 1.2)  # noqa: S311
    return timedelta(seconds=max(seconds, least))
