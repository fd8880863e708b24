"""The stages of a run: registrations, missing records, deletions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from functools import partial
from itertools import islice
from typing import Any

from django.db.models import Q
from django.utils import timezone

from ...backends import BaseBackend
from ...db import retry_while_locked
from ...exceptions import ResourceAlreadyExistsError, VerigatorError
from ...models import RemoteDeletion, VerigatorUser
from .. import deletion, registration
from ..links import State
from ..registration import RegistrationResult
from . import batches, paging
from .report import LEFT, SyncReport
from .workers import NotCalledError, Stage

_LEAST_LEASE = timedelta(seconds=30)
"""What must remain of a lease when a call begins, so that the call ends before another worker can begin one."""


class Registering(Stage[VerigatorUser]):
    """Registers links: leases a few dozen at a time, calls for each, stores the answers."""

    def __init__(
        self, backend: BaseBackend, report: SyncReport, pks: Iterator[int], *, force: bool, count_left: bool = True
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
            leased, others = retry_while_locked(partial(batches.lease, pks, force=self._force))
            for link in others:
                if link.state in VerigatorUser.WAITING:
                    self._add(link, RegistrationResult.BUSY)
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
            retry_while_locked(partial(batches.mark_registered, registered))
        for link, _ in registered:
            self._add(link, self._outcome(link))
        if not_called:
            retry_while_locked(partial(batches.release, not_called))
            self._again += [link.pk for link in not_called]
        again = []
        for link, error in failed:
            if isinstance(error, ResourceAlreadyExistsError) and link.pk not in self._renewed:
                # As in a request: a fresh id, once. When the list is read again, the other record is handled.
                self._renewed.add(link.pk)
                retry_while_locked(partial(link.replace_id, registration.new_id_in_service(link.user)))
                again.append(link)
            else:
                self._add(link, retry_while_locked(partial(registration.mark_failed, link, error)))
        for link, _ in answers:
            if link not in again:
                self._renewed.discard(link.pk)
                self._repairing.discard(link.pk)
        return again

    def _add(self, link: VerigatorUser, outcome: RegistrationResult) -> None:
        # A run that reads the list again counts what is left at its end.
        if self._count_left or outcome not in LEFT:
            self._report.add(link, outcome)

    def _outcome(self, link: VerigatorUser) -> RegistrationResult:
        if link.state == State.REGISTERED:
            return RegistrationResult.REPAIRED if link.pk in self._repairing else RegistrationResult.REGISTERED
        # The user is deleted or has another phone now, or the UserID is another link's.
        return (
            RegistrationResult.POSTPONED
            if VerigatorUser.objects.filter(pk=link.pk).exists()
            else RegistrationResult.UNCHANGED
        )


class Missing(Stage[VerigatorUser]):
    """Asks by UserID for each record that was not in the list, before it counts as lost.

    A list that came out short must not have every user registered anew.
    """

    def __init__(self, backend: BaseBackend, report: SyncReport, began: datetime) -> None:
        self._backend = backend
        self._report = report
        unseen = Q(seen_at=None) | Q(seen_at__lt=began)
        rows = VerigatorUser.objects.registered().filter(unseen, registered_at__lt=began)
        self._links = paging.in_pages(rows.select_related("user"))

    def fetch(self, count: int) -> Sequence[VerigatorUser]:
        return list(islice(self._links, count))

    def call(self, link: VerigatorUser) -> bool:
        return self._backend.exists(link.verigator_id or "")

    def settle(self, answers: Sequence[tuple[VerigatorUser, Any]]) -> Sequence[VerigatorUser]:
        for link, answer in answers:
            if isinstance(answer, VerigatorError):
                self._report.unchecked += 1
            elif answer is False:
                retry_while_locked(partial(registration.mark_lost, link))
        return ()


class Deleting(Stage[RemoteDeletion]):
    """Deletes records at the provider."""

    def __init__(self, backend: BaseBackend, report: SyncReport, rows: Any) -> None:
        self._backend = backend
        self._report = report
        self._rows = paging.in_pages(rows)

    def fetch(self, count: int) -> Sequence[RemoteDeletion]:
        return list(islice(self._rows, count))

    def call(self, row: RemoteDeletion) -> None:
        self._backend.unregister(row.verigator_id)

    def settle(self, answers: Sequence[tuple[RemoteDeletion, Any]]) -> Sequence[RemoteDeletion]:
        gone = [row for row, answer in answers if answer is None]
        if gone:
            retry_while_locked(partial(deletion.mark_deleted, gone))
            self._report.deleted += len(gone)
        for row, answer in answers:
            if isinstance(answer, VerigatorError):
                retry_while_locked(partial(deletion.mark_failed, row, answer))
        return ()
