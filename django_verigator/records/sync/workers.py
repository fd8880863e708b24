"""Worker threads that only call the provider; the thread that leads them reads and writes the database.

So a bulk run needs one database connection, stores many answers in one short transaction, and is one writer for SQLite.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from queue import SimpleQueue
from types import TracebackType
from typing import Any, Generic, TypeVar

from django.db import connections

from ...backends import BaseBackend
from ...exceptions import InvalidDataError, ResourceAlreadyExistsError, VerigatorError

Item = TypeVar("Item")

DOWN_AFTER = 10
"""Failed calls in a row after which the provider counts as down."""

LONGEST_PAUSE = 60
"""Longest Retry-After (seconds) that a run waits for; a longer one ends the run."""

_CATCH_UP = 0.25

_ABOUT_THE_RECORD = (ResourceAlreadyExistsError, InvalidDataError)

_TICK = 0.5

_CHUNK_SECONDS = 5

_BATCH_SECONDS = 0.4

_MOST_EACH = 32


class NotCalledError(Exception):
    """The run ends, or the item's lease is nearly over: the provider was not asked."""


class Pace:
    """The rate limit for the calls of all workers together, by the monotonic clock.

    Args:
        per_second: calls per second; 0 for no limit.
    """

    def __init__(self, per_second: float) -> None:
        self._interval = 1 / per_second if per_second else 0.0
        self._next = 0.0
        self._lock = threading.Lock()

    def reserve(self) -> float:
        """Reserve the next call, and return the seconds until it may begin."""
        with self._lock:
            now = time.monotonic()
            # A worker that woke up late may catch up a little; calls unused for longer are lost.
            place = max(self._next, now - _CATCH_UP if self._interval else 0.0)
            self._next = place + self._interval
            return place - now

    def pause(self, seconds: float) -> None:
        """Let no call begin for so many seconds."""
        with self._lock:
            self._next = max(self._next, time.monotonic() + seconds)


class Stage(Generic[Item]):
    """One kind of call of a run; ``WorkerPool.run`` calls ``fetch`` and ``settle`` in the leading thread."""

    def fetch(self, count: int) -> Sequence[Item]:
        """Return up to ``count`` items to call for; none when there are no more."""
        raise NotImplementedError

    def call(self, item: Item) -> Any:
        """Ask the provider; in a worker, without the database.

        Raises:
            VerigatorError: as the backend does.
            NotCalledError: the item is to be settled without a call.
        """
        raise NotImplementedError

    def settle(self, answers: Sequence[tuple[Item, Any]]) -> Sequence[Item]:
        """Store the answers, exceptions among them; return items to call for once more."""
        raise NotImplementedError


class WorkerPool:
    """Worker threads, as a context manager.

    Args:
        workers: how many threads.
        per_second: calls per second of all threads; 0 for no limit.

    Attributes:
        stop: when it is set, no call is begun any more.
        down: the error after which the provider counts as down, or None. No call follows it.
        why: the cause of the last call that could not reach the provider, or "".
    """

    def __init__(self, backend: BaseBackend, workers: int, per_second: float, stop: threading.Event | None = None):
        self._backend = backend
        self._workers = workers
        self._most = max(1, int(per_second * _CHUNK_SECONDS)) if per_second else _MOST_EACH * workers
        self._pace = Pace(per_second)
        self.stop = stop or threading.Event()
        self.down: VerigatorError | None = None
        self.why = ""
        self._in_a_row = 0
        self._lock = threading.Lock()
        self._orders: SimpleQueue[Any] = SimpleQueue()
        self._answers: deque[tuple[Any, Any]] = deque()
        self._enough = 1
        self._has_enough = threading.Event()
        self._threads: list[threading.Thread] = []

    @property
    def is_stopping(self) -> bool:
        """Whether no call is begun any more."""
        return self.stop.is_set() or self.down is not None

    def __enter__(self) -> WorkerPool:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for _ in self._threads:
            self._orders.put(None)
        if kind is None or issubclass(kind, Exception):
            for thread in self._threads:
                thread.join()
        # After a second Ctrl-C the threads, which are daemons, end with the process.

    def run(self, stage: Stage[Any], tick: Callable[[int], None]) -> None:
        """Call for everything that the stage fetches.

        Args:
            tick: called about every second, with how many items are done.

        Raises:
            Exception: what a call raised that is neither VerigatorError nor NotCalledError, after all are settled.
        """
        self._start_threads()
        under_way, done, more, began = 0, 0, True, time.monotonic()
        broken: Exception | None = None
        while True:
            chunk = self._chunk(done / (time.monotonic() - began))
            while more and not broken and not self.is_stopping and under_way <= chunk:
                items = stage.fetch(chunk)
                more = bool(items)
                under_way += self._submit(stage, items)
            if not under_way:
                break
            answers = self._collect(min(chunk, under_way) // 2)
            if answers:
                broken = broken or next((answer for _, answer in answers if _is_a_bug(answer)), None)
                again = stage.settle(answers)
                # Items that were not called for may be fetched again.
                more = more or any(isinstance(answer, NotCalledError) for _, answer in answers)
                under_way += self._submit(stage, again) - len(answers)
                done += sum(not isinstance(answer, NotCalledError) for _, answer in answers) - len(again)
            tick(done)
        if broken:
            raise broken

    def _start_threads(self) -> None:
        for _ in range(self._workers - len(self._threads)):
            thread = threading.Thread(target=self._work, name="verigator-worker", daemon=True)
            self._threads.append(thread)
            thread.start()

    def _submit(self, stage: Stage[Any], items: Sequence[Any]) -> int:
        for item in items:
            self._orders.put((stage, item))
        return len(items)

    def _chunk(self, rate: float) -> int:
        """Return how many items to fetch at once: no worker waits for this thread, no lease runs out in the queue.

        One of few sizes, powers of two: SQLite's driver keeps 128 prepared statements, and each size is one of its own.
        """
        whole = 1 << int(rate * _BATCH_SECONDS).bit_length() >> 1
        return min(max(whole, 2 * self._workers), self._most)

    def _collect(self, enough: int) -> list[tuple[Any, Any]]:
        """Return the next answers: ``enough`` of them, or fewer if no more arrive within _BATCH_SECONDS."""
        # Woken for all of them at once: for each, this thread and a worker would wait for one another.
        self._enough = max(1, enough)
        self._has_enough.clear()
        if len(self._answers) < self._enough:
            self._has_enough.wait(_BATCH_SECONDS)
        return [self._answers.popleft() for _ in range(min(len(self._answers), self._enough))]

    def _work(self) -> None:
        try:
            while (order := self._orders.get()) is not None:
                stage, item = order
                try:
                    answer = self._call(stage, item)
                except Exception as error:  # noqa: BLE001 - the leading thread decides
                    answer = error
                self._answers.append((item, answer))
                if len(self._answers) >= self._enough:
                    self._has_enough.set()
        finally:
            self._backend.close()
            # A site's own backend may have queried the database.
            connections.close_all()

    def _call(self, stage: Stage[Any], item: Any) -> Any:
        delay = self._pace.reserve()
        while delay > 0 and not self.is_stopping:
            self.stop.wait(min(delay, _TICK))
            delay -= _TICK
        if self.is_stopping:
            raise NotCalledError
        try:
            answer = stage.call(item)
        except VerigatorError as error:
            self._note(error)
            raise
        with self._lock:
            self._in_a_row = 0
        return answer

    def _note(self, error: VerigatorError) -> None:
        if isinstance(error, _ABOUT_THE_RECORD):
            return
        wait = error.retry_after or 0
        if 0 < wait <= LONGEST_PAUSE:
            self._pace.pause(wait)
        with self._lock:
            self.why = error.cause if error.why else self.why
            self._in_a_row += 1
            if self._in_a_row >= DOWN_AFTER or wait > LONGEST_PAUSE:
                self.down = self.down or error


def _is_a_bug(answer: Any) -> bool:
    return isinstance(answer, Exception) and not isinstance(answer, (VerigatorError, NotCalledError))
