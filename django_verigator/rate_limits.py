"""The mechanism of every rate limit: counters in rows, raised by conditional UPDATEs whose row counts must match.

A check that reads in one statement and counts in another lets parallel requests through; here the UPDATE is the check.
"""

from __future__ import annotations

import contextlib
import functools
import operator
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TypeVar

from django.db.models import Case, F, Q, QuerySet, Value, When
from django.utils import timezone

from . import addresses, db
from .backends import CallOrigin
from .db import atomic_with_retry
from .digests import digest
from .exceptions import Reason, Refused
from .models import Counter

_T = TypeVar("_T")

HOUR = 3600

DAY = 24 * HOUR


@dataclass(frozen=True, slots=True)
class RateLimit:
    """At most ``maximum`` events within ``period`` seconds from the first one, for one value of a scope."""

    scope: str
    value: str = field(repr=False)  # a number, perhaps
    maximum: int
    period: int
    reason: Reason

    @property
    def digest(self) -> str:
        return digest(f"counter.{self.scope}", self.value)


def cause(user_pk: object, phone_digest: str = "", address: str | None = None) -> CallOrigin:
    """Return on whose account a provider is asked, for its circuit."""
    return CallOrigin(str(user_pk), phone_digest, addresses.rate_limit_key(address))


class NotConsumedError(Exception):
    """A counter is full, or its row is not there yet; ``reserve`` finds out."""

    def __init__(self, limits: Sequence[RateLimit]) -> None:
        super().__init__()
        self.limits = limits


def _make_rows(limits: Sequence[RateLimit]) -> None:
    # Outside the transaction that raises them: inside, MariaDB deadlocks on the gap.
    # Their window has ended long ago. Were it now, another process that has looked at its clock a moment earlier would
    # count its event in a window that is over a moment later.
    ended = timezone.now() - timedelta(days=1)
    rows = [Counter(digest=limit.digest, scope=limit.scope, count=0, expires_at=ended) for limit in limits]
    # In the order in which ``consume`` locks them.
    rows.sort(key=lambda row: row.digest)
    # Others make theirs at the same time, and MariaDB may end one of two.
    atomic_with_retry(lambda: Counter.objects.bulk_create(rows, ignore_conflicts=True))


def consume(limits: Sequence[RateLimit]) -> None:
    """Raise every counter by one. Call it within ``reserve``, which raises all of them or none."""
    now = timezone.now()
    room = [Q(digest=limit.digest) & (Q(count__lt=limit.maximum) | Q(expires_at__lte=now)) for limit in limits]
    windows = [
        When(digest=limit.digest, expires_at__lte=now, then=Value(now + timedelta(seconds=limit.period)))
        for limit in limits
    ]
    raised = _by_key(Counter.objects.filter(functools.reduce(operator.or_, room))).update(
        # Set before expires_at: MariaDB evaluates assignments from left to right, on the new values.
        count=Case(When(expires_at__lte=now, then=Value(1)), default=F("count") + 1),
        expires_at=Case(*windows, default=F("expires_at")),
    )
    if raised != len(limits):
        raise NotConsumedError(limits)


def refund(limits: Iterable[RateLimit]) -> None:
    """Undo ``consume`` for an event that did not happen, or does not count; in the transaction under way, if any."""
    taken = Counter.objects.filter(pk__in=[limit.digest for limit in limits], count__gt=0)

    def lower() -> None:
        _by_key(taken).update(count=F("count") - 1)

    if db.connection().in_atomic_block:
        lower()
        return
    # What cannot be given back even then stays counted: the user has been answered already.
    with contextlib.suppress(Refused):
        atomic_with_retry(lower)


def _by_key(rows: QuerySet[Counter]) -> QuerySet[Counter]:
    """Have an UPDATE of these rows lock them in the order of their keys.

    PostgreSQL takes them as they lie in the table, where each update moves them, so that two of them would deadlock
    over the counters that all users share. SQLite has one writer, and MariaDB goes by the key anyway.
    """
    if db.connection().vendor != "postgresql":
        return rows
    return Counter.objects.filter(pk__in=rows.select_for_update().order_by("pk").values("pk"))


def _refusal(limits: Sequence[RateLimit]) -> Refused:
    now = timezone.now()
    by_digest = {limit.digest: limit for limit in limits}
    full = [
        (row.expires_at, by_digest[row.pk])
        for row in Counter.objects.filter(pk__in=by_digest, expires_at__gt=now)
        if row.count >= by_digest[row.pk].maximum
    ]
    if not full:  # the window has ended just now, or the row was pruned: nothing is known against another try
        return Refused(limits[0].reason, until=now)
    until, limit = max(full, key=lambda pair: pair[0])
    return Refused(limit.reason, until=until, scope=limit.scope)


def reserve(write: Callable[[], _T], also: Sequence[RateLimit] = ()) -> _T:
    """Run ``write`` as ``atomic_with_retry`` does, and once more where its ``consume`` finds no row.

    The rows are made in between: most users have theirs.

    Args:
        also: whose rows are made as well then, for what comes next.

    Raises:
        Refused: a counter is full, and ``until`` is when the last of them opens again; or it failed twice. Nothing is
            written.
    """
    try:
        return atomic_with_retry(write)
    except NotConsumedError as error:
        limits = error.limits
    _make_rows([*limits, *also])
    try:
        return atomic_with_retry(write)
    except NotConsumedError:
        # Read after the rollback: what ``write`` itself has raised does not count.
        raise _refusal(limits) from None
