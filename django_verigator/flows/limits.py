"""Counters in rows: reserved before the provider is asked, by conditional UPDATEs whose row counts must match.

A check that reads in one statement and counts in another lets parallel requests through; here the UPDATE is the check.
"""

from __future__ import annotations

import contextlib
import functools
import ipaddress
import operator
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TypeVar

from django.db import router, transaction
from django.db.models import Case, F, Q, QuerySet, Value, When
from django.utils import timezone

from .. import conf, phone
from ..backends import CallOrigin
from ..models import Counter, VerigatorUser
from .deadlocks import short_transaction
from .digests import digest
from .refusals import Reason, Refused

_T = TypeVar("_T")
HOUR = 3600
DAY = 24 * HOUR


@dataclass(frozen=True, slots=True)
class Cap:
    """At most ``limit`` events within ``period`` seconds from the first one, for one value of a scope."""

    scope: str
    value: str = field(repr=False)  # a number, perhaps
    limit: int
    period: int
    reason: Reason

    @property
    def digest(self) -> str:
        return digest(f"counter.{self.scope}", self.value)


def user_try_caps(user_pk: object) -> list[Cap]:
    """What bounds guessing. They belong to the user: a new code, session or address brings no new tries."""
    limits = conf.current().LIMITS
    user = str(user_pk)
    return [
        Cap("tries/user/hour", user, limits.TRIES_PER_USER_HOUR, HOUR, Reason.LOCKED),
        Cap("tries/user/day", user, limits.TRIES_PER_USER_DAY, DAY, Reason.LOCKED),
    ]


def try_caps(user_pk: object, address: str | None) -> list[Cap]:
    """The user's caps, and that of an address from which one guess is made on each of many accounts."""
    limits = conf.current().LIMITS
    counted = countable(address)
    per_address = Cap("tries/address/hour", counted, limits.TRIES_PER_ADDRESS_HOUR, HOUR, Reason.LOCKED)
    return [*user_try_caps(user_pk), *([per_address] if counted else [])]


def send_caps(
    user_pk: object, phone_number: str, address: str | None, *, confirmed: bool, is_somebody_else_s: bool = False
) -> list[Cap]:
    """What bounds sending: by user, number and address; for numbers nobody has confirmed also by block and in all.

    Args:
        confirmed: this user has confirmed the number.
        is_somebody_else_s: another user has; of the number's sends a share is left to that one.

    An attacker who is paid for texts needs many numbers, and has confirmed none; users who have confirmed theirs are
    not kept out by what such an attacker uses up.
    """
    limits = conf.current().LIMITS
    counted = countable(address)
    per_phone, per_day = limits.SENDS_PER_PHONE_10_MINUTES, limits.SENDS_PER_PHONE_DAY
    if is_somebody_else_s:
        per_phone = _half(per_phone)
    if not confirmed:  # nobody knows whose phone it is
        per_day = _half(per_day)
    caps = [
        Cap("sends/user/hour", str(user_pk), limits.SENDS_PER_USER_HOUR, HOUR, Reason.SEND_LIMIT),
        Cap("sends/phone/10min", phone_number, per_phone, 600, Reason.SEND_LIMIT),
        Cap("sends/phone/day", phone_number, per_day, DAY, Reason.SEND_LIMIT),
    ]
    if counted:
        caps.append(Cap("sends/address/hour", counted, limits.SENDS_PER_ADDRESS_HOUR, HOUR, Reason.SEND_LIMIT))
    if not confirmed:
        prefix = phone.prefix(phone_number)
        caps += [
            Cap("sends/prefix/hour", prefix, limits.SENDS_PER_PREFIX_HOUR, HOUR, Reason.SEND_LIMIT),
            Cap("sends/site/hour", "", limits.SENDS_PER_SITE_HOUR, HOUR, Reason.SITE_BUDGET),
            Cap("sends/site/day", "", limits.SENDS_PER_SITE_DAY, DAY, Reason.SITE_BUDGET),
        ]
    return caps


def start_caps(user_pk: object, address: str | None, *, again: bool) -> list[Cap]:
    """What bounds the calls that somebody can cause, whatever comes of them: given back only if nobody was asked.

    Args:
        again: for another code of the same login; such ones leave enough for a login that begins.
    """
    limits = conf.current().LIMITS
    counted = countable(address)
    per_user = _half(limits.STARTS_PER_USER_HOUR) if again else limits.STARTS_PER_USER_HOUR
    caps = [Cap("starts/user/hour", str(user_pk), per_user, HOUR, Reason.SEND_LIMIT)]
    if counted:
        caps.append(Cap("starts/address/hour", counted, limits.STARTS_PER_ADDRESS_HOUR, HOUR, Reason.SEND_LIMIT))
    return caps


def site_number_caps(link_pk: object) -> list[Cap]:
    """What bounds the numbers that a user may give the site one after the other and have registered at once."""
    limit = conf.current().LIMITS.PHONE_CHANGES_PER_USER_DAY
    return [Cap("numbers/user/day", str(link_pk), limit, DAY, Reason.CHANGE_LIMIT)]


def told_caps(user_pk: object) -> list[Cap]:
    """What bounds the mails about limits that somebody keeps running into."""
    return [Cap("told/user/hour", str(user_pk), 1, HOUR, Reason.SEND_LIMIT)]


def cause(user_pk: object, phone_digest: str = "", address: str | None = None) -> CallOrigin:
    """Return on whose account a provider is asked, for its circuit."""
    return CallOrigin(str(user_pk), phone_digest, countable(address))


def _half(limit: int) -> int:
    return max(1, limit // 2)


def password_caps(user_pk: object) -> list[Cap]:
    """What bounds guessing the password from a session that was left open."""
    limit = conf.current().LIMITS.TRIES_PER_USER_HOUR
    return [Cap("passwords/user/hour", str(user_pk), limit, HOUR, Reason.WRONG_PASSWORDS)]


def require_first_post(form: str) -> None:
    """Refuse a form that was posted before, as a reload does.

    Args:
        form: of ``pending.form_of``; one that is not known again is always a first one.

    Raises:
        Refused: REPEATED.
    """
    if form:
        reserve(lambda: take([Cap("posts/form/day", form, 1, DAY, Reason.REPEATED)]))


def change_caps(user_pk: object) -> list[Cap]:
    """What bounds the numbers that one user may propose."""
    limits = conf.current().LIMITS
    return [
        Cap("changes/user/minute", str(user_pk), 1, 60, Reason.CHANGE_LIMIT),
        Cap("changes/user/day", str(user_pk), limits.PHONE_CHANGES_PER_USER_DAY, DAY, Reason.CHANGE_LIMIT),
    ]


def admit_number(number: str) -> None:
    """Refuse a number in a country or of a kind that the site sends nothing to; costs no call.

    Raises:
        Refused: NUMBER_REFUSED.
    """
    config = conf.current()
    if config.COUNTRIES and phone.region(number) not in config.COUNTRIES:
        raise Refused(Reason.NUMBER_REFUSED)
    if phone.kind(number) in config.REFUSED_NUMBER_TYPES:
        raise Refused(Reason.NUMBER_REFUSED)


def countable(address: str | None) -> str:
    """Return what of an address is counted: IPv6 by /64; "" for one that says nothing about who is behind it.

    Without TRUSTED_PROXIES a private or loopback address is that of a proxy, and would be everybody's.
    """
    if not address:
        return ""
    ip = ipaddress.ip_address(address)
    if not ip.is_global and not conf.current().TRUSTED_PROXIES:
        return ""
    if isinstance(ip, ipaddress.IPv6Address):
        return str(ipaddress.ip_network((ip, 64), strict=False))
    return str(ip)


class NotTaken(Exception):  # noqa: N818 - one of the two reasons for it is no error
    """A counter is full, or its row is not there yet; ``reserve`` finds out."""

    def __init__(self, caps: Sequence[Cap]) -> None:
        super().__init__()
        self.caps = caps


def _make_rows(caps: Sequence[Cap]) -> None:
    # Outside the transaction that raises them: inside, MariaDB deadlocks on the gap.
    # Their window has ended long ago. Were it now, another process that has looked at its clock a moment earlier would
    # count its event in a window that is over a moment later.
    ended = timezone.now() - timedelta(days=1)
    rows = [Counter(digest=cap.digest, scope=cap.scope, count=0, expires_at=ended) for cap in caps]
    # In the order in which ``take`` locks them.
    rows.sort(key=lambda row: row.digest)
    # Others make theirs at the same time, and MariaDB may end one of two.
    short_transaction(lambda: Counter.objects.bulk_create(rows, ignore_conflicts=True))


def take(caps: Sequence[Cap]) -> None:
    """Raise every counter by one. Call it in the work of ``reserve``, which raises all of them or none."""
    now = timezone.now()
    room = [Q(digest=cap.digest) & (Q(count__lt=cap.limit) | Q(expires_at__lte=now)) for cap in caps]
    windows = [
        When(digest=cap.digest, expires_at__lte=now, then=Value(now + timedelta(seconds=cap.period))) for cap in caps
    ]
    raised = _by_key(Counter.objects.filter(functools.reduce(operator.or_, room))).update(
        # Set before expires_at: MariaDB evaluates assignments from left to right, on the new values.
        count=Case(When(expires_at__lte=now, then=Value(1)), default=F("count") + 1),
        expires_at=Case(*windows, default=F("expires_at")),
    )
    if raised != len(caps):
        raise NotTaken(caps)


def give_back(caps: Iterable[Cap]) -> None:
    """Undo ``take`` for an event that did not happen, or does not count; in the transaction under way, if any."""
    taken = Counter.objects.filter(pk__in=[cap.digest for cap in caps], count__gt=0)

    def work() -> None:
        _by_key(taken).update(count=F("count") - 1)

    if transaction.get_connection(router.db_for_write(Counter)).in_atomic_block:
        work()
        return
    # What cannot be given back even then stays counted: the user has been answered already.
    with contextlib.suppress(Refused):
        short_transaction(work)


def _by_key(rows: QuerySet[Counter]) -> QuerySet[Counter]:
    """Have an UPDATE of these rows lock them in the order of their keys.

    PostgreSQL takes them as they lie in the table, where each update moves them, so that two of them would deadlock
    over the counters that all users share. SQLite has one writer, and MariaDB goes by the key anyway.
    """
    if transaction.get_connection(router.db_for_write(Counter)).vendor != "postgresql":
        return rows
    return Counter.objects.filter(pk__in=rows.select_for_update().order_by("pk").values("pk"))


def _refusal(caps: Sequence[Cap]) -> Refused:
    now = timezone.now()
    by_digest = {cap.digest: cap for cap in caps}
    full = [
        (row.expires_at, by_digest[row.pk])
        for row in Counter.objects.filter(pk__in=by_digest, expires_at__gt=now)
        if row.count >= by_digest[row.pk].limit
    ]
    if not full:  # the window has ended just now, or the row was pruned: nothing is known against another try
        return Refused(caps[0].reason, until=now)
    until, cap = max(full, key=lambda pair: pair[0])
    return Refused(cap.reason, until=until, scope=cap.scope)


def locked_until(user_pk: object) -> datetime | None:
    """Return when the user may try PINs again, or None if now."""
    now = timezone.now()
    caps = user_try_caps(user_pk)
    limit = {cap.digest: cap.limit for cap in caps}
    rows = Counter.objects.filter(pk__in=limit, expires_at__gt=now)
    return max((row.expires_at for row in rows if row.count >= limit[row.pk]), default=None)


def barred(link: VerigatorUser | None) -> Refused | None:
    """Return why this user can prove nothing now, whatever is typed: stopped, or locked until; None if all is well."""
    if link is None:
        return None
    if link.consecutive_failures >= conf.consecutive_failures():
        return Refused(Reason.STOPPED)
    # The column is a hint that costs nothing; the counters decide.
    if link.locked_until is not None and link.locked_until > timezone.now():
        until = locked_until(link.user_id)
        return Refused(Reason.LOCKED, until=until) if until is not None else None
    return None


def reserve(work: Callable[[], _T], also: Sequence[Cap] = ()) -> _T:
    """Run ``work`` as ``short_transaction`` does, and once more where its ``take`` finds no row.

    The rows are made in between: most users have theirs.

    Args:
        also: whose rows are made as well then, for what comes next.

    Raises:
        Refused: a counter is full, and ``until`` is when the last of them opens again; or it failed twice. Nothing is
            written.
    """
    try:
        return short_transaction(work)
    except NotTaken as not_taken:
        caps = not_taken.caps
    _make_rows([*caps, *also])
    try:
        return short_transaction(work)
    except NotTaken:
        # Read after the rollback: what the work itself has raised does not count.
        raise _refusal(caps) from None
