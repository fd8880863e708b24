"""Bringing the site's links and the provider's records together, one user or all of them."""

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
from .run import Progress, Run, start_run
from .stages import Registering
from .workers import WorkerPool


def sync_user(
    user: AbstractBaseUser, *, timeout: float | None = None
) -> tuple[VerigatorUser | None, RegistrationResult]:
    """Register one user if that is missing, and repair the record if the provider has lost it.

    Args:
        timeout: seconds for each call.
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
        seconds: after which no other user is begun with.

    Returns:
        What was done, and the users who were not come to.
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
    """Have the next ``verigator_sync`` look at these users, and ``--due`` already at those who wait for registration
    (whether the provider has lost a registered one only the full run asks). Who has no link yet is due anyway."""
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
    """Sync everybody: write missing links, compare with the provider's list, register, repair, delete.

    Args:
        progress: called often, with where the run is.
        due_only: only what waits and whose turn has come; the provider's list is not read.
        workers: calls at a time; default SYNC_WORKERS.
        stop: set it from a signal handler, and the calls under way are the last.
        enqueue: called with lists of links' primary keys, instead of registering them here.

    Raises:
        AlreadyRunningError: another run is under way.
    """

    def phases(run: Run, pool: WorkerPool | None, report: SyncReport) -> None:
        run.phase(Phase.LINKS)
        missing_links.make_missing_links(run)
        sync = Phases(run, pool, report, due_only=due_only)
        if due_only:
            sync.register(force=False, enqueue=enqueue)
            sync.delete()
        else:
            missing_links.follow_site(run, report)
            sync.compare()
            sync.register(force=True, enqueue=enqueue)
            sync.delete()
            if sync.needs_another_look() and enqueue is None:
                sync.compare()
                sync.register(force=False)
                sync.delete()
            if enqueue is None:
                sync.report_left()
        if enqueue is None:
            sync.report_others()

    return _run(phases, progress, due_only=due_only, workers=workers, stop=stop)


def delete_unknown(
    count: int,
    progress: Callable[[Progress], None] | None = None,
    *,
    workers: int | None = None,
    stop: Event | None = None,
) -> SyncReport:
    """Delete the records at the provider that nothing here knows; at most ``count``, the number somebody agreed to.

    They are noted for deletion first, so a run that is killed is gone on with by the next one.

    Raises:
        AlreadyRunningError: another run is under way.
    """

    def delete(run: Run, pool: WorkerPool | None, report: SyncReport) -> None:
        sync = Phases(run, pool, report)
        sync.note_unknown(count)
        sync.delete()

    return _run(delete, progress, due_only=False, workers=workers, stop=stop)


def register_batch(link_pks: Collection[int], *, workers: int | None = None) -> SyncReport:
    """Register these links as far as they wait and their turn has come: what a task queue's worker does.

    To do it twice, or in two workers at once, does no harm: each link is leased, and what is registered stays.
    """
    report = SyncReport()
    backend = record_backend()
    if backend is not None:
        config = conf.current()
        with WorkerPool(backend, workers or config.SYNC_WORKERS, config.SYNC_CALLS_PER_SECOND) as pool:
            pool.run(Registering(backend, report, iter(link_pks), force=False), lambda done: None)
    return report


def _run(
    phases: Callable[[Run, WorkerPool | None, SyncReport], None],
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
            phases(run, None, report)
        else:
            with WorkerPool(backend, workers or config.SYNC_WORKERS, config.SYNC_CALLS_PER_SECOND, run.stop) as pool:
                phases(run, pool, report)
                report.down = pool.down.reason if pool.down else ""
                report.why = report.why or pool.why
        report.stopped = run.stop.is_set()
    except BaseException as error:
        run.finish(SyncRun.Outcome.BROKEN if isinstance(error, Exception) else SyncRun.Outcome.STOPPED)
        raise
    run.finish(report.outcome, report.down or report.error)
    return report
