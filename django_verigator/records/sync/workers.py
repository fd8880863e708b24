"""Workers that only call the provider, while the thread that leads them does all the reading and writing.

So a bulk run needs one database connection, writes many answers in one short transaction, and meets SQLite's single
writer with one writer.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Sequence
from queue import Empty, SimpleQueue
from types import TracebackType
from typing import Any, Generic, TypeVar

from django.db import connections

from ...backends import BaseBackend
from ...exceptions import InvalidDataError, ResourceAlreadyExistsError, VerigatorError

Item = TypeVar("Item")

DOWN_AFTER = 10
"""So many calls in a row that the provider could not answer mean that it is down."""

LONGEST_PAUSE = 60
"""Seconds a run waits when the provider asks for a pause; where it asks for more, the run ends."""

_CATCH_UP = 0.25

_ABOUT_THE_RECORD = (ResourceAlreadyExistsError, InvalidDataError)

_TICK = 0.5

_CHUNK_SECONDS = 5

_BATCH_SECONDS = 0.4

_MOST_EACH = 32


class NotCalledError(Exception):
    """The run ends, or the item's lease is nearly over: nobody was asked."""


class Pace:
    """At most so many calls a second for all workers together, by the monotonic clock.

    Args:
        per_second: 0 for as many as there can be.
    """

    def __init__(self, per_second: float) -> None:
        self._interval = 1 / per_second if per_second else 0.0
        self._next = 0.0
        self._lock = threading.Lock()

    def reserve(self) -> float:
        """Take the next place in the row; return the seconds until it comes."""
        with self._lock:
            now = time.monotonic()
            # A worker that woke up late may catch up a little; what was not used for longer is gone.
            place = max(self._next, now - _CATCH_UP if self._interval else 0.0)
            self._next = place + self._interval
            return place - now

    def pause(self, seconds: float) -> None:
        with self._lock:
            self._next = max(self._next, time.monotonic() + seconds)


class Stage(Generic[Item]):
    """What a stage of a run is made of: ``Pool.run`` calls the first and the last in the leading thread."""

    def fetch(self, count: int) -> Sequence[Item]:
        """Return up to so many items to call for; none when there are no more."""
        raise NotImplementedError

    def call(self, item: Item) -> Any:
        """Ask the provider; in a worker, without the database.

        Raises:
            VerigatorError: as the backend does.
            NotCalledError: the item is to be settled without a call.
        """
        raise NotImplementedError

    def settle(self, answers: Sequence[tuple[Item, Any]]) -> Sequence[Item]:
        """Write the answers down (an exception is one, too); return items to call for once more."""
        raise NotImplementedError


class WorkerPool:
    """A number of workers, to be used as a context manager.

    Attributes:
        stop: set it, and the calls under way are the last.
        down: the error that made the provider count as down, or None. No call follows it.
        why: why the last call that could not reach the provider could not, or "".
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
        self._answers: SimpleQueue[Any] = SimpleQueue()
        self._threads: list[threading.Thread] = []

    @property
    def is_stopping(self) -> bool:
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
        # Else somebody pressed Ctrl-C twice: the threads are daemons and end with the process.

    def run(self, stage: Stage[Any], tick: Callable[[int], None]) -> None:
        """Call for everything that the stage fetches; ``tick`` hears often how many are done.

        Raises whatever a call raised that is neither a VerigatorError nor NotCalledError, after all are settled.
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
                # What nobody was asked about may be fetched again.
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
        """How many to fetch at once: enough that no worker waits for this thread, few enough that no lease grows old in
        the row."""
        return min(max(int(rate * _BATCH_SECONDS), 2 * self._workers), self._most)

    def _collect(self, enough: int) -> list[tuple[Any, Any]]:
        """Return the next answers: so many, if they come soon."""
        found: list[tuple[Any, Any]] = []
        with contextlib.suppress(Empty):
            found.append(self._answers.get(timeout=_TICK))
            ends = time.monotonic() + _BATCH_SECONDS
            while len(found) < enough and (left := ends - time.monotonic()) > 0:
                found.append(self._answers.get(timeout=left))
            while True:
                found.append(self._answers.get_nowait())
        return found

    def _work(self) -> None:
        try:
            while (order := self._orders.get()) is not None:
                stage, item = order
                try:
                    answer = self._call(stage, item)
                except Exception as error:  # noqa: BLE001 - the leading thread decides
                    answer = error
                self._answers.put((item, answer))
        finally:
            self._backend.close()
            # A backend of the site's own may have asked the database.
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
