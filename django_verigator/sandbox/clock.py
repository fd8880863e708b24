"""The sandbox's time: the real one plus what a test has put on top."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timezone

TEN_YEARS = 10 * 366 * 24 * 3600.0


class Clock:
    """Seconds since 1970 in UTC. ``advance`` lets a test wait five minutes in no time."""

    def __init__(self, source: Callable[[], float]) -> None:
        self._source = source
        self.offset = 0.0

    def now(self) -> float:
        return self._source() + self.offset

    def advance(self, seconds: float) -> None:
        """Move the time by ``seconds``; raises ValueError beyond ten years in all."""
        # Compared before it is added: a whole number can be too large for a float, and a float can be no number.
        if not (abs(seconds) <= TEN_YEARS and abs(self.offset + seconds) <= TEN_YEARS):
            raise ValueError("the clock can be moved by ten years at most")
        self.offset += seconds


def as_text(moment: float) -> str:
    """The documented form of a time: ``2017-07-06T13:12:03.141Z``."""
    text = datetime.fromtimestamp(moment, timezone.utc).isoformat(timespec="milliseconds")
    return text.replace("+00:00", "Z")
