"""Accepting a right PIN or recovery code, once."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from django.db import IntegrityError
from django.db.models import Case, F, Q, Value, When
from django.db.models.functions import Coalesce, Concat, Substr
from django.utils import timezone

from .. import rate_limits
from ..constants import METHOD_RECOVERY
from ..db import atomic_with_retry
from ..digests import digest, digests
from ..exceptions import Reason, Refused
from ..models import Challenge, VerigatorUser
from . import checking, limits, lockout, notices, phone_changes, recovery
from .notices import send_notice

Outcome = Challenge.Outcome
PIN_REUSE_SECONDS = 600
"""How long an accepted PIN is not accepted again, even if the provider accepts it."""
_PINS_KEPT = 8
"""How many accepted PINs are remembered, in one column, each by as many hex digits of its digest."""


def accept(challenge: Challenge, pin: str, consumed: list[rate_limits.RateLimit]) -> str:
    """Consume a challenge whose PIN is right, once, and return the trust version of the new proof.

    Args:
        consumed: what ``checking.check`` returned; it is refunded.

    Raises:
        Refused: another request was faster, the PIN was accepted before, or the trust version or number has changed.
    """

    def consume_challenge() -> str:
        now = timezone.now()
        # Also one that a second click has closed: after the right PIN the provider answers that it has no code.
        rows = Challenge.objects.filter(superseded_at=None, expires_at__gt=now)
        if not challenge.consume(rows, {}):
            raise Refused(checking.why_not(challenge))
        trust_version = _prove(challenge, digest("pin", f"{challenge.user_id}.{pin}"), now)
        rate_limits.refund(consumed)
        return trust_version

    try:
        return atomic_with_retry(consume_challenge)
    except IntegrityError:  # another user has the same UserID
        challenge.close(Outcome.CANCELLED)
        refused = Refused(Reason.ENDED)
    except Refused as error:
        refused = error
        if refused.reason in (Reason.USED, Reason.ENDED):
            challenge.close(Outcome.EXPIRED)
    checking.record_refusal(challenge, refused)
    raise refused


def _prove(challenge: Challenge, pin_digest: str, now: datetime) -> str:
    """Write the proof to the link in one UPDATE, and return the trust version."""
    remembered_since = now - timedelta(seconds=PIN_REUSE_SECONDS)
    pin_prefix = pin_digest[:_PINS_KEPT]
    not_reused = ~Q(last_pin__contains=pin_prefix) | Q(last_pin_at=None) | Q(last_pin_at__lt=remembered_since)
    remembered_pins = Concat(Value(pin_prefix), Substr("last_pin", 1, _PINS_KEPT * (_PINS_KEPT - 1)))
    still_trusted = Q(user_id=challenge.user_id, trust_version=challenge.trust_version)
    values: dict[str, Any] = {
        "confirmed_at": Coalesce(F("confirmed_at"), now),
        "consecutive_failures": 0,
        "locked_until": None,
        # Before last_pin_at: MariaDB evaluates assignments from left to right, on the new values.
        "last_pin": Case(When(last_pin_at__gte=remembered_since, then=remembered_pins), default=Value(pin_prefix)),
        "last_pin_at": now,
    }
    trust_version = challenge.trust_version
    if challenge.purpose == Challenge.Purpose.PHONE:
        values |= phone_changes.swap(challenge, now)
        trust_version = values["trust_version"]
    elif challenge.verigator_id:
        still_trusted &= Q(verigator_id=challenge.verigator_id)
    elif challenge.sent_at is not None:
        still_trusted &= Q(phone_number=_number_proved(challenge))
    if not VerigatorUser.objects.filter(still_trusted, not_reused).update(**values):
        ended = not VerigatorUser.objects.filter(still_trusted).exists()
        raise Refused(Reason.ENDED if ended else Reason.USED)
    return trust_version


def _number_proved(challenge: Challenge) -> str:
    """Return the number in force if the code went to it, where the provider keeps no records to compare."""
    number = VerigatorUser.objects.filter(user_id=challenge.user_id).values_list("phone_number", flat=True).first()
    if challenge.phone_digest not in digests("phone", number or ""):
        raise Refused(Reason.ENDED)
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
        challenge.consume(Challenge.objects.all(), {"method": METHOD_RECOVERY})
        and link.update(consecutive_failures=0, locked_until=None)
        and recovery.consume(challenge.user_id, code)
    ):
        raise Refused(Reason.WRONG_CODE)
    rate_limits.refund(consumed)
