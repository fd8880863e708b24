"""The phases of a run."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import islice
from typing import Any

from django.db.models import Count, Max
from django.utils import timezone

from ... import shown
from ...db import retry_while_locked
from ...exceptions import VerigatorError
from ...models import RemoteDeletion, SyncRun, VerigatorUser
from .. import deletion
from ..links import State
from ..provider import record_backend
from ..registration import RegistrationResult
from . import comparing, paging
from .report import SHOWN_FAILURES, SyncReport
from .run import Run
from .stages import Deleting, Missing, Registering
from .workers import Stage, WorkerPool

_WAIT_STEP = 0.5

Phase = SyncRun.Phase


class Phases:
    """The phases of a run. What a phase could not do stays in the rows, for the next run."""

    def __init__(self, run: Run, pool: WorkerPool | None, report: SyncReport, *, due_only: bool = False) -> None:
        self._run = run
        self._pool = pool
        self._report = report
        self._due_only = due_only
        self._backend = record_backend()

    @property
    def _is_over(self) -> bool:
        return self._pool is None or self._pool.is_stopping

    def _run_stage(self, stage: Stage[Any]) -> None:
        if self._pool is not None:
            self._pool.run(stage, self._run.beat)

    def compare(self) -> None:
        """Compare with the provider's list, and ask for each record that is not in it."""
        if self._backend is None or self._is_over:
            return
        began = timezone.now()
        self._run.phase(Phase.COMPARE)
        unknown = done = 0
        try:
            for batch in paging.batches(self._backend.users()):
                retry_while_locked(partial(comparing.adopt, batch))
                unknown_users, surplus = comparing.compare(batch)
                unknown += len(unknown_users)
                for user in surplus:
                    retry_while_locked(partial(RemoteDeletion.objects.schedule, user.user_id, user.id_in_service))
                done += len(batch)
                self._run.beat(done)
                if self._is_over:
                    return
        except VerigatorError as error:
            # A list that broke off proves nothing about records that are not in it.
            self._report.error, self._report.why = error.reason, error.cause if error.why else ""
            return
        self._report.unknown, self._report.unchecked = unknown, 0
        self._run.phase(Phase.LOST)
        self._run_stage(Missing(self._backend, self._report, began))
        # The whole list was read: these have no record at the provider.
        RemoteDeletion.objects.without_user_id().filter(created_at__lt=began).delete()

    def register(self, *, force: bool, enqueue: Callable[[list[int]], object] | None = None) -> None:
        """Register the links that wait, or hand them to a task queue.

        Args:
            force: also before ``next_attempt_at``.
            enqueue: called with lists of primary keys instead of registering.
        """
        if self._backend is None or self._is_over:
            return
        found = waiting()
        if not force:
            found = found.due(timezone.now())
        self._run.phase(Phase.REGISTER, found.count())
        if enqueue is None:
            self._run_stage(
                Registering(self._backend, self._report, paging.pks(found), force=force, count_left=self._due_only)
            )
            return
        pks = paging.pks(found)
        while (batch := list(islice(pks, paging.BATCH))) and not self._run.stop.is_set():
            enqueue(batch)
            self._report.handed_over += len(batch)
            self._run.beat(self._report.handed_over)

    def needs_another_look(self) -> bool:
        """Whether the list must be read again; waits until the leases of other processes have ended.

        Either an id was taken and replaced, and the UserID of its record is unknown; or another process held a lease,
        and may have died before it stored the answer.
        """
        if self._backend is None or self._is_over or self._report.error:
            return False
        last = waiting().filter(leased_until__gt=timezone.now()).aggregate(last=Max("leased_until"))["last"]
        if last is None:
            return RemoteDeletion.objects.without_user_id().exists()
        self._run.phase(Phase.WAIT)
        while waiting().filter(leased_until__gt=timezone.now(), leased_until__lte=last).exists():
            if self._run.stop.wait(_WAIT_STEP):
                return False
            self._run.beat(0)
        return True

    def delete(self) -> None:
        """Delete the records that are scheduled for deletion."""
        if self._backend is None:
            self._report.deletions_parked = RemoteDeletion.objects.count()
            return
        rows = RemoteDeletion.objects.with_user_id()
        if self._due_only:
            rows = rows.due(timezone.now())
        deletion.cancel_for_records_in_use()
        left, before = rows.count(), self._report.deleted
        if not self._is_over:
            self._run.phase(Phase.DELETE, left)
            self._run_stage(Deleting(self._backend, self._report, rows))
        left -= self._report.deleted - before
        self._report.deletions_left = max(0, left) if self._due_only else RemoteDeletion.objects.count()

    def note_unknown(self, count: int) -> None:
        """Schedule the deletion of up to ``count`` records that nothing here knows."""
        if self._backend is None:
            return
        self._run.phase(Phase.COMPARE, count)
        try:
            for batch in paging.batches(self._backend.users()):
                unknown_users = comparing.compare(batch)[0][: count - self._report.unknown_deleted]
                for user in unknown_users:
                    retry_while_locked(partial(RemoteDeletion.objects.schedule, user.user_id, user.id_in_service))
                self._report.unknown_deleted += len(unknown_users)
                self._run.beat(self._report.unknown_deleted)
                if self._is_over or self._report.unknown_deleted >= count:
                    return
        except VerigatorError as error:
            self._report.error, self._report.why = error.reason, error.cause if error.why else ""

    def report_left(self) -> None:
        """Count the links that still wait, and name as many as the report has room for."""
        report, left = self._report, waiting()
        for error, count in left.values_list("last_error").annotate(Count("pk")).order_by():
            report.counts[RegistrationResult.POSTPONED] += count
            report.errors[error or RegistrationResult.POSTPONED.value] += count
        room = SHOWN_FAILURES - len(report.failures)
        for link in left.order_by("pk").select_related("user")[:room]:
            report.failures.append((shown.user(link.user), link.last_error or RegistrationResult.POSTPONED.value))

    def report_others(self) -> None:
        """Count the links that this run did not have to register."""
        counts = self._report.counts
        fresh = counts[RegistrationResult.REGISTERED] + counts[RegistrationResult.REPAIRED]
        others = VerigatorUser.objects.registered().count() - fresh
        counts[RegistrationResult.UNCHANGED] += max(0, others)
        refused = VerigatorUser.objects.filter(state=State.FAILED).count()
        counts[RegistrationResult.REFUSED] = max(refused, counts[RegistrationResult.REFUSED])
        counts[RegistrationResult.NO_PHONE] += VerigatorUser.objects.filter(state=State.NO_PHONE).count()


def waiting() -> Any:
    """Return the links that wait for registration: none where no provider keeps records."""
    if record_backend() is None:
        return VerigatorUser.objects.none()
    return VerigatorUser.objects.waiting()
