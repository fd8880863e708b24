"""Who can prove nothing at the moment: locked out for some time, or until support helps."""

from __future__ import annotations

import logging
from datetime import datetime
from typing import Any

from django.contrib.auth.base_user import AbstractBaseUser
from django.contrib.auth.hashers import check_password
from django.db.models import F, Q
from django.utils import timezone

from .. import conf, events, signals
from ..digests import auth_hash_of, is_auth_hash_of
from ..exceptions import Reason, Refused
from ..models import Challenge, Counter, VerigatorUser
from . import limits, notices
from .notices import send_notice


def locked_until(user_pk: object) -> datetime | None:
    """Return when the user may try PINs again, or None if now."""
    now = timezone.now()
    maximum = {limit.digest: limit.maximum for limit in limits.user_try_limits(user_pk)}
    rows = Counter.objects.filter(pk__in=maximum, expires_at__gt=now)
    return max((row.expires_at for row in rows if row.count >= maximum[row.pk]), default=None)


def require_none(challenge: Challenge) -> None:
    """Refuse whatever is typed while the challenge's user is locked out.

    Raises:
        Refused: LOCKED or STOPPED.
    """
    refused = active(link_of(challenge))
    if refused is not None:
        raise refused


def link_of(challenge: Challenge) -> VerigatorUser | None:
    """Return the link that ``pending.find`` has read with the challenge."""
    link: VerigatorUser | None = getattr(challenge.user, "verigator", None)
    return link


def active(link: VerigatorUser | None) -> Refused | None:
    """Return the lockout of a user, who can prove nothing while it lasts; None if there is none."""
    if link is None:
        return None
    if link.consecutive_failures >= conf.consecutive_failures():
        return Refused(Reason.STOPPED)
    # The column is a hint that costs nothing; the counters decide.
    if link.locked_until is not None and link.locked_until > timezone.now():
        until = locked_until(link.user_id)
        return Refused(Reason.LOCKED, until=until) if until is not None else None
    return None


def end_after_new_password(user: AbstractBaseUser, link: VerigatorUser | None) -> None:
    # Whoever made the wrong tries knew the old password. A new one was set from the user's mailbox or by support.
    if link is None or link.consecutive_failures < conf.consecutive_failures():
        return
    if not is_auth_hash_of(user, link.failures_auth_hash):
        link.transition({"consecutive_failures": 0}, failures_auth_hash=link.failures_auth_hash)
        link.consecutive_failures = 0


def keep_over_rehash(user: AbstractBaseUser) -> None:
    """Called before a user is saved with a password stored anew: the hard stop ends with another one, not with that.

    A newer hasher stores the same password anew when it is typed right; ``set_password`` marks one that somebody chose.
    """
    stopped = VerigatorUser.objects.filter(consecutive_failures__gte=conf.consecutive_failures())
    link = stopped.filter(user_id=user.pk).first()
    stored = type(user)._base_manager.filter(pk=user.pk).first() if link is not None else None
    if link is None or stored is None or not is_auth_hash_of(stored, link.failures_auth_hash):
        return
    chosen = getattr(user, "_password", None)
    if chosen is None or check_password(chosen, stored.password):
        link.transition({"failures_auth_hash": auth_hash_of(user)})


def count_failure(challenge: Challenge) -> bool:
    # Counted as a failure until the verdict says otherwise, so that parallel tries cannot overrun the hard stop.
    last = conf.consecutive_failures() - 1
    link = VerigatorUser.objects.filter(user_id=challenge.user_id)
    one_more = {"consecutive_failures": F("consecutive_failures") + 1, "failures_auth_hash": challenge.auth_hash}
    if link.filter(consecutive_failures__lt=last).update(**one_more):
        return False
    # Told apart by the UPDATE itself, so that of parallel tries exactly one is the last.
    if link.filter(consecutive_failures=last).update(**one_more):
        return True
    raise Refused(Reason.STOPPED)


def undo_failure(challenge: Challenge) -> None:
    """Take back a failure that nobody has seen: the verdict is not known."""
    failed = VerigatorUser.objects.filter(user_id=challenge.user_id, consecutive_failures__gt=0)
    failed.update(consecutive_failures=F("consecutive_failures") - 1)


def announce(challenge: Challenge, is_last: bool) -> Refused | None:
    """Tell of a lock or stop that a wrong try brought about, and return it as the user is to read it."""
    if is_last:
        events.record("locked", challenge.user, signal=signals.locked, level=logging.WARNING, until=None)
        send_notice(challenge.user, notices.Notice.LOCKED)
        return Refused(Reason.STOPPED)
    until = locked_until(challenge.user_id)
    if until is None:
        return None
    if _lock(challenge.user_id, until):
        events.record("locked", challenge.user, signal=signals.locked, level=logging.WARNING, until=until)
        send_notice(challenge.user, notices.Notice.LOCKED, until=until)
    return Refused(Reason.LOCKED, until=until)


def _lock(user_pk: Any, until: Any) -> bool:
    # Of parallel failures one is told about.
    earlier = VerigatorUser.objects.filter(Q(locked_until=None) | Q(locked_until__lt=until), user_id=user_pk)
    return bool(earlier.update(locked_until=until))
