"""Checking a PIN: reserve, call, settle.

One short transaction consumes a try and commits; then the provider that has sent the code is asked; then the outcome is
written. A crash in between costs a try, but never gives one. No transaction is open during the call.
"""

from __future__ import annotations

import logging
from contextlib import nullcontext
from datetime import timedelta
from typing import NoReturn

from django.core.exceptions import ImproperlyConfigured
from django.utils import timezone

from .. import events, rate_limits, signals
from ..backends import BaseBackend, CallOrigin, Checked, Recipient, backends, protected_call
from ..compiled import run_together
from ..exceptions import NoSuchResourceError, Reason, Refused, VerigatorError
from ..models import Challenge
from ..rate_limits import RateLimit
from . import limits, lockout

Outcome = Challenge.Outcome


class _PerhapsLast(Exception):  # noqa: N818 - no error
    """A failure is the last one before STOPPED, or one too many."""


def check(challenge: Challenge, pin: str, address: str | None, *, form: str = "") -> list[RateLimit]:
    """Ask the provider whether ``pin`` is right for this challenge; return only if it is.

    Args:
        pin: 4 to 16 ASCII digits.
        address: the client's IP address.
        form: keyed digest of the posted form; the same form twice in a row costs one try.

    Returns:
        The rate limits that the try has consumed, which a login refunds.

    Raises:
        Refused: the PIN is wrong, or there is no verdict. The try is refunded only if the call was never sent.
    """
    consumed = limits.try_limits(challenge.user_id, address)
    try:
        is_last = _reserve_try(challenge, consumed, form)
    except Refused as refused:
        record_not_tried(challenge, refused)
        raise
    checked = _ask_sender(challenge, pin, consumed)
    if checked.expired:
        _close_and_refuse(challenge, Outcome.EXPIRED, Reason.EXPIRED)
    if checked.throttled:
        _close_and_refuse(challenge, Outcome.THROTTLED, Reason.TOO_MANY_TRIES)
    if checked.verified is not True:
        _refuse_wrong(challenge, is_last)
    if challenge.outcome == Outcome.SENT and checked.method not in ("", challenge.method):
        # The verdict is about another code.
        events.record("check_failed", challenge.user, level=logging.WARNING, reason="another_method", status=None)
        _refuse_unclear(challenge)
    return consumed


def _reserve_try(challenge: Challenge, consumed: list[RateLimit], form: str) -> bool:
    """Consume a try; return whether it is the last one before Reason.STOPPED."""
    lockout.require_none(challenge)
    reason = challenge.closed_reason()
    if reason is not None:
        raise Refused(reason)

    def refuse() -> NoReturn:
        reason = why_not(challenge, form)
        raise Refused(reason, tries_left=challenge.tries_left if reason == Reason.REPEATED else None)

    def consume_try() -> bool:
        tried, failed, raised = run_together(
            challenge.count_try(form), lockout.failure(challenge), rate_limits.raise_counters(consumed)
        )
        if not tried:
            refuse()
        if not failed:
            raise _PerhapsLast
        rate_limits.require_all(consumed, raised)
        return False

    def consume_last_try() -> bool:
        if not challenge.count_try(form).run():
            refuse()
        # Before the rate limits: LOCKED, which waiting ends, must not hide STOPPED, which it does not.
        is_last = lockout.count_failure(challenge)
        rate_limits.consume(consumed)
        return is_last

    try:
        is_last = rate_limits.reserve(consume_try)
    except _PerhapsLast:
        # From the beginning, since all transactions lock challenge, link and counters in this order.
        is_last = rate_limits.reserve(consume_last_try)
    challenge.tries += 1
    return is_last


def _ask_sender(challenge: Challenge, pin: str, consumed: list[RateLimit]) -> Checked:
    backend = _sending_backend(challenge)
    if backend is None:  # a new code comes from another backend
        _refuse_untried(challenge, consumed, Refused(Reason.EXPIRED))
    recipient = Recipient(challenge.verigator_id)
    origin = CallOrigin.of(challenge.user_id, challenge.phone_digest, challenge.ip)
    timeout = backend.total_timeout
    try:
        # No outage of the provider may stop a check that asks nobody.
        with nullcontext() if backend.checks_pins_itself else protected_call(backend, origin, timeout):
            return backend.check(recipient, pin, challenge.reference, timeout=timeout)
    except NoSuchResourceError:
        _close_and_refuse(challenge, Outcome.EXPIRED, Reason.EXPIRED)
    except VerigatorError as error:
        events.record("check_failed", challenge.user, level=logging.WARNING, **error.details)
        if error.sent:
            _refuse_unclear(challenge)
        until = timezone.now() + timedelta(seconds=error.retry_after) if error.retry_after else None
        _refuse_untried(challenge, consumed, Refused(Reason.UNAVAILABLE, until=until))


def _sending_backend(challenge: Challenge) -> BaseBackend | None:
    """Return the backend that has sent the code; None if the settings no longer have it."""
    try:
        backend = backends[challenge.backend]
    except (KeyError, ImproperlyConfigured):
        return None
    # The alias may now belong to another provider, one that keeps user records.
    return None if backend.keeps_users and not challenge.verigator_id else backend


def why_not(challenge: Challenge, form: str = "") -> Reason:
    """Return why a conditional UPDATE of the challenge has not matched, by the row as it is now.

    Args:
        form: keyed digest of the posted form, or "".
    """
    try:
        challenge.refresh_from_db()
    except Challenge.DoesNotExist:  # the user was deleted meanwhile
        return Reason.ENDED
    return challenge.closed_reason() or (Reason.REPEATED if form and challenge.last_form == form else Reason.ENDED)


def _close_and_refuse(challenge: Challenge, outcome: str, reason: Reason) -> NoReturn:
    """End the challenge, and undo the failure: whether the PIN was right, the provider has not said."""
    challenge.close(outcome)
    lockout.undo_failure(challenge)
    _record_and_raise(challenge, Refused(reason))


def _refuse_unclear(challenge: Challenge) -> NoReturn:
    """Keep the try, since the provider may have counted it too; undo the failure, since there is no verdict."""
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
    refused = Refused(Reason.WRONG, tries_left=challenge.tries_left)
    record_refusal(challenge, refused)
    raise locked or (refused if refused.tries_left else Refused(Reason.TOO_MANY_TRIES))


def _record_and_raise(challenge: Challenge, refused: Refused) -> NoReturn:
    record_refusal(challenge, refused)
    raise refused from None


def record_not_tried(challenge: Challenge, refused: Refused) -> None:
    """Record a refusal before the call, but for a lockout, which was recorded when it began."""
    if refused.reason not in (Reason.LOCKED, Reason.STOPPED) or refused.scope:
        record_refusal(challenge, refused)


def record_refusal(challenge: Challenge, refused: Refused) -> None:
    """Log a refused PIN or recovery code, and send ``verification_failed``."""
    events.record(
        "verification_failed",
        challenge.user,
        signal=signals.verification_failed,
        reason=refused.reason.value,
        challenge=challenge,
    )
