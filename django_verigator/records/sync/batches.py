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


class _RowsDiffer(Exception):  # noqa: N818 - no error; rolls a statement for many rows back
    """One statement for all rows does not fit, so each is handled by itself."""


def lease(pks: Collection[int], *, force: bool) -> tuple[list[VerigatorUser], list[VerigatorUser]]:
    """Lease links for registration, in two statements if all can be leased and have an id.

    The rows are read after the lease: number and id of a row belong together, and an answer is stored only where the id
    is still the same.

    Args:
        force: also before ``next_attempt_at``.

    Returns:
        The leased links, and the others, both as stored.
    """
    links = _lease_all(pks, force=force)
    if links is None and _give_ids(pks):
        links = _lease_all(pks, force=force)
    if links is not None:
        return links, []
    mine: list[VerigatorUser] = []
    others: list[VerigatorUser] = []
    for link in VerigatorUser.objects.filter(pk__in=pks).select_related("user"):
        (mine if registration.lease(link, force=force) else others).append(link)
    return mine, others


def _lease_all(pks: Collection[int], *, force: bool) -> list[VerigatorUser] | None:
    """Lease these links, or none of them where some cannot be leased or have no id yet."""
    now = timezone.now()
    rows = VerigatorUser.objects.filter(pk__in=pks)
    try:
        with db.atomic():
            leasable = rows.leasable(now, due_only=not force).filter(id_in_service__isnull=False)
            leased = leasable.update(leased_until=now + timedelta(seconds=registration.LEASE_SECONDS))
            if leased != len(pks):
                raise _RowsDiffer
            return list(rows.select_related("user").order_by("pk"))
    except _RowsDiffer:
        return None


def _give_ids(pks: Collection[int]) -> int:
    """Give an id to those of these links that wait without one, and return how many there were."""
    rows = VerigatorUser.objects.waiting().filter(pk__in=pks, id_in_service=None)
    fresh = [(link.pk, registration.new_id_in_service(link.user)) for link in rows.select_related("user")]
    if fresh:
        with db.atomic():
            for pk, name in fresh:
                VerigatorUser.objects.filter(pk=pk, id_in_service=None).update(id_in_service=name)
    return len(fresh)


def release(links: Collection[VerigatorUser]) -> None:
    """End the leases of links for which the provider was not asked."""
    leases = {link.leased_until for link in links}
    VerigatorUser.objects.filter(pk__in=[link.pk for link in links], leased_until__in=leases).update(leased_until=None)


class _UserIds(Func):
    """A CASE from ``id_in_service`` to UserID; Django's Case costs more than the rest of a bulk registration."""

    def __init__(self, user_ids: Mapping[str, str]) -> None:
        super().__init__(F("id_in_service"), output_field=CharField())
        self.user_ids = user_ids

    def as_sql(self, compiler: Any, connection: Any, **context: Any) -> tuple[str, list[Any]]:  # type: ignore[override]
        column, params = compiler.compile(self.source_expressions[0])
        pairs = [value for pair in self.user_ids.items() for value in pair]
        return f"CASE {column} {'WHEN %s THEN %s ' * len(self.user_ids)}END", [*params, *pairs]


def mark_registered(answers: Collection[tuple[VerigatorUser, str]]) -> None:
    """Store the UserIDs of links in one statement, or each by itself where some links have changed."""
    user_ids = {link.id_in_service or "": user_id for link, user_id in answers}
    values = VerigatorUser.registered_values(_UserIds(user_ids))
    rows = VerigatorUser.objects.filter(id_in_service__in=user_ids)
    try:
        with db.atomic():
            if rows.update(**values) != len(answers):
                raise _RowsDiffer
    except (_RowsDiffer, IntegrityError):
        for link, user_id in answers:
            registration.mark_registered(link, user_id)
        return
    for link, user_id in answers:
        link.show({**values, "verigator_id": user_id})
        events.record("registered", link.user, signal=signals.registered, link=link)
