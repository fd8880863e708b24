"""TODO"""

from __future__ import annotations

import logging
from datetime import timedelta

from django.core.exceptions import ImproperlyConfigured
from django.db.models import F, Q, QuerySet
from django.utils import timezone

from .. import conf, events, rate_limits, signals
from ..backends import BaseBackend, Checked, Recipient, asking, backends
from ..db import retry_on_deadlock
from ..exceptions import NoSuchResourceError, Reason, Refused, VerigatorError
from ..models import Challenge
from . import limits, lockout

Outcome = Challenge.Outcome

UNPROVED = Q(consumed_at=None) | Q(outcome__in=(Outcome.EXPIRED, Outcome.THROTTLED))
"""The challenge has ended at most because its code has; the login still waits."""


def check(challenge: Challenge, pin: str, address: str | None, *, form: str = "") -> None:
    """Ask the provider whether ``pin`` is right for this challenge; return if it is.

    Args:
        address: where the PIN came from.
        form: by what the form is known again that it was typed into; posted twice in a row it costs one try.

    Raises:
        Refused: it is not, or nobody can say. Only a call that was never sent leaves the tries as they were.
    """
    caps = limits.try_limits(challenge.user_id, address)
    try:
        is_last = _reserve_try(challenge, caps, form)
    except Refused as refused:
        raise not_tried(challenge, refused) from None
    backend = _sender(challenge)
    if backend is None:  # a new code comes from another one
        raise _give_back_try(challenge, caps, Refused(Reason.EXPIRED))
    try:
        checked = _ask(backend, challenge, pin)
    except NoSuchResourceError:
        close(challenge, Outcome.EXPIRED)
        raise failed(challenge, Refused(Reason.EXPIRED)) from None
    except VerigatorError as error:
        events.record("check_failed", challenge.user, level=logging.WARNING, **error.details)
        if not error.sent:
            until = timezone.now() + timedelta(seconds=error.retry_after) if error.retry_after else None
            raise _give_back_try(challenge, caps, Refused(Reason.UNAVAILABLE, until=until)) from None
        lockout.undo_failure(challenge)
        raise Refused(Reason.UNCLEAR, tries_left=_tries_left(challenge)) from None
    if checked.expired:
        close(challenge, Outcome.EXPIRED)
        raise failed(challenge, Refused(Reason.EXPIRED))
    if checked.throttled:
        close(challenge, Outcome.THROTTLED)
        raise failed(challenge, Refused(Reason.TOO_MANY_TRIES))
    if checked.verified is not True:
        raise _wrong(challenge, is_last)
    if challenge.outcome == Outcome.SENT and checked.method not in ("", challenge.method):
        # A verdict about something that was not asked is no verdict.
        events.record("check_failed", challenge.user, level=logging.WARNING, reason="another_method", status=None)
        lockout.undo_failure(challenge)
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
    cause = rate_limits.cause(challenge.user_id, challenge.phone_digest, challenge.ip)
    with asking(backend, cause, backend.total_timeout):
        return backend.check(recipient, pin, challenge.reference, timeout=backend.total_timeout)


def _reserve_try(challenge: Challenge, caps: list[rate_limits.RateLimit], form: str) -> bool:
    """Take a try; return whether it is the last one before the hard stop."""
    barred = lockout.active(getattr(challenge.user, "verigator", None))
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
        if not unless_repeated(rows, form).update(tries=F("tries") + 1, last_form=form):
            reason = why_not(challenge, form)
            raise Refused(reason, tries_left=_tries_left(challenge) if reason == Reason.REPEATED else None)
        # First, since a lock for an hour is not to hide a stop that waiting does not end.
        is_last = lockout.count_failure(challenge)
        rate_limits.consume(caps)
        return is_last

    is_last = rate_limits.reserve(work)
    challenge.tries += 1
    return is_last


def unless_repeated(rows: QuerySet[Challenge], form: str) -> QuerySet[Challenge]:
    return rows.exclude(last_form=form) if form else rows


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


def why_not(challenge: Challenge, form: str = "") -> Reason:
    try:
        challenge.refresh_from_db()
    except Challenge.DoesNotExist:  # its user was deleted meanwhile
        return Reason.ENDED
    return why_closed(challenge) or (Reason.REPEATED if form and challenge.last_form == form else Reason.ENDED)


def _tries_left(challenge: Challenge) -> int:
    return max(conf.current().LIMITS.TRIES_PER_CHALLENGE - challenge.tries, 0)


def _give_back_try(challenge: Challenge, caps: list[rate_limits.RateLimit], refused: Refused) -> Refused:
    mine = Challenge.objects.filter(pk=challenge.pk, tries__gt=0)
    retry_on_deadlock(lambda: mine.update(tries=F("tries") - 1))
    challenge.tries -= 1
    rate_limits.refund(caps)
    lockout.undo_failure(challenge)
    refused.tries_left = _tries_left(challenge)
    return refused


def _wrong(challenge: Challenge, is_last: bool) -> Refused:
    barred = lockout.announce(challenge, is_last)
    left = _tries_left(challenge)
    refused = failed(challenge, Refused(Reason.WRONG, tries_left=left))
    return barred or (refused if left else Refused(Reason.TOO_MANY_TRIES))


def not_tried(challenge: Challenge, refused: Refused) -> Refused:
    # A lock or stop was told of when it came about, once: what runs against it is not to fill the log.
    is_told = refused.reason in (Reason.LOCKED, Reason.STOPPED) and not refused.scope
    return refused if is_told else failed(challenge, refused)


def failed(challenge: Challenge, refused: Refused) -> Refused:
    events.record(
        "verification_failed",
        challenge.user,
        signal=signals.verification_failed,
        reason=refused.reason.value,
        challenge=challenge,
    )
    return refused


def close(challenge: Challenge, outcome: str) -> None:
    """End a challenge without a proof."""
    now = timezone.now()
    mine = Challenge.objects.filter(UNPROVED, pk=challenge.pk)
    # Where the user wanted to go may hold a one-time token; only a login that goes on needs it.
    ended = {"next_url": ""} if outcome == Outcome.CANCELLED else {}
    retry_on_deadlock(lambda: mine.update(consumed_at=now, outcome=outcome, **ended))
    challenge.consumed_at, challenge.outcome = now, outcome
