"""Bringing the site's links and the provider's records together, one user or all of them."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from itertools import islice
from threading import Event
from typing import Any

from django.contrib.auth import get_user_model
from django.db import IntegrityError, router, transaction
from django.db.models import Count, Max, Q
from django.utils import timezone

from .. import conf, shown
from ..backends import BaseBackend, RemoteUser, protected_call
from ..exceptions import ResourceAlreadyExistsError, VerigatorError
from ..models import PhoneChange, RemoteDeletion, SyncRun, VerigatorUser
from . import limits, proposals, registration, runs
from .patience import IN_PROCESS_SECONDS
from .pool import NotCalledError, Pool, Stage
from .registration import Outcome, State
from .runs import Progress, Run, patiently

BATCH = 500
SHOWN_FAILURES = 100
"""Failures that a report names; of the others it has the number."""
_PAGE = 5000
_LEAST_LEASE = timedelta(seconds=30)
"""A call is begun only if the lease lasts so much longer, so that it is over before somebody else begins."""
_LEFT = (Outcome.BUSY, Outcome.POSTPONED)
_WAIT_STEP = 0.5
Phase = SyncRun.Phase


@dataclass(slots=True)
class Report:
    """What a run did. It does not grow with the number of users.

    Attributes:
        counts: users by outcome.
        failures: username, as it may be shown, and last error of the first users who are not registered although a
            phone is there.
        errors: how many such users, by their last error.
        deleted, deletions_left: records at the provider that had to go.
        deletions_parked: the same where no entry of BACKENDS keeps records, so that nobody can be asked.
        unknown: records at the provider that no link here knows.
        unknown_deleted: how many of them ``delete_unknown`` has noted for deletion.
        handed_over: links given to a task queue.
        unchecked: records that were not in the list, and about which the provider could not be asked.
        proposals: numbers that the site has changed and their users have not confirmed; that is not the run's to do.
        error: why the provider's list could not be read to its end, or "".
        down: the error for which the run gave the provider up, or "".
        stopped: the run was told to stop.
    """

    counts: Counter[Outcome] = field(default_factory=Counter)
    failures: list[tuple[str, str]] = field(default_factory=list)
    errors: Counter[str] = field(default_factory=Counter)
    deleted: int = 0
    deletions_left: int = 0
    deletions_parked: int = 0
    unknown: int = 0
    unknown_deleted: int = 0
    handed_over: int = 0
    unchecked: int = 0
    proposals: int = 0
    error: str = ""
    down: str = ""
    why: str = ""
    stopped: bool = False

    def add(self, link: VerigatorUser, outcome: Outcome) -> None:
        self.counts[outcome] += 1
        if outcome in (*_LEFT, Outcome.REFUSED):
            error = link.last_error or outcome.value
            self.errors[error] += 1
            if len(self.failures) < SHOWN_FAILURES:
                self.failures.append((shown.user(link.user), error))

    @property
    def failed(self) -> int:
        """How many users are not registered although a phone is there."""
        return sum(self.errors.values())

    @property
    def outcome(self) -> SyncRun.Outcome:
        if self.down:
            return SyncRun.Outcome.PROVIDER_DOWN
        if self.stopped:
            return SyncRun.Outcome.STOPPED
        left = self.deletions_left or self.error or self.failed or self.handed_over or self.unchecked
        return SyncRun.Outcome.LEFT if left else SyncRun.Outcome.COMPLETE

    @property
    def is_complete(self) -> bool:
        """Whether nothing is left to do."""
        return self.outcome == SyncRun.Outcome.COMPLETE

    def as_counts(self) -> dict[str, int]:
        """Return the numbers by plain names, for a row and for ``--json``."""
        counts = {outcome.name.lower(): count for outcome, count in self.counts.items() if count}
        return counts | {
            "failed": self.failed,
            "deleted": self.deleted,
            "deletions_left": self.deletions_left,
            "deletions_parked": self.deletions_parked,
            "unknown": self.unknown,
            "unknown_deleted": self.unknown_deleted,
            "handed_over": self.handed_over,
            "unchecked": self.unchecked,
            "proposals": self.proposals,
        }


def sync_user(user: Any, *, timeout: float | None = None) -> tuple[VerigatorUser | None, Outcome]:
    """Register one user if that is missing, and repair the record if the provider has lost it.

    Args:
        timeout: seconds for each call.
    """
    link = registration.ensure_link(user)
    if link is None:
        return None, Outcome.NO_PHONE
    backend = registration.record_backend()
    if backend is None:
        return link, Outcome.UNCHANGED
    if link.state == State.REGISTERED:
        try:
            with protected_call(backend, limits.cause(link.user_id), timeout):
                exists = backend.exists(link.verigator_id or "", timeout=timeout)
            if exists:
                return link, Outcome.UNCHANGED
        except VerigatorError as error:
            link.last_error = error.reason
            return link, Outcome.POSTPONED
        registration.repair(link)
    return link, registration.register(link, timeout=timeout)


def sync_users(users: Sequence[Any], *, seconds: float) -> tuple[Report, Sequence[Any]]:
    """Sync some users, one after the other, as far as the time allows.

    Args:
        seconds: after which no other user is begun with.

    Returns:
        What was done, and the users who were not come to.
    """
    report, deadline = Report(), time.monotonic() + seconds
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
) -> Report:
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

    def work(run: Run, pool: Pool | None, report: Report) -> None:
        run.phase(Phase.LINKS)
        make_missing_links(run)
        sync = _Sync(run, pool, report, due_only=due_only)
        if due_only:
            sync.register(force=False, enqueue=enqueue)
            sync.delete()
        else:
            _follow_site(run, report)
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

    return _run(work, progress, due_only=due_only, workers=workers, stop=stop)


def delete_unknown(
    count: int,
    progress: Callable[[Progress], None] | None = None,
    *,
    workers: int | None = None,
    stop: Event | None = None,
) -> Report:
    """Delete the records at the provider that nothing here knows; at most ``count``, the number somebody agreed to.

    They are noted for deletion first, so a run that is killed is gone on with by the next one.

    Raises:
        AlreadyRunningError: another run is under way.
    """

    def work(run: Run, pool: Pool | None, report: Report) -> None:
        sync = _Sync(run, pool, report)
        sync.note_unknown(count)
        sync.delete()

    return _run(work, progress, due_only=False, workers=workers, stop=stop)


def delete_now(rows: Iterable[RemoteDeletion]) -> int:
    """Delete these records at the provider; return how many are left to ``verigator_sync``.

    Those whose UserID never arrived are: only the provider's list tells whether they are there.
    """
    backend = registration.record_backend()
    left = 0
    for row in rows:
        if backend is None or not row.verigator_id:
            left += 1
            continue
        try:
            backend.unregister(row.verigator_id)
        except VerigatorError as error:
            registration.deletion_failed(row, error)
            left += 1
        else:
            registration.deleted_remote([row])
    return left


def register_batch(link_pks: Collection[int], *, workers: int | None = None) -> Report:
    """Register these links as far as they wait and their turn has come: what a task queue's worker does.

    To do it twice, or in two workers at once, does no harm: each link is leased, and what is registered stays.
    """
    report = Report()
    backend = registration.record_backend()
    if backend is not None:
        config = conf.current()
        with Pool(backend, workers or config.SYNC_WORKERS, config.SYNC_CALLS_PER_SECOND) as pool:
            pool.run(_Registering(backend, report, iter(link_pks), force=False), lambda done: None)
    return report


def _run(
    work: Callable[[Run, Pool | None, Report], None],
    progress: Callable[[Progress], None] | None,
    *,
    due_only: bool,
    workers: int | None,
    stop: Event | None,
) -> Report:
    report = Report()
    config = conf.current()
    backend = registration.record_backend()
    run = runs.start(report.as_counts, progress, due_only=due_only, stop=stop)
    try:
        if backend is None:
            work(run, None, report)
        else:
            with Pool(backend, workers or config.SYNC_WORKERS, config.SYNC_CALLS_PER_SECOND, run.stop) as pool:
                work(run, pool, report)
                report.down = pool.down.reason if pool.down else ""
                report.why = report.why or pool.why
        report.stopped = run.stop.is_set()
    except BaseException as error:
        run.finish(SyncRun.Outcome.BROKEN if isinstance(error, Exception) else SyncRun.Outcome.STOPPED)
        raise
    run.finish(report.outcome, report.down or report.error)
    return report


@dataclass(frozen=True, slots=True)
class Plan:
    """What ``sync_all`` would find to do now."""

    missing_links: int
    not_taken_over: int
    waiting: int
    lost: int
    deletions: int
    deletions_parked: int
    unknown: int
    error: str = ""

    @property
    def is_empty(self) -> bool:
        to_do = self.missing_links + self.not_taken_over + self.waiting + self.lost + self.deletions
        return not (to_do or self.error)


def plan() -> Plan:
    """Compare without writing anything, here or there."""
    registered = VerigatorUser.objects.filter(state=State.REGISTERED)
    lost, unknown, error = registered.count(), 0, ""
    backend = registration.record_backend()
    try:
        for batch in _batches(backend.users() if backend else iter(())):
            lost -= registered.filter(verigator_id__in=[user.user_id for user in batch]).count()
            unknown += len(_compare(batch)[0])
    except VerigatorError as failure:
        error = failure.reason
    return Plan(
        missing_links=_users_to_look_at().filter(verigator=None).count(),
        not_taken_over=_count_not_taken_over(),
        waiting=waiting().count(),
        lost=0 if error or backend is None else lost,
        deletions=RemoteDeletion.objects.count() if backend else 0,
        deletions_parked=0 if backend else RemoteDeletion.objects.count(),
        unknown=unknown,
        error=error,
    )


def _count_not_taken_over() -> int:
    return sum(bool(registration.number_to_take_over(user.verigator, user)) for user in _in_pages(_users_with_a_link()))


def _users_with_a_link() -> Any:
    users = get_user_model()._default_manager.filter(verigator__isnull=False)
    return users.select_related("verigator", *registration.phone_relations())


def _users_to_look_at() -> Any:
    # No link (bulk_create, fixtures), or a phone that nobody confirmed and that the site may have mended.
    return get_user_model()._default_manager.filter(
        Q(verigator=None) | Q(verigator__confirmed_at=None, verigator__state__in=[State.NO_PHONE, State.FAILED])
    )


def make_missing_links(run: Run | None = None) -> None:
    """Write the link of every user who has none, and follow the site's phones that nobody confirmed."""
    users = _users_to_look_at().select_related("verigator", *registration.phone_relations())
    for done, page in enumerate(_pages(users), 1):
        if run is not None:
            run.beat(done * BATCH)
            if run.stop.is_set():
                return
        patiently(partial(_make_links, [user for user in page if not hasattr(user, "verigator")]))
        for user in page:
            if hasattr(user, "verigator"):
                patiently(partial(registration.follow_site, user.verigator, user))


def _follow_site(run: Run, report: Report) -> None:
    """Notice the numbers that the site has changed without a signal."""
    for done, page in enumerate(_pages(_users_with_a_link()), 1):
        run.beat(done * BATCH)
        if run.stop.is_set():
            return
        report.proposals += patiently(partial(proposals.follow, page))


def _make_links(users: list[Any]) -> None:
    if not users:
        return
    links = [registration.new_link(user) for user in users]
    for link in links:
        if link.state == State.PENDING:
            link.id_in_service = registration.new_id_in_service(link.user)
    using = router.db_for_write(VerigatorUser)
    try:
        with transaction.atomic(using=using):
            VerigatorUser.objects.bulk_create(links, ignore_conflicts=True)
    except IntegrityError:  # a user was deleted meanwhile
        for user in users:
            registration.ensure_link(user)
    else:
        for link in links:
            registration.tell_of_unusable(link)


def _in_pages(rows: Any) -> Iterator[Any]:
    for page in _pages(rows):
        yield from page


def _pages(rows: Any) -> Iterator[list[Any]]:
    # Page by page, by primary key: no cursor stays open while the rows are changed, and memory stays flat.
    rows, last = rows.order_by("pk"), None
    while page := list((rows if last is None else rows.filter(pk__gt=last))[:BATCH]):
        yield page
        last = page[-1].pk


def _batches(users: Iterator[RemoteUser]) -> Iterator[list[RemoteUser]]:
    while batch := list(islice(users, BATCH)):
        yield batch


# --- comparing --------------------------------------------------------------------------------------------------------

# In the order in which a record's id moves from one to the next, so that none is missed on its way.
_OWNERS = (PhoneChange, VerigatorUser, RemoteDeletion)


def _compare(batch: list[RemoteUser]) -> tuple[list[RemoteUser], list[RemoteUser]]:
    """Return the records that nothing here knows, and the surplus ones.

    Unknown ones are left alone, since another site may share the service. Surplus is a record under an id that this
    site chose, where another record is the one in use or noted for deletion.
    """
    ids = [user.user_id for user in batch]
    known = {
        user_id
        for model in _OWNERS
        for user_id in model.objects.filter(verigator_id__in=ids).values_list("verigator_id", flat=True)
    }
    names: dict[str, set[str]] = {}
    for model in _OWNERS:
        rows = model.objects.filter(id_in_service__in=[user.id_in_service for user in batch])
        for name, user_id in rows.values_list("id_in_service", "verigator_id"):
            names.setdefault(name or "", set()).add(user_id or "")
    unknown = [user for user in batch if user.user_id not in known and user.id_in_service not in names]
    surplus = [
        user
        for user in batch
        if user.user_id not in known
        and user.id_in_service in names
        # "" stands for a reply that was lost: then this may be the very record.
        and not names[user.id_in_service] & {"", user.user_id}
    ]
    return unknown, surplus


def _adopt(batch: list[RemoteUser]) -> None:
    """Note which of our records the provider still has, and find the UserIDs that a lost reply kept from us."""
    now = timezone.now()
    by_name = {user.id_in_service: user.user_id for user in batch}
    ours = VerigatorUser.objects.filter(id_in_service__in=by_name, verigator_id=None).select_related("user")
    for link in ours.filter(registration.is_free(now)):
        # The id is one this site chose for this user and phone, so the record is ours.
        registration.registered(link, by_name[link.id_in_service or ""])
    VerigatorUser.objects.filter(verigator_id__in=[user.user_id for user in batch]).update(seen_at=now)
    for row in RemoteDeletion.objects.filter(id_in_service__in=by_name, verigator_id=""):
        row.verigator_id = by_name[row.id_in_service]
        row.save(update_fields=["verigator_id"])


# --- the run ----------------------------------------------------------------------------------------------------------


class _Sync:
    """The phases of a run. Each leaves what it could not do in the rows, for the next run."""

    def __init__(self, run: Run, pool: Pool | None, report: Report, *, due_only: bool = False) -> None:
        self._run = run
        self._pool = pool
        self._report = report
        self._due_only = due_only
        self._backend = registration.record_backend()

    @property
    def _is_over(self) -> bool:
        return self._pool is None or self._pool.is_stopping

    def _stage(self, stage: Stage[Any]) -> None:
        if self._pool is not None:
            self._pool.run(stage, self._run.beat)

    def compare(self) -> None:
        """Go through the provider's list, and look after the records that are not in it."""
        if self._backend is None or self._is_over:
            return
        began = timezone.now()
        self._run.phase(Phase.COMPARE)
        unknown = done = 0
        try:
            for batch in _batches(self._backend.users()):
                patiently(partial(_adopt, batch))
                strangers, surplus = _compare(batch)
                unknown += len(strangers)
                for user in surplus:
                    patiently(partial(registration.forget_remote, user.user_id, user.id_in_service))
                done += len(batch)
                self._run.beat(done)
                if self._is_over:
                    return
        except VerigatorError as error:
            # Half a list proves nothing about the records that were not in it.
            self._report.error, self._report.why = error.reason, error.cause if error.why else ""
            return
        self._report.unknown, self._report.unchecked = unknown, 0
        self._run.phase(Phase.LOST)
        self._stage(_Missing(self._backend, self._report, began))
        # A record that never came to be needs no deleting.
        RemoteDeletion.objects.filter(verigator_id="", created_at__lt=began).delete()

    def register(self, *, force: bool, enqueue: Callable[[list[int]], object] | None = None) -> None:
        if self._backend is None or self._is_over:
            return
        found = waiting()
        if not force:
            found = found.filter(registration.is_due(timezone.now()))
        self._run.phase(Phase.REGISTER, found.count())
        if enqueue is None:
            self._stage(_Registering(self._backend, self._report, _pks(found), force=force, count_left=self._due_only))
            return
        pks = _pks(found)
        while (batch := list(islice(pks, BATCH))) and not self._run.stop.is_set():
            enqueue(batch)
            self._report.handed_over += len(batch)
            self._run.beat(self._report.handed_over)

    def needs_another_look(self) -> bool:
        """Whether the list has to be read once more, for what came up since.

        An id that was taken has been given up, and its record's UserID is not known; or somebody had a registration in
        hand, and may have died with it. Waits until such leases have run out.
        """
        if self._backend is None or self._is_over or self._report.error:
            return False
        last = waiting().filter(leased_until__gt=timezone.now()).aggregate(last=Max("leased_until"))["last"]
        if last is None:
            return RemoteDeletion.objects.filter(verigator_id="").exists()
        self._run.phase(Phase.WAIT)
        while waiting().filter(leased_until__gt=timezone.now(), leased_until__lte=last).exists():
            if self._run.stop.wait(_WAIT_STEP):
                return False
            self._run.beat(0)
        return True

    def delete(self) -> None:
        if self._backend is None:
            self._report.deletions_parked = RemoteDeletion.objects.count()
            return
        rows = RemoteDeletion.objects.filter(verigator_id__gt="")
        if self._due_only:
            rows = rows.filter(registration.is_due(timezone.now()))
        registration.keep_records_in_force()
        left, before = rows.count(), self._report.deleted
        if not self._is_over:
            self._run.phase(Phase.DELETE, left)
            self._stage(_Deleting(self._backend, self._report, rows))
        left -= self._report.deleted - before
        self._report.deletions_left = max(0, left) if self._due_only else RemoteDeletion.objects.count()

    def note_unknown(self, count: int) -> None:
        if self._backend is None:
            return
        self._run.phase(Phase.COMPARE, count)
        try:
            for batch in _batches(self._backend.users()):
                strangers = _compare(batch)[0][: count - self._report.unknown_deleted]
                for user in strangers:
                    patiently(partial(registration.forget_remote, user.user_id, user.id_in_service))
                self._report.unknown_deleted += len(strangers)
                self._run.beat(self._report.unknown_deleted)
                if self._is_over or self._report.unknown_deleted >= count:
                    return
        except VerigatorError as error:
            self._report.error, self._report.why = error.reason, error.cause if error.why else ""

    def report_left(self) -> None:
        """Count who still waits; their names only as far as a report has room."""
        report, left = self._report, waiting()
        for error, count in left.values_list("last_error").annotate(Count("pk")).order_by():
            report.counts[Outcome.POSTPONED] += count
            report.errors[error or Outcome.POSTPONED.value] += count
        room = SHOWN_FAILURES - len(report.failures)
        for link in left.order_by("pk").select_related("user")[:room]:
            report.failures.append((shown.user(link.user), link.last_error or Outcome.POSTPONED.value))

    def report_others(self) -> None:
        counts = self._report.counts
        fresh = counts[Outcome.REGISTERED] + counts[Outcome.REPAIRED]
        others = VerigatorUser.objects.filter(state=State.REGISTERED).count() - fresh
        counts[Outcome.UNCHANGED] += max(0, others)
        refused = VerigatorUser.objects.filter(state=State.FAILED).count()
        counts[Outcome.REFUSED] = max(refused, counts[Outcome.REFUSED])
        counts[Outcome.NO_PHONE] += VerigatorUser.objects.filter(state=State.NO_PHONE).count()


def waiting() -> Any:
    """Return the links that wait for registration: none where no provider keeps records."""
    if registration.record_backend() is None:
        return VerigatorUser.objects.none()
    return VerigatorUser.objects.filter(state__in=(State.PENDING, State.REPAIR))


def _pks(rows: Any) -> Iterator[int]:
    """Yield primary keys, page by page: rows may change their state behind us, and memory stays flat."""
    rows, last = rows.order_by("pk").values_list("pk", flat=True), None
    while page := list((rows if last is None else rows.filter(pk__gt=last))[:_PAGE]):
        yield from page
        last = page[-1]


class _Registering(Stage[VerigatorUser]):
    """Each link is leased, called for, and written down; a few dozen at a time."""

    def __init__(
        self, backend: BaseBackend, report: Report, pks: Iterator[int], *, force: bool, count_left: bool = True
    ) -> None:
        self._backend = backend
        self._report = report
        self._pks = pks
        self._force = force
        self._count_left = count_left
        self._again: list[int] = []
        self._renewed: set[int] = set()
        self._repairing: set[int] = set()

    def fetch(self, count: int) -> Sequence[VerigatorUser]:
        while pks := self._again or list(islice(self._pks, count)):
            self._again = []
            leased, others = patiently(partial(registration.lease_many, pks, force=self._force))
            for link in others:
                if link.state in (State.PENDING, State.REPAIR):
                    self._add(link, Outcome.BUSY)
            self._repairing.update(link.pk for link in leased if link.state == State.REPAIR)
            if leased:
                return leased
        return ()

    def call(self, link: VerigatorUser) -> str:
        if link.leased_until is None or link.leased_until - timezone.now() < _LEAST_LEASE:
            raise NotCalledError
        return self._backend.register(link.phone_number, link.id_in_service or "")

    def settle(self, answers: Sequence[tuple[VerigatorUser, Any]]) -> Sequence[VerigatorUser]:
        registered = [(link, answer) for link, answer in answers if isinstance(answer, str)]
        failed = [(link, answer) for link, answer in answers if isinstance(answer, VerigatorError)]
        not_called = [link for link, answer in answers if not isinstance(answer, (str, VerigatorError))]
        if registered:
            patiently(partial(registration.registered_many, registered))
        for link, _ in registered:
            self._add(link, self._outcome(link))
        if not_called:
            patiently(partial(registration.release_many, not_called))
            self._again += [link.pk for link in not_called]
        again = []
        for link, error in failed:
            if isinstance(error, ResourceAlreadyExistsError) and link.pk not in self._renewed:
                # As in a request: a fresh id, once. The other record is dealt with when the list is read again.
                self._renewed.add(link.pk)
                patiently(partial(registration.renew_id, link))
                again.append(link)
            else:
                self._add(link, patiently(partial(registration.failed, link, error)))
        for link, _ in answers:
            if link not in again:
                self._renewed.discard(link.pk)
                self._repairing.discard(link.pk)
        return again

    def _add(self, link: VerigatorUser, outcome: Outcome) -> None:
        # A run that looks twice counts at its end what is left then.
        if self._count_left or outcome not in _LEFT:
            self._report.add(link, outcome)

    def _outcome(self, link: VerigatorUser) -> Outcome:
        if link.state == State.REGISTERED:
            return Outcome.REPAIRED if link.pk in self._repairing else Outcome.REGISTERED
        # The user is gone or has another phone by now; or the UserID was another's.
        return Outcome.POSTPONED if VerigatorUser.objects.filter(pk=link.pk).exists() else Outcome.UNCHANGED


class _Missing(Stage[VerigatorUser]):
    """Records that the list did not have. Each is asked for by its UserID before it counts as lost: a list that came
    out short must not have everybody registered anew."""

    def __init__(self, backend: BaseBackend, report: Report, began: datetime) -> None:
        self._backend = backend
        self._report = report
        unseen = Q(seen_at=None) | Q(seen_at__lt=began)
        rows = VerigatorUser.objects.filter(unseen, state=State.REGISTERED, registered_at__lt=began)
        self._links = _in_pages(rows.select_related("user"))

    def fetch(self, count: int) -> Sequence[VerigatorUser]:
        return list(islice(self._links, count))

    def call(self, link: VerigatorUser) -> bool:
        return self._backend.exists(link.verigator_id or "")

    def settle(self, answers: Sequence[tuple[VerigatorUser, Any]]) -> Sequence[VerigatorUser]:
        for link, answer in answers:
            if isinstance(answer, VerigatorError):
                self._report.unchecked += 1
            elif answer is False:
                patiently(partial(registration.repair, link))
        return ()


class _Deleting(Stage[RemoteDeletion]):
    def __init__(self, backend: BaseBackend, report: Report, rows: Any) -> None:
        self._backend = backend
        self._report = report
        self._rows = _in_pages(rows)

    def fetch(self, count: int) -> Sequence[RemoteDeletion]:
        return list(islice(self._rows, count))

    def call(self, row: RemoteDeletion) -> None:
        self._backend.unregister(row.verigator_id)

    def settle(self, answers: Sequence[tuple[RemoteDeletion, Any]]) -> Sequence[RemoteDeletion]:
        gone = [row for row, answer in answers if answer is None]
        if gone:
            patiently(partial(registration.deleted_remote, gone))
            self._report.deleted += len(gone)
        for row, answer in answers:
            if isinstance(answer, VerigatorError):
                patiently(partial(registration.deletion_failed, row, answer))
        return ()
