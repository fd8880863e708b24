"""One run of the sync at a time, and its progress."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta

from django.db import IntegrityError
from django.utils import timezone

from ... import db
from ...db import retry_while_locked
from ...models import SyncRun
from .. import registration

logger = logging.getLogger("django_verigator")

SLOT = "sync"

BEAT_SECONDS = 5.0

LEASE_SECONDS = registration.LEASE_SECONDS + 30
"""Longer than a registration's lease: the run after a killed one finds none of its leases."""

KEPT = 200
"""How many rows of earlier runs are kept."""


class AlreadyRunningError(Exception):
    """Another run holds the slot; ``run`` is its row."""

    def __init__(self, run: SyncRun) -> None:
        super().__init__(str(run.pk))
        self.run = run


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a run is.

    Attributes:
        done, total: of this phase; total is 0 where it is not known.
        rate: items per second, over the phase.
        seconds_left: of this phase; None where it is not known.
    """

    phase: SyncRun.Phase
    done: int
    total: int
    rate: float
    seconds_left: float | None


class Run:
    """The run under way; it holds the slot while ``beat`` is called."""

    def __init__(
        self,
        row: SyncRun,
        counts: Callable[[], Mapping[str, int]],
        listener: Callable[[Progress], None],
        stop: threading.Event,
    ) -> None:
        self._row = row
        self._counts = counts
        self._listener = listener
        self._beaten = time.monotonic()
        self._phase_began = self._beaten
        self.stop = stop

    def phase(self, phase: SyncRun.Phase, total: int = 0) -> None:
        """Begin a phase.

        Args:
            total: how many items it has; 0 where that is not known.
        """
        self._row.phase, self._row.total = phase, total
        self._phase_began = time.monotonic()
        self.beat(0, force=True)

    def beat(self, done: int, *, force: bool = False) -> None:
        """Store how far the run has come, and renew its lease; to be called every few seconds at least.

        Args:
            done: items of this phase.
            force: write the row even if it was written a moment ago.
        """
        self._row.done = done
        seconds = time.monotonic() - self._phase_began
        rate = done / seconds if seconds else 0.0
        total = self._row.total
        left = (total - done) / rate if rate and total >= done else None
        now = time.monotonic()
        if force or now - self._beaten >= BEAT_SECONDS:
            self._beaten = now
            # Only while the slot is ours: while the computer slept, another run may have taken it.
            if not retry_while_locked(self._write):
                self.stop.set()
        self._listener(Progress(SyncRun.Phase(self._row.phase), done, total, rate, left))

    def _write(self) -> int:
        values = {"phase": self._row.phase, "done": self._row.done, "total": self._row.total}
        return SyncRun.objects.filter(pk=self._row.pk, slot=SLOT).update(
            **values, counts=dict(self._counts()), lease_until=timezone.now() + timedelta(seconds=LEASE_SECONDS)
        )

    def finish(self, outcome: SyncRun.Outcome, error: str = "") -> None:
        """Store the outcome and free the slot."""

        def store_outcome() -> None:
            SyncRun.objects.filter(pk=self._row.pk, slot=SLOT).update(
                slot=None,
                outcome=outcome,
                error=error,
                done=self._row.done,
                counts=dict(self._counts()),
                finished_at=timezone.now(),
            )

        retry_while_locked(store_outcome)


def start_run(
    counts: Callable[[], Mapping[str, int]],
    listener: Callable[[Progress], None] | None = None,
    *,
    due_only: bool = False,
    stop: threading.Event | None = None,
) -> Run:
    """Take the slot, also from a run whose lease has run out.

    Args:
        counts: returns the numbers to store with each beat.
        listener: called with each beat.
        due_only: stored with the run.
        stop: set when the run must end.

    Raises:
        AlreadyRunningError: another run holds it.
    """
    now = timezone.now()
    killed = SyncRun.objects.filter(slot=SLOT, lease_until__lt=now)
    killed.update(slot=None, outcome=SyncRun.Outcome.KILLED, finished_at=now)
    row = SyncRun(slot=SLOT, due_only=due_only, started_at=now, lease_until=now + timedelta(seconds=LEASE_SECONDS))
    try:
        with db.atomic():
            row.save(using=db.alias(), force_insert=True)
    except IntegrityError:
        raise AlreadyRunningError(SyncRun.objects.filter(slot=SLOT).first() or row) from None
    SyncRun.objects.filter(pk__lte=row.pk - KEPT).delete()
    return Run(row, counts, listener or (lambda progress: None), stop or threading.Event())
