"""Rate limits: counters in rows, raised by one conditional statement whose row count must match.

A check that reads in one statement and counts in another lets parallel requests through; here the write is the check.
"""

from __future__ import annotations

import contextlib
import operator
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TypeVar

from django.utils import timezone

from . import db
from .compiled import Write, numbered
from .db import atomic_with_retry
from .digests import digest
from .exceptions import Reason, Refused
from .models import Counter, statements

_T = TypeVar("_T")

HOUR = 3600

DAY = 24 * HOUR


@dataclass(frozen=True, slots=True)
class RateLimit:
    """At most ``maximum`` events within ``period`` seconds of the first one, for one value of a scope."""

    scope: str
    value: str = field(repr=False)  # may be a phone number
    maximum: int
    period: int
    reason: Reason

    @property
    def digest(self) -> str:
        """Return the primary key of the limit's Counter."""
        return digest(f"counter.{self.scope}", self.value)


class NotConsumedError(Exception):
    """A counter is full or, where the database makes none on the way, missing; ``reserve`` finds out which."""

    def __init__(self, limits: Sequence[RateLimit]) -> None:
        super().__init__()
        self.limits = limits


def _make_rows(limits: Sequence[RateLimit]) -> None:
    # Outside the transaction that raises the counters: inside, MariaDB deadlocks on the gap.
    # The window has ended long ago: if it ended now, a process that read its clock a moment earlier would count its
    # event in this window, and so lose it.
    ended = timezone.now() - timedelta(days=1)
    rows = [Counter(digest=limit.digest, scope=limit.scope, count=0, expires_at=ended) for limit in limits]
    # The order in which ``consume`` locks them.
    rows.sort(key=lambda row: row.digest)
    # Of two concurrent inserts MariaDB may roll one back.
    atomic_with_retry(lambda: Counter.objects.bulk_create(rows, ignore_conflicts=True))


def consume(limits: Sequence[RateLimit]) -> None:
    """Raise every counter by one, within ``reserve``, which raises all of them or none.

    Raises:
        NotConsumedError: a counter is full, or its row does not exist yet.
    """
    require_all(limits, raise_counters(limits).run())


def raise_counters(limits: Sequence[RateLimit]) -> Write:
    """Return the write of ``consume``, to be run together with others; ``require_all`` takes its number of rows."""
    now = timezone.now()
    by_digest = sorted(((limit.digest, limit) for limit in limits), key=operator.itemgetter(0))
    values = {
        "now": now,
        **numbered("digest", [key for key, _ in by_digest]),
        **numbered("scope", [limit.scope for _, limit in by_digest]),
        **numbered("maximum", [limit.maximum for _, limit in by_digest]),
        **numbered("ends", [now + timedelta(seconds=limit.period) for _, limit in by_digest]),
    }
    if statements.can_make_rows():
        return statements.raise_or_make_counters(**values)
    return statements.raise_counters(**values)


def require_all(limits: Sequence[RateLimit], raised: int) -> None:
    """Raise NotConsumedError unless every counter was raised."""
    if raised != len(limits):
        raise NotConsumedError(limits)


def lower_counters(limits: Iterable[RateLimit]) -> Write:
    """Return the write of ``refund``, to be run together with others."""
    return statements.lower_counters(**numbered("digest", [limit.digest for limit in limits]))


def refund(limits: Iterable[RateLimit]) -> None:
    """Undo ``consume`` for an event that did not happen or does not count, in the open transaction if there is one."""
    counted = list(limits)
    if not counted:
        return
    decrement = lower_counters(counted).run
    if db.connection().in_atomic_block:
        decrement()
        return
    # A failure here must not replace the outcome of the call; then the event stays counted.
    with contextlib.suppress(Refused):
        atomic_with_retry(decrement)


def _refusal_for(limits: Sequence[RateLimit]) -> Refused:
    now = timezone.now()
    by_digest = {limit.digest: limit for limit in limits}
    full = [
        (row.expires_at, by_digest[row.pk])
        for row in Counter.objects.filter(pk__in=by_digest, expires_at__gt=now)
        if row.count >= by_digest[row.pk].maximum
    ]
    if not full:  # the window has just ended, or the row was pruned: another attempt may succeed at once
        return Refused(limits[0].reason, until=now)
    until, limit = max(full, key=lambda pair: pair[0])
    return Refused(limit.reason, until=until, scope=limit.scope)


def reserve(write: Callable[[], _T], also: Sequence[RateLimit] = ()) -> _T:
    """Run ``write`` with ``atomic_with_retry``; if its ``consume`` fails where rows may be missing, make them and run
    it again.

    Args:
        also: limits of a later step, whose missing rows are made on the way.

    Raises:
        Refused: a counter is full, and ``until`` is when the last full one opens again; or, with UNAVAILABLE, the
            database failed. Nothing is written.
        OperationalError: the database failed in another way than ``db.is_transient``.
    """
    try:
        return atomic_with_retry(write)
    except NotConsumedError as error:
        limits = error.limits
    if statements.can_make_rows():  # then none was missing
        raise _refusal_for(limits)
    _make_rows([*limits, *also])
    try:
        return atomic_with_retry(write)
    except NotConsumedError:
        # Read after the rollback, so without what ``write`` itself has counted.
        raise _refusal_for(limits) from None
