"""Accepting a right PIN or recovery code, once."""

from __future__ import annotations

from datetime import datetime, timedelta
from functools import partial
from typing import Any

from django.db import IntegrityError
from django.utils import timezone

from .. import rate_limits
from ..compiled import Write, run_together
from ..constants import METHOD_RECOVERY
from ..db import atomic_with_retry
from ..digests import digest, digests
from ..exceptions import Reason, Refused
from ..models import Challenge, VerigatorUser, statements
from . import checking, limits, lockout, notices, phone_changes, recovery
from .notices import send_notice

Outcome = Challenge.Outcome
PIN_REUSE_SECONDS = 600
"""How long an accepted PIN is not accepted again, even if the provider accepts it."""


def accept(challenge: Challenge, pin: str, consumed: list[rate_limits.RateLimit]) -> str:
    """Consume a challenge whose PIN is right, once, and return the trust version of the new proof.

    Args:
        consumed: what ``checking.check`` returned; it is refunded.

    Raises:
        Refused: another request was faster, the PIN was accepted before, or the trust version or number has changed.
    """

    def consume_challenge(trusting: dict[str, Any]) -> str:
        now, swapped = timezone.now(), {}
        consume, refund = challenge.consume(valid_at=now), rate_limits.lower_counters(consumed)
        if challenge.purpose == Challenge.Purpose.PHONE:
            _require_consumed(challenge, consume.run())
            swapped = phone_changes.swap(challenge, now)
            proved, _ = run_together(_prove(challenge, pin, now, trusting | swapped), refund)
        else:
            ended, proved, _ = run_together(consume, _prove(challenge, pin, now, trusting), refund)
            _require_consumed(challenge, ended)
        if not proved:
            is_trusted = statements.still_trusted(VerigatorUser.objects.all(), **trusting).exists()
            raise Refused(Reason.USED if is_trusted else Reason.ENDED)
        return str(swapped.get("trust_version", challenge.trust_version))

    try:
        # Read before the transaction: SQLite may refuse a write that follows a read. The write asks again.
        return atomic_with_retry(partial(consume_challenge, _trusting(challenge)))
    except IntegrityError:  # another user has the same UserID
        challenge.close(Outcome.CANCELLED)
        refused = Refused(Reason.ENDED)
    except Refused as error:
        refused = error
        if refused.reason in (Reason.USED, Reason.ENDED):
            challenge.close(Outcome.EXPIRED)
    checking.record_refusal(challenge, refused)
    raise refused


def _require_consumed(challenge: Challenge, consumed: int) -> None:
    if not consumed:
        raise Refused(checking.why_not(challenge))


def _trusting(challenge: Challenge) -> dict[str, Any]:
    """Return what the link must still have for a proof, as ``statements.still_trusted`` takes it."""
    trusting: dict[str, Any] = {"user_id": challenge.user_id, "trusted": challenge.trust_version}
    if challenge.purpose == Challenge.Purpose.PHONE:
        return trusting  # phone_changes.swap compares the phones
    if challenge.verigator_id:
        trusting["sent_to_id"] = challenge.verigator_id
    elif challenge.sent_at is not None:
        trusting["sent_to_number"] = _number_proved(challenge)
    return trusting


def _prove(challenge: Challenge, pin: str, now: datetime, values: dict[str, Any]) -> Write:
    """Return the write of the proof to the link."""
    pin_digest = digest("pin", f"{challenge.user_id}.{pin}")
    remembered_since = now - timedelta(seconds=PIN_REUSE_SECONDS)
    pin_prefix = pin_digest[: statements.PIN_PREFIX]
    return statements.prove(now=now, remembered_since=remembered_since, pin_prefix=pin_prefix, **values)


def _number_proved(challenge: Challenge) -> str:
    """Return the number in force if the code went to it, where the provider keeps no records to compare."""
    number = VerigatorUser.objects.filter(user_id=challenge.user_id).values_list("phone_number", flat=True).first()
    if challenge.phone_digest not in digests("phone", number or ""):
        raise Refused(checking.why_not(challenge))
    return number or ""


def recover(challenge: Challenge, code: str, address: str | None, *, form: str = "") -> str:
    """Accept a recovery code in place of a PIN, once, and return the trust version of the new proof.

    The rate limits count it like a PIN; the provider is not asked.

    Args:
        code: as ``recovery.normalise`` returns it; "" is never right.
        address: the client's IP address.
        form: keyed digest of the posted form; the same form twice in a row costs one try.

    Raises:
        Refused: not an unused code of the user, the user is locked out, or the form was posted before.
    """
    consumed = limits.try_limits(challenge.user_id, address)
    is_last = _reserve_code(challenge, consumed, form)
    try:
        atomic_with_retry(lambda: _use_code(challenge, code, consumed))
    except Refused as refused:
        locked = lockout.announce(challenge, is_last)
        checking.record_refusal(challenge, refused)
        raise locked or refused from None
    challenge.method = METHOD_RECOVERY
    send_notice(challenge.user, notices.Notice.RECOVERY_CODE_USED, left=recovery.count_unused(challenge.user))
    return challenge.trust_version


def _reserve_code(challenge: Challenge, consumed: list[rate_limits.RateLimit], form: str) -> bool:
    """Consume a try; return whether it is the last one before Reason.STOPPED."""

    def consume_try() -> bool:
        if form and not challenge.note_form(form):
            raise Refused(Reason.REPEATED)
        is_last = lockout.count_failure(challenge)
        rate_limits.consume(consumed)
        return is_last

    try:
        return rate_limits.reserve(consume_try)
    except Refused as refused:
        checking.record_not_tried(challenge, refused)
        raise


def _use_code(challenge: Challenge, code: str, consumed: list[rate_limits.RateLimit]) -> None:
    link = VerigatorUser.objects.filter(user_id=challenge.user_id, trust_version=challenge.trust_version)
    # The code last, so that it is used only if everything else holds.
    if not (
        challenge.consume(method=METHOD_RECOVERY).run()
        and link.update(consecutive_failures=0, locked_until=None)
        and recovery.consume(challenge.user_id, code)
    ):
        raise Refused(Reason.WRONG_CODE)
    rate_limits.refund(consumed)
