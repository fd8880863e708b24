"""Sync the links with the provider's user records: all of them, some users, or one.

A run is a row in SyncRun, and there is one at a time. Every step is idempotent: what a run leaves, the next one does.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Sequence
from threading import Event
from typing import Any

from django.contrib.auth.base_user import AbstractBaseUser

from ... import conf
from ...backends import CallOrigin, protected_call
from ...exceptions import VerigatorError
from ...models import SyncRun, VerigatorUser
from .. import links, registration
from ..links import State
from ..provider import record_backend
from ..registration import RegistrationResult
from ..time_budget import IN_PROCESS_SECONDS
from . import missing_links
from .phases import Phase, Phases
from .report import SyncReport
from .run import AlreadyRunningError, Progress, Run, start_run
from .stages import Registering
from .workers import WorkerPool

__all__ = [
    "AlreadyRunningError",
    "Progress",
    "SyncReport",
    "delete_unknown",
    "mark_due",
    "register_batch",
    "sync_all",
    "sync_user",
    "sync_users",
]


def sync_user(
    user: AbstractBaseUser, *, timeout: float | None = None
) -> tuple[VerigatorUser | None, RegistrationResult]:
    """Register one user who is not registered yet; register anew a user whose record the provider has lost.

    Args:
        timeout: seconds for each call.

    Returns:
        The user's link, or None if the user was deleted meanwhile; and what became of the registration.
    """
    link = links.ensure(user)
    if link is None:
        return None, RegistrationResult.NO_PHONE
    backend = record_backend()
    if backend is None:
        return link, RegistrationResult.UNCHANGED
    if link.state == State.REGISTERED:
        try:
            with protected_call(backend, CallOrigin.of(link.user_id), timeout):
                exists = backend.exists(link.verigator_id or "", timeout=timeout)
            if exists:
                return link, RegistrationResult.UNCHANGED
        except VerigatorError as error:
            link.last_error = error.reason
            return link, RegistrationResult.POSTPONED
        registration.mark_lost(link)
    return link, registration.register(link, timeout=timeout)


def sync_users(users: Sequence[Any], *, seconds: float) -> tuple[SyncReport, Sequence[Any]]:
    """Sync some users, one after the other, as far as the time allows.

    Args:
        seconds: after them no other user is begun.

    Returns:
        What was done, and the users for whom no time was left.
    """
    report, deadline = SyncReport(), time.monotonic() + seconds
    for done, user in enumerate(users):
        left = deadline - time.monotonic()
        if left <= 0:
            return report, users[done:]
        link, outcome = sync_user(user, timeout=min(left, IN_PROCESS_SECONDS))
        report.add(link, outcome) if link else report.counts.update([outcome])
    return report, []


def mark_due(users: Iterable[Any]) -> None:
    """Make the links of these users due for the next ``verigator_sync``; users without a link are due anyway.

    ``--due`` takes those that wait for registration. Only a full run asks whether the provider has lost a record.
    """
    pks = [user.pk for user in users]
    VerigatorUser.objects.filter(user_id__in=pks).update(next_attempt_at=None)


def sync_all(
    progress: Callable[[Progress], None] | None = None,
    *,
    due_only: bool = False,
    workers: int | None = None,
    stop: Event | None = None,
    enqueue: Callable[[list[int]], object] | None = None,
) -> SyncReport:
    """Sync every user: write missing links, compare with the provider's list, register, repair, delete.

    Args:
        progress: called every few seconds at least, with where the run is.
        due_only: only links that wait and whose next attempt is due; the provider's list is not read.
        workers: parallel calls; default SYNC_WORKERS.
        stop: when a signal handler sets it, no call is begun any more.
        enqueue: called with lists of links' primary keys, instead of registering them here.

    Raises:
        AlreadyRunningError: another run is under way.
    """

    def run_phases(run: Run, pool: WorkerPool | None, report: SyncReport) -> None:
        run.phase(Phase.LINKS)
        missing_links.make_missing_links(run)
        phases = Phases(run, pool, report, due_only=due_only)
        if not due_only:
            missing_links.follow_site(run, report)
            phases.compare()
        phases.register(force=not due_only, enqueue=enqueue)
        phases.delete()
        if enqueue is None:
            if not due_only:
                _look_again(phases)
                phases.report_left()
            phases.report_others()

    return _run(run_phases, progress, due_only=due_only, workers=workers, stop=stop)


def _look_again(phases: Phases) -> None:
    if phases.needs_another_look():
        phases.compare()
        phases.register(force=False)
        phases.delete()


def delete_unknown(
    count: int,
    progress: Callable[[Progress], None] | None = None,
    *,
    workers: int | None = None,
    stop: Event | None = None,
) -> SyncReport:
    """Delete the records at the provider that nothing here knows.

    They are noted for deletion first, so the next run continues one that is killed.

    Args:
        count: at most so many: the number that the operator was shown and agreed to.
        progress: as of ``sync_all``.
        workers: as of ``sync_all``.
        stop: as of ``sync_all``.

    Raises:
        AlreadyRunningError: another run is under way.
    """

    def note_and_delete(run: Run, pool: WorkerPool | None, report: SyncReport) -> None:
        phases = Phases(run, pool, report)
        phases.note_unknown(count)
        phases.delete()

    return _run(note_and_delete, progress, due_only=False, workers=workers, stop=stop)


def register_batch(link_pks: Collection[int], *, workers: int | None = None) -> SyncReport:
    """Register those of these links that wait and are due; a task queue's worker calls this.

    Idempotent, also in two workers at once: each link is leased, and a registered one is left alone.

    Args:
        workers: parallel calls; default SYNC_WORKERS.
    """
    report = SyncReport()
    backend = record_backend()
    if backend is not None:
        config = conf.current()
        with WorkerPool(backend, workers or config.SYNC_WORKERS, config.SYNC_CALLS_PER_SECOND) as pool:
            pool.run(Registering(backend, report, iter(link_pks), force=False), lambda done: None)
    return report


def _run(
    run_phases: Callable[[Run, WorkerPool | None, SyncReport], None],
    progress: Callable[[Progress], None] | None,
    *,
    due_only: bool,
    workers: int | None,
    stop: Event | None,
) -> SyncReport:
    report = SyncReport()
    config = conf.current()
    backend = record_backend()
    run = start_run(report.as_counts, progress, due_only=due_only, stop=stop)
    try:
        if backend is None:
            run_phases(run, None, report)
        else:
            with WorkerPool(backend, workers or config.SYNC_WORKERS, config.SYNC_CALLS_PER_SECOND, run.stop) as pool:
                run_phases(run, pool, report)
                report.down = pool.down.reason if pool.down else ""
                report.why = report.why or pool.why
        report.stopped = run.stop.is_set()
    except BaseException as error:
        run.finish(SyncRun.Outcome.BROKEN if isinstance(error, Exception) else SyncRun.Outcome.STOPPED)
        raise
    run.finish(report.outcome, report.down or report.error)
    return report
