"""Keep the sandbox's time, which a test can move."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timezone

TEN_YEARS = 10 * 366 * 24 * 3600.0


class Clock:
    """Tell the time in seconds since 1970 (UTC).

    Attributes:
        offset: seconds by which this clock is ahead of ``source``.
    """

    def __init__(self, source: Callable[[], float]) -> None:
        self._source = source
        self.offset = 0.0

    def now(self) -> float:
        """Return the time."""
        return self._source() + self.offset

    def advance(self, seconds: float) -> None:
        """Move the time by ``seconds``, which may be negative.

        Raises:
            ValueError: the offset would exceed ten years.
        """
        # The first comparison keeps integers too large for a float out of the addition; NaN passes no comparison.
        if not (abs(seconds) <= TEN_YEARS and abs(self.offset + seconds) <= TEN_YEARS):
            raise ValueError("the clock can be moved by ten years at most")
        self.offset += seconds


def format_time(timestamp: float) -> str:
    """Return a time as the Verification API's documentation shows ``ctime``: ``2017-07-06T13:12:03.141Z``."""
    text = datetime.fromtimestamp(timestamp, timezone.utc).isoformat(timespec="milliseconds")
    return text.replace("+00:00", "Z")
