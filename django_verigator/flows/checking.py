"""Checking a PIN or a recovery code: reserve, call, settle; and the end of a challenge.

One short transaction takes a try from the counters and commits; only then is the provider asked that has sent the code;
then the outcome is written. A crash in between costs a try, never gives one. No transaction is open during a call.
"""

from __future__ import annotations

import logging
from datetime import timedelta
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.db import IntegrityError
from django.db.models import Case, F, Q, QuerySet, Value, When
from django.db.models.functions import Coalesce, Concat, Substr
from django.utils import timezone

from .. import conf, signals
from ..backends import BaseBackend, Checked, Recipient, backends, protected_call
from ..constants import METHOD_RECOVERY
from ..exceptions import NoSuchResourceError, VerigatorError
from ..models import Challenge, VerigatorUser
from . import enrolment, events, limits, notices, recovery
from .deadlocks import once_more, short_transaction
from .digests import digest, digests
from .refusals import Reason, Refused

Outcome = Challenge.Outcome
PIN_REUSE_SECONDS = 600
"""For so long an accepted PIN is not accepted again, whatever the provider says."""
_PINS_KEPT = 8
"""Of so many that were accepted last; their digests share one column, in pieces of as many digits."""

UNPROVED = Q(consumed_at=None) | Q(outcome__in=(Outcome.EXPIRED, Outcome.THROTTLED))
"""The challenge has ended at most because its code has; the login still waits."""

# --- checking ---------------------------------------------------------------------------------------------------------


def check(challenge: Challenge, pin: str, address: str | None, *, form: str = "") -> None:
    """Ask the provider whether ``pin`` is right for this challenge; return if it is.

    Args:
        address: where the PIN came from.
        form: by what the form is known again that it was typed into; posted twice in a row it costs one try.

    Raises:
        Refused: it is not, or nobody can say. Only a call that was never sent leaves the tries as they were.
    """
    caps = limits.try_caps(challenge.user_id, address)
    try:
        is_last = _reserve_try(challenge, caps, form)
    except Refused as refused:
        raise _not_tried(challenge, refused) from None
    backend = _sender(challenge)
    if backend is None:  # a new code comes from another one
        raise _give_back_try(challenge, caps, Refused(Reason.EXPIRED))
    try:
        checked = _ask(backend, challenge, pin)
    except NoSuchResourceError:
        close(challenge, Outcome.EXPIRED)
        raise _failed(challenge, Refused(Reason.EXPIRED)) from None
    except VerigatorError as error:
        events.record("check_failed", challenge.user, level=logging.WARNING, **error.details)
        if not error.sent:
            until = timezone.now() + timedelta(seconds=error.retry_after) if error.retry_after else None
            raise _give_back_try(challenge, caps, Refused(Reason.UNAVAILABLE, until=until)) from None
        _forgive(challenge)
        raise Refused(Reason.UNCLEAR, tries_left=_tries_left(challenge)) from None
    if checked.expired:
        close(challenge, Outcome.EXPIRED)
        raise _failed(challenge, Refused(Reason.EXPIRED))
    if checked.throttled:
        close(challenge, Outcome.THROTTLED)
        raise _failed(challenge, Refused(Reason.TOO_MANY_TRIES))
    if checked.verified is not True:
        raise _wrong(challenge, is_last)
    if challenge.outcome == Outcome.SENT and checked.method not in ("", challenge.method):
        # A verdict about something that was not asked is no verdict.
        events.record("check_failed", challenge.user, level=logging.WARNING, reason="another_method", status=None)
        _forgive(challenge)
        raise Refused(Reason.UNCLEAR, tries_left=_tries_left(challenge))


def _sender(challenge: Challenge) -> BaseBackend | None:
    """Return the backend that has sent the code; None if the site has dropped it, or broken its settings, since."""
    try:
        backend = backends[challenge.backend]
    except (KeyError, ImproperlyConfigured):
        return None
    # Another provider has the alias by now, one that knows its users by a record.
    return None if backend.keeps_users and not challenge.verigator_id else backend


def _ask(backend: BaseBackend, challenge: Challenge, pin: str) -> Checked:
    recipient = Recipient(challenge.verigator_id)
    cause = limits.cause(challenge.user_id, challenge.phone_digest, challenge.ip)
    with protected_call(backend, cause, backend.total_timeout):
        return backend.check(recipient, pin, challenge.reference, timeout=backend.total_timeout)


def _reserve_try(challenge: Challenge, caps: list[limits.Cap], form: str) -> bool:
    """Take a try; return whether it is the last one before the hard stop."""
    barred = limits.barred(getattr(challenge.user, "verigator", None))
    if barred is not None:
        raise barred
    reason = why_closed(challenge)
    if reason is not None:
        raise Refused(reason)

    def work() -> bool:
        now = timezone.now()
        rows = Challenge.objects.filter(
            pk=challenge.pk,
            consumed_at=None,
            superseded_at=None,
            sent_at__isnull=False,
            expires_at__gt=now,
            tries__lt=conf.current().LIMITS.TRIES_PER_CHALLENGE,
        )
        if not _unless_repeated(rows, form).update(tries=F("tries") + 1, last_form=form):
            reason = _why_not(challenge, form)
            raise Refused(reason, tries_left=_tries_left(challenge) if reason == Reason.REPEATED else None)
        # First, since a lock for an hour is not to hide a stop that waiting does not end.
        is_last = _take_failure(challenge)
        limits.take(caps)
        return is_last

    is_last = limits.reserve(work)
    challenge.tries += 1
    return is_last


def _unless_repeated(rows: QuerySet[Challenge], form: str) -> QuerySet[Challenge]:
    return rows.exclude(last_form=form) if form else rows


def _take_failure(challenge: Challenge) -> bool:
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


def _forgive(challenge: Challenge) -> None:
    """Take back a failure that nobody has seen: the verdict is not known."""
    failed = VerigatorUser.objects.filter(user_id=challenge.user_id, consecutive_failures__gt=0)
    once_more(lambda: failed.update(consecutive_failures=F("consecutive_failures") - 1))


def why_closed(challenge: Challenge) -> Reason | None:
    """Say why no PIN can be tried for this challenge now; None if one can."""
    if challenge.consumed_at is not None:
        return (
            Reason.EXPIRED
            if challenge.outcome == Outcome.EXPIRED
            else (Reason.TOO_MANY_TRIES if challenge.outcome == Outcome.THROTTLED else Reason.ENDED)
        )
    if challenge.superseded_at is not None:
        return Reason.SUPERSEDED
    if challenge.sent_at is None or challenge.expires_at is None:
        return Reason.NOTHING_SENT
    if challenge.outcome == Outcome.UNCLEAR and not (challenge.verigator_id or challenge.reference):
        return Reason.LOST
    if challenge.expires_at <= timezone.now():
        return Reason.EXPIRED
    if challenge.tries >= conf.current().LIMITS.TRIES_PER_CHALLENGE:
        return Reason.TOO_MANY_TRIES
    return None


def _why_not(challenge: Challenge, form: str = "") -> Reason:
    try:
        challenge.refresh_from_db()
    except Challenge.DoesNotExist:  # its user was deleted meanwhile
        return Reason.ENDED
    return why_closed(challenge) or (Reason.REPEATED if form and challenge.last_form == form else Reason.ENDED)


def _tries_left(challenge: Challenge) -> int:
    return max(conf.current().LIMITS.TRIES_PER_CHALLENGE - challenge.tries, 0)


def _give_back_try(challenge: Challenge, caps: list[limits.Cap], refused: Refused) -> Refused:
    mine = Challenge.objects.filter(pk=challenge.pk, tries__gt=0)
    once_more(lambda: mine.update(tries=F("tries") - 1))
    challenge.tries -= 1
    limits.give_back(caps)
    _forgive(challenge)
    refused.tries_left = _tries_left(challenge)
    return refused


def _wrong(challenge: Challenge, is_last: bool) -> Refused:
    barred = _tell_of_lock(challenge, is_last)
    left = _tries_left(challenge)
    refused = _failed(challenge, Refused(Reason.WRONG, tries_left=left))
    return barred or (refused if left else Refused(Reason.TOO_MANY_TRIES))


def _tell_of_lock(challenge: Challenge, is_last: bool) -> Refused | None:
    """Tell of a lock or stop that a wrong try brought about, and return it as the user is to read it."""
    if is_last:
        events.record("locked", challenge.user, signal=signals.locked, level=logging.WARNING, until=None)
        notices.tell(challenge.user, notices.Notice.LOCKED)
        return Refused(Reason.STOPPED)
    until = limits.locked_until(challenge.user_id)
    if until is None:
        return None
    if _lock(challenge.user_id, until):
        events.record("locked", challenge.user, signal=signals.locked, level=logging.WARNING, until=until)
        notices.tell(challenge.user, notices.Notice.LOCKED, until=until)
    return Refused(Reason.LOCKED, until=until)


def _lock(user_pk: Any, until: Any) -> bool:
    # Of parallel failures one is told about.
    earlier = VerigatorUser.objects.filter(Q(locked_until=None) | Q(locked_until__lt=until), user_id=user_pk)
    return bool(once_more(lambda: earlier.update(locked_until=until)))


def _not_tried(challenge: Challenge, refused: Refused) -> Refused:
    # A lock or stop was told of when it came about, once: what runs against it is not to fill the log.
    is_told = refused.reason in (Reason.LOCKED, Reason.STOPPED) and not refused.scope
    return refused if is_told else _failed(challenge, refused)


def _failed(challenge: Challenge, refused: Refused) -> Refused:
    events.record(
        "verification_failed",
        challenge.user,
        signal=signals.verification_failed,
        reason=refused.reason.value,
        challenge=challenge,
    )
    return refused


# --- ending -----------------------------------------------------------------------------------------------------------


def accept(challenge: Challenge, pin: str, address: str | None) -> str:
    """Consume a challenge whose PIN is right, once, and return the epoch that the new proof carries.

    Raises:
        Refused: somebody was faster, the same PIN was accepted before, or the user's trust has ended since.
    """
    caps = limits.try_caps(challenge.user_id, address)

    def work() -> str:
        now = timezone.now()
        # A second click may have closed it: once the right PIN was given, the provider knows of no code any more.
        consumed = Challenge.objects.filter(UNPROVED, pk=challenge.pk, superseded_at=None, expires_at__gt=now).update(
            consumed_at=now, outcome=Outcome.VERIFIED, next_url=""
        )
        if not consumed:
            raise Refused(_why_not(challenge))
        epoch = _prove(challenge, digest("pin", f"{challenge.user_id}.{pin}"), now)
        limits.give_back(caps)
        return epoch

    try:
        return short_transaction(work)
    except IntegrityError:  # the provider gave this UserID to another user as well
        close(challenge, Outcome.CANCELLED)
        raise _failed(challenge, Refused(Reason.ENDED)) from None
    except Refused as refused:
        if refused.reason in (Reason.USED, Reason.ENDED):
            close(challenge, Outcome.EXPIRED)
        raise _failed(challenge, refused) from None


def _prove(challenge: Challenge, pin_digest: str, now: Any) -> str:
    long_ago = now - timedelta(seconds=PIN_REUSE_SECONDS)
    piece = pin_digest[:_PINS_KEPT]
    fresh = ~Q(last_pin__contains=piece) | Q(last_pin_at=None) | Q(last_pin_at__lt=long_ago)
    earlier = Concat(Value(piece), Substr("last_pin", 1, _PINS_KEPT * (_PINS_KEPT - 1)))
    same = Q(user_id=challenge.user_id, epoch=challenge.epoch)
    values: dict[str, Any] = {
        "confirmed_at": Coalesce(F("confirmed_at"), now),
        "consecutive_failures": 0,
        "locked_until": None,
        # Before last_pin_at: MariaDB evaluates assignments from left to right, on the new values.
        "last_pin": Case(When(last_pin_at__gte=long_ago, then=earlier), default=Value(piece)),
        "last_pin_at": now,
    }
    epoch = challenge.epoch
    if challenge.purpose == Challenge.Purpose.PHONE:
        values |= enrolment.swap(challenge, now)
        epoch = values["epoch"]
    elif challenge.verigator_id:
        same &= Q(verigator_id=challenge.verigator_id)
    elif challenge.sent_at is not None:
        same &= Q(phone_number=_number_proved(challenge))
    if not VerigatorUser.objects.filter(same, fresh).update(**values):
        ended = not VerigatorUser.objects.filter(same).exists()
        raise Refused(Reason.ENDED if ended else Reason.USED)
    return epoch


def _number_proved(challenge: Challenge) -> str:
    """Return the number in force if it is the one the code went to; the provider kept no record that would tell."""
    number = VerigatorUser.objects.filter(user_id=challenge.user_id).values_list("phone_number", flat=True).first()
    if challenge.phone_digest not in digests("phone", number or ""):
        raise Refused(Reason.ENDED)
    return number or ""


def recover(challenge: Challenge, code: str, address: str | None, *, form: str = "") -> str:
    """Accept a recovery code in place of a PIN, once, and return the epoch that the new proof carries.

    A code is tried under the user's budget, as a PIN is; the provider is not asked.

    Args:
        code: as ``recovery.normalise`` returns it; "" is never right.
        address: where the code came from.
        form: as of ``check``.

    Raises:
        Refused: it is none of the user's unused codes, or the user is locked.
    """
    caps = limits.try_caps(challenge.user_id, address)

    def reserve() -> bool:
        if form and not _unless_repeated(Challenge.objects.filter(pk=challenge.pk), form).update(last_form=form):
            raise Refused(Reason.REPEATED)
        is_last = _take_failure(challenge)
        limits.take(caps)
        return is_last

    def settle() -> None:
        now = timezone.now()
        mine = Challenge.objects.filter(UNPROVED, pk=challenge.pk)
        link = VerigatorUser.objects.filter(user_id=challenge.user_id, epoch=challenge.epoch)
        # The code last: once it is used, everything else is certain.
        if not (
            mine.update(consumed_at=now, outcome=Outcome.VERIFIED, method=METHOD_RECOVERY, next_url="")
            and link.update(consecutive_failures=0, locked_until=None)
            and recovery.use(challenge.user_id, code)
        ):
            raise Refused(Reason.WRONG_CODE)
        limits.give_back(caps)

    try:
        is_last = limits.reserve(reserve)
    except Refused as refused:
        raise _not_tried(challenge, refused) from None
    try:
        short_transaction(settle)
    except Refused as refused:
        barred = _tell_of_lock(challenge, is_last)
        failed = _failed(challenge, refused)
        raise barred or failed from None
    challenge.method = METHOD_RECOVERY
    notices.tell(challenge.user, notices.Notice.RECOVERY_CODE_USED, left=recovery.left(challenge.user))
    return challenge.epoch


def close(challenge: Challenge, outcome: str) -> None:
    """End a challenge without a proof."""
    now = timezone.now()
    mine = Challenge.objects.filter(UNPROVED, pk=challenge.pk)
    # Where the user wanted to go may hold a one-time token; only a login that goes on needs it.
    ended = {"next_url": ""} if outcome == Outcome.CANCELLED else {}
    once_more(lambda: mine.update(consumed_at=now, outcome=outcome, **ended))
    challenge.consumed_at, challenge.outcome = now, outcome
