"""Lockouts: LOCKED for some time, or STOPPED until support helps or the password changes."""

from __future__ import annotations

import logging
from datetime import datetime
from typing import Any

from django.contrib.auth.base_user import AbstractBaseUser
from django.contrib.auth.hashers import check_password
from django.db.models import F, Q
from django.utils import timezone

from .. import conf, events, signals
from ..compiled import Write
from ..digests import auth_hash_of, is_auth_hash_of
from ..exceptions import Reason, Refused
from ..models import Challenge, Counter, VerigatorUser, statements
from . import limits, notices
from .notices import send_notice


def locked_until(user_pk: object) -> datetime | None:
    """Return when the user's rate limits allow tries again; None if they do now."""
    now = timezone.now()
    maximum = {limit.digest: limit.maximum for limit in limits.user_try_limits(user_pk)}
    rows = Counter.objects.filter(pk__in=maximum, expires_at__gt=now)
    return max((row.expires_at for row in rows if row.count >= maximum[row.pk]), default=None)


def require_none(challenge: Challenge) -> None:
    """Refuse a try while the user is locked out.

    Raises:
        Refused: LOCKED or STOPPED.
    """
    refused = of_challenge(challenge)
    if refused is not None:
        raise refused


def of_challenge(challenge: Challenge) -> Refused | None:
    """Return the lockout of the challenge's user, LOCKED or STOPPED, or None if there is none."""
    return active(link_of(challenge))


def link_of(challenge: Challenge) -> VerigatorUser | None:
    """Return the link of the challenge's user, which ``pending.find`` has read with the challenge."""
    link: VerigatorUser | None = getattr(challenge.user, "verigator", None)
    return link


def active(link: VerigatorUser | None) -> Refused | None:
    """Return the user's lockout, LOCKED or STOPPED, or None if there is none."""
    if link is None:
        return None
    if link.consecutive_failures >= conf.consecutive_failures():
        return Refused(Reason.STOPPED)
    # The column saves a query; the counters decide.
    if link.locked_until is not None and link.locked_until > timezone.now():
        until = locked_until(link.user_id)
        return Refused(Reason.LOCKED, until=until) if until is not None else None
    return None


def end_after_new_password(user: AbstractBaseUser, link: VerigatorUser | None) -> None:
    """End STOPPED if the password is a new one: whoever made the wrong tries knew the old one."""
    if link is None or link.consecutive_failures < conf.consecutive_failures():
        return
    if not is_auth_hash_of(user, link.failures_auth_hash):
        link.transition({"consecutive_failures": 0}, failures_auth_hash=link.failures_auth_hash)
        link.consecutive_failures = 0


def keep_over_rehash(user: AbstractBaseUser) -> None:
    """Keep STOPPED when the same password is hashed anew; call it before the user is saved.

    ``set_password`` leaves a chosen password in ``_password`` until the save; a rehash by a newer hasher clears it.
    """
    stopped = VerigatorUser.objects.filter(consecutive_failures__gte=conf.consecutive_failures())
    link = stopped.filter(user_id=user.pk).first()
    stored = type(user)._base_manager.filter(pk=user.pk).first() if link is not None else None
    if link is None or stored is None or not is_auth_hash_of(stored, link.failures_auth_hash):
        return
    chosen = getattr(user, "_password", None)
    if chosen is None or check_password(chosen, stored.password):
        link.transition({"failures_auth_hash": auth_hash_of(user)})


def failure(challenge: Challenge) -> Write:
    """Return the write that counts a consecutive failure, unless it is the last one before STOPPED."""
    return statements.count_failure(**_failure_of(challenge))


def count_failure(challenge: Challenge) -> bool:
    """Count a consecutive failure before the verdict, so that parallel tries cannot exceed the maximum.

    Returns:
        Whether it is the last one before STOPPED.

    Raises:
        Refused: STOPPED.
    """
    if failure(challenge).run():
        return False
    # An UPDATE of its own, so that of parallel tries exactly one is the last.
    if statements.count_last_failure(**_failure_of(challenge)).run():
        return True
    raise Refused(Reason.STOPPED)


def _failure_of(challenge: Challenge) -> dict[str, Any]:
    last = conf.consecutive_failures() - 1
    return {"user_id": challenge.user_id, "last": last, "failures_auth_hash": challenge.auth_hash}


def undo_failure(challenge: Challenge) -> None:
    """Undo ``count_failure`` for a try without a verdict."""
    failed = VerigatorUser.objects.filter(user_id=challenge.user_id, consecutive_failures__gt=0)
    failed.update(consecutive_failures=F("consecutive_failures") - 1)


def announce(challenge: Challenge, is_last: bool) -> Refused | None:
    """Log and notify a lockout that a wrong try has begun, and return it; None if there is none.

    Args:
        is_last: as ``count_failure`` returned it.
    """
    if is_last:
        events.record("locked", challenge.user, signal=signals.locked, level=logging.WARNING, until=None)
        send_notice(challenge.user, notices.Notice.LOCKED)
        return Refused(Reason.STOPPED)
    until = locked_until(challenge.user_id)
    if until is None:
        return None
    if _extend_lockout(challenge.user_id, until):
        events.record("locked", challenge.user, signal=signals.locked, level=logging.WARNING, until=until)
        send_notice(challenge.user, notices.Notice.LOCKED, until=until)
    return Refused(Reason.LOCKED, until=until)


def _extend_lockout(user_pk: Any, until: Any) -> bool:
    # Of parallel failures only one begins the lockout.
    locked_shorter = VerigatorUser.objects.filter(Q(locked_until=None) | Q(locked_until__lt=until), user_id=user_pk)
    return bool(locked_shorter.update(locked_until=until))
