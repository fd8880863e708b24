"""Bounds on our own deadlines that hold on a busy machine: time in which the process was not run does not count."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator

TICK = 0.1  # seconds; at shorter ones the watching thread takes its time from what it watches
GRACE = 0.5  # seconds that an answer may come after its deadline

SCHEDULED = "/proc/thread-self/schedstat"
"""Linux: nanoseconds that the thread ran, nanoseconds that it was ready and waited for a processor, and more."""


class Stopwatch:
    """The seconds between the begin and the end of its block, less those that the machine gave to others.

    How long the thread waited for a processor, Linux tells. How long the whole process was stopped, a thread tells that
    only sleeps: it wakes that much too late. The longer of the two counts, since one may hold the other.
    """

    def __init__(self) -> None:
        self.seconds = 0.0
        self._late = 0.0
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Stopwatch:
        self._thread.start()
        self._waited = _waited_for_a_processor()
        self._began = time.monotonic()
        return self

    def __exit__(self, *exception: object) -> None:
        took = time.monotonic() - self._began
        waited = _waited_for_a_processor() - self._waited
        self._ended.set()
        self._thread.join()
        self.seconds = took - max(self._late, waited)

    def _watch(self) -> None:
        while not self._ended.is_set():
            began = time.monotonic()
            self._ended.wait(TICK)
            late = time.monotonic() - began - TICK
            if late > TICK / 2:
                self._late += late


def _waited_for_a_processor() -> float:
    """The seconds that this thread has waited so since it began; 0 where the system does not tell."""
    try:
        with open(SCHEDULED) as file:
            return int(file.read().split()[1]) / 1e9
    except OSError:
        return 0.0


@contextlib.contextmanager
def in_time(deadline: float) -> Iterator[None]:
    """Fail if the block takes longer than ``deadline`` seconds and the grace."""
    with Stopwatch() as watch:
        yield
    assert watch.seconds < deadline + GRACE
