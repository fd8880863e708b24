"""One run of the sync at a time, and what it shows of itself while it goes on."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta

from django.db import IntegrityError, transaction
from django.utils import timezone

from ... import db
from ...db import retry_while_locked
from ...models import SyncRun
from .. import registration

logger = logging.getLogger("django_verigator")

SLOT = "sync"

BEAT_SECONDS = 5.0

LEASE_SECONDS = registration.LEASE_SECONDS + 30
"""Longer than a registration's lease: who gets in after a killed run finds nothing leased by it."""

KEPT = 200
"""Rows of earlier runs that are kept."""


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
        rate: done in a second, over the phase.
        seconds_left: of this phase, or None where nobody can say.
    """

    phase: SyncRun.Phase
    done: int
    total: int
    rate: float
    seconds_left: float | None


class Run:
    """The run under way. It holds the slot as long as it beats."""

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
        self._row.phase, self._row.total = phase, total
        self._phase_began = time.monotonic()
        self.beat(0, force=True)

    def beat(self, done: int, *, force: bool = False) -> None:
        """Say how far the run has come; to be called every few seconds at least."""
        self._row.done = done
        seconds = time.monotonic() - self._phase_began
        rate = done / seconds if seconds else 0.0
        total = self._row.total
        left = (total - done) / rate if rate and total >= done else None
        now = time.monotonic()
        if force or now - self._beaten >= BEAT_SECONDS:
            self._beaten = now
            # Only while the slot is still ours: a computer that slept may find that somebody has taken over.
            if not retry_while_locked(self._write):
                self.stop.set()
        self._listener(Progress(SyncRun.Phase(self._row.phase), done, total, rate, left))

    def _write(self) -> int:
        values = {"phase": self._row.phase, "done": self._row.done, "total": self._row.total}
        return SyncRun.objects.filter(pk=self._row.pk, slot=SLOT).update(
            **values, counts=dict(self._counts()), lease_until=timezone.now() + timedelta(seconds=LEASE_SECONDS)
        )

    def finish(self, outcome: SyncRun.Outcome, error: str = "") -> None:
        def write() -> None:
            SyncRun.objects.filter(pk=self._row.pk, slot=SLOT).update(
                slot=None,
                outcome=outcome,
                error=error,
                done=self._row.done,
                counts=dict(self._counts()),
                finished_at=timezone.now(),
            )

        retry_while_locked(write)


def start_run(
    counts: Callable[[], Mapping[str, int]],
    listener: Callable[[Progress], None] | None = None,
    *,
    due_only: bool = False,
    stop: threading.Event | None = None,
) -> Run:
    """Take the slot, also from a run whose lease has run out.

    Raises:
        AlreadyRunningError: another run holds it.
    """
    now = timezone.now()
    killed = SyncRun.objects.filter(slot=SLOT, lease_until__lt=now)
    killed.update(slot=None, outcome=SyncRun.Outcome.KILLED, finished_at=now)
    row = SyncRun(slot=SLOT, due_only=due_only, started_at=now, lease_until=now + timedelta(seconds=LEASE_SECONDS))
    using = db.alias()
    try:
        with transaction.atomic(using=using):
            row.save(using=using, force_insert=True)
    except IntegrityError:
        raise AlreadyRunningError(SyncRun.objects.filter(slot=SLOT).first() or row) from None
    SyncRun.objects.filter(pk__lte=row.pk - KEPT).delete()
    return Run(row, counts, listener or (lambda progress: None), stop or threading.Event())
