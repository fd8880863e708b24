"""How long a failed call to the provider waits for its next attempt."""

from __future__ import annotations

import random
from datetime import timedelta

from ..exceptions import VerigatorError

FIRST_RETRY_SECONDS = 60

LAST_RETRY_SECONDS = 6 * 3600

MOST_ATTEMPTS = 1000


def delay(attempts: int, error: VerigatorError) -> timedelta:
    # Jitter, so that what failed together does not come back together; a provider's wish is only stretched. It is
    # clamped here as well: a backend of the site's own may hand over what it was told.
    seconds = min(FIRST_RETRY_SECONDS * 2 ** min(attempts, 16), LAST_RETRY_SECONDS) * random.uniform(0.8, 1.2)  # noqa: S311
    wish = min(error.retry_after or 0, LAST_RETRY_SECONDS) * random.uniform(1.0, 1.2)  # noqa: S311
    return timedelta(seconds=max(seconds, wish))
