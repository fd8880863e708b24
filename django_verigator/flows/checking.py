"""Checking a PIN: reserve, call, settle.

One short transaction takes a try from the counters and commits; only then is the provider asked that has sent the code;
then the outcome is written. A crash in between costs a try, never gives one. No transaction is open during a call.
"""

from __future__ import annotations

import logging
from datetime import timedelta
from typing import NoReturn

from django.core.exceptions import ImproperlyConfigured
from django.utils import timezone

from .. import events, rate_limits, signals
from ..backends import BaseBackend, Checked, Recipient, backends, protected_call
from ..exceptions import NoSuchResourceError, Reason, Refused, VerigatorError
from ..models import Challenge
from ..rate_limits import RateLimit
from . import limits, lockout

Outcome = Challenge.Outcome


def check(challenge: Challenge, pin: str, address: str | None, *, form: str = "") -> None:
    """Ask the provider whether ``pin`` is right for this challenge; return if it is.

    Args:
        address: where the PIN came from.
        form: keyed digest of the form it was typed into; the same form twice in a row costs one try.

    Raises:
        Refused: it is not, or nobody can say. Only a call that was never sent leaves the tries as they were.
    """
    consumed = limits.try_limits(challenge.user_id, address)
    try:
        is_last = _reserve_try(challenge, consumed, form)
    except Refused as refused:
        record_not_tried(challenge, refused)
        raise
    checked = _ask_sender(challenge, pin, consumed)
    if checked.expired:
        _end(challenge, Outcome.EXPIRED, Reason.EXPIRED)
    if checked.throttled:
        _end(challenge, Outcome.THROTTLED, Reason.TOO_MANY_TRIES)
    if checked.verified is not True:
        _refuse_wrong(challenge, is_last)
    if challenge.outcome == Outcome.SENT and checked.method not in ("", challenge.method):
        # A verdict about another method is no verdict about this code.
        events.record("check_failed", challenge.user, level=logging.WARNING, reason="another_method", status=None)
        _refuse_unclear(challenge)


def _reserve_try(challenge: Challenge, consumed: list[RateLimit], form: str) -> bool:
    """Take a try; return whether it is the last one before the user is locked out for good."""
    lockout.require_none(challenge)
    reason = challenge.closed_reason()
    if reason is not None:
        raise Refused(reason)

    def take() -> bool:
        if not challenge.count_try(form):
            reason = why_not(challenge, form)
            raise Refused(reason, tries_left=challenge.tries_left if reason == Reason.REPEATED else None)
        # Before the rate limits: a lockout for an hour must not hide one that waiting does not end.
        is_last = lockout.count_failure(challenge)
        rate_limits.consume(consumed)
        return is_last

    is_last = rate_limits.reserve(take)
    challenge.tries += 1
    return is_last


def _ask_sender(challenge: Challenge, pin: str, consumed: list[RateLimit]) -> Checked:
    backend = _sender(challenge)
    if backend is None:  # a new code comes from another one
        _refuse_untried(challenge, consumed, Refused(Reason.EXPIRED))
    recipient = Recipient(challenge.verigator_id)
    cause = rate_limits.cause(challenge.user_id, challenge.phone_digest, challenge.ip)
    try:
        with protected_call(backend, cause, backend.total_timeout):
            return backend.check(recipient, pin, challenge.reference, timeout=backend.total_timeout)
    except NoSuchResourceError:
        _end(challenge, Outcome.EXPIRED, Reason.EXPIRED)
    except VerigatorError as error:
        events.record("check_failed", challenge.user, level=logging.WARNING, **error.details)
        if error.sent:
            _refuse_unclear(challenge)
        until = timezone.now() + timedelta(seconds=error.retry_after) if error.retry_after else None
        _refuse_untried(challenge, consumed, Refused(Reason.UNAVAILABLE, until=until))


def _sender(challenge: Challenge) -> BaseBackend | None:
    """Return the backend that has sent the code; None if the site has dropped it, or broken its settings, since."""
    try:
        backend = backends[challenge.backend]
    except (KeyError, ImproperlyConfigured):
        return None
    # The alias may belong to another provider by now, which knows its users by a record.
    return None if backend.keeps_users and not challenge.verigator_id else backend


def why_not(challenge: Challenge, form: str = "") -> Reason:
    """Return why a conditional UPDATE has not matched, by what is stored now."""
    try:
        challenge.refresh_from_db()
    except Challenge.DoesNotExist:  # its user was deleted meanwhile
        return Reason.ENDED
    return challenge.closed_reason() or (Reason.REPEATED if form and challenge.last_form == form else Reason.ENDED)


# Each of these records what happened, then raises Refused.


def _end(challenge: Challenge, outcome: str, reason: Reason) -> NoReturn:
    challenge.close(outcome)
    _refuse(challenge, Refused(reason))


def _refuse_unclear(challenge: Challenge) -> NoReturn:
    """The try counts, since the provider may have seen it; it is no failure, since nobody knows the verdict."""
    lockout.undo_failure(challenge)
    raise Refused(Reason.UNCLEAR, tries_left=challenge.tries_left) from None


def _refuse_untried(challenge: Challenge, consumed: list[RateLimit], refused: Refused) -> NoReturn:
    challenge.return_try()
    rate_limits.refund(consumed)
    lockout.undo_failure(challenge)
    refused.tries_left = challenge.tries_left
    raise refused from None


def _refuse_wrong(challenge: Challenge, is_last: bool) -> NoReturn:
    locked = lockout.announce(challenge, is_last)
    left = challenge.tries_left
    refused = Refused(Reason.WRONG, tries_left=left)
    record_refusal(challenge, refused)
    raise locked or (refused if left else Refused(Reason.TOO_MANY_TRIES))


def _refuse(challenge: Challenge, refused: Refused) -> NoReturn:
    record_refusal(challenge, refused)
    raise refused from None


def record_not_tried(challenge: Challenge, refused: Refused) -> None:
    # A lockout was announced when it began: tries during it do not fill the log.
    if refused.reason not in (Reason.LOCKED, Reason.STOPPED) or refused.scope:
        record_refusal(challenge, refused)


def record_refusal(challenge: Challenge, refused: Refused) -> None:
    events.record(
        "verification_failed",
        challenge.user,
        signal=signals.verification_failed,
        reason=refused.reason.value,
        challenge=challenge,
    )
