"""Leasing and registering many links in few statements."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import timedelta
from typing import Any

from django.db import IntegrityError
from django.db.models import CharField, F, Func
from django.utils import timezone

from ... import db, events, signals
from ...models import VerigatorUser
from .. import registration
from ..registration import LEASE_SECONDS


class _NotAll(Exception):  # noqa: N818 - no error; rolls a statement for many rows back
    """Some of the rows are not as the statement wants them, so each is looked at by itself."""


def lease(pks: Collection[int], *, force: bool) -> tuple[list[VerigatorUser], list[VerigatorUser]]:
    """Lease links for registration; return those leased, as they are stored, and the others.

    Two statements for all of them, where all can be leased and have their ids. Read after the lease: number and id of a
    row belong together, and an answer is written only where the id is still the same.
    """
    _give_ids(pks)
    now = timezone.now()
    rows = VerigatorUser.objects.filter(pk__in=pks)
    try:
        with db.atomic():
            leasable = rows.leasable(now, due_only=not force).filter(id_in_service__isnull=False)
            leased = leasable.update(leased_until=now + timedelta(seconds=LEASE_SECONDS))
            if leased != len(pks):
                raise _NotAll
            return list(rows.select_related("user")), []
    except _NotAll:
        mine: list[VerigatorUser] = []
        others: list[VerigatorUser] = []
        for link in rows.select_related("user"):
            (mine if registration.lease(link, force=force) else others).append(link)
        return mine, others


def _give_ids(pks: Collection[int]) -> None:
    rows = VerigatorUser.objects.waiting().filter(pk__in=pks, id_in_service=None)
    fresh = [(link.pk, registration.new_id_in_service(link.user)) for link in rows.select_related("user")]
    if fresh:
        with db.atomic():
            for pk, name in fresh:
                VerigatorUser.objects.filter(pk=pk, id_in_service=None).update(id_in_service=name)


def release(links: Collection[VerigatorUser]) -> None:
    """Give back leases of links about which nobody was asked."""
    leases = {link.leased_until for link in links}
    VerigatorUser.objects.filter(pk__in=[link.pk for link in links], leased_until__in=leases).update(leased_until=None)


class _UserIds(Func):
    """The UserID for each row's ``id_in_service``. Django's Case builds a tree for each When, which costs more than all
    else that a registration in bulk does here."""

    def __init__(self, user_ids: Mapping[str, str]) -> None:
        super().__init__(F("id_in_service"), output_field=CharField())
        self.user_ids = user_ids

    def as_sql(self, compiler: Any, connection: Any, **context: Any) -> tuple[str, list[Any]]:  # type: ignore[override]
        column, params = compiler.compile(self.source_expressions[0])
        pairs = [value for pair in self.user_ids.items() for value in pair]
        return f"CASE {column} {'WHEN %s THEN %s ' * len(self.user_ids)}END", [*params, *pairs]


def mark_registered(answers: Collection[tuple[VerigatorUser, str]]) -> None:
    """Mark links as registered in one statement; each by itself where that does not fit."""
    user_ids = {link.id_in_service or "": user_id for link, user_id in answers}
    values = VerigatorUser.registered_values(_UserIds(user_ids))
    rows = VerigatorUser.objects.filter(id_in_service__in=user_ids)
    try:
        with db.atomic():
            if rows.update(**values) != len(answers):
                raise _NotAll
    except (_NotAll, IntegrityError):
        for link, user_id in answers:
            registration.mark_registered(link, user_id)
        return
    for link, user_id in answers:
        link.show({**values, "verigator_id": user_id})
        events.record("registered", link.user, signal=signals.registered, link=link)
