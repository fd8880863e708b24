"""A right PIN or recovery code counts once."""

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
"""For so long an accepted PIN is not accepted again, whatever the provider says."""
_PINS_KEPT = 8
"""How many accepted PINs are remembered; their digests share one column, in pieces of as many digits."""


def accept(challenge: Challenge, pin: str, address: str | None) -> str:
    """Consume a challenge whose PIN is right, once, and return the trust_version that the new proof carries.

    Raises:
        Refused: another request was faster, the same PIN was accepted before, or the user's trust has ended since.
    """
    consumed = limits.try_limits(challenge.user_id, address)

    def settle() -> str:
        now = timezone.now()
        # A second click may have closed it: once the right PIN was given, the provider knows of no code any more.
        rows = Challenge.objects.filter(superseded_at=None, expires_at__gt=now)
        if not challenge.consume(rows, {}):
            raise Refused(checking.why_not(challenge))
        trust_version = _prove(challenge, digest("pin", f"{challenge.user_id}.{pin}"), now)
        rate_limits.refund(consumed)
        return trust_version

    try:
        return atomic_with_retry(settle)
    except IntegrityError:  # the provider gave this UserID to another user as well
        challenge.close(Outcome.CANCELLED)
        refused = Refused(Reason.ENDED)
    except Refused as error:
        refused = error
        if refused.reason in (Reason.USED, Reason.ENDED):
            challenge.close(Outcome.EXPIRED)
    checking.record_refusal(challenge, refused)
    raise refused


def _prove(challenge: Challenge, pin_digest: str, now: datetime) -> str:
    long_ago = now - timedelta(seconds=PIN_REUSE_SECONDS)
    piece = pin_digest[:_PINS_KEPT]
    fresh = ~Q(last_pin__contains=piece) | Q(last_pin_at=None) | Q(last_pin_at__lt=long_ago)
    earlier = Concat(Value(piece), Substr("last_pin", 1, _PINS_KEPT * (_PINS_KEPT - 1)))
    same = Q(user_id=challenge.user_id, trust_version=challenge.trust_version)
    values: dict[str, Any] = {
        "confirmed_at": Coalesce(F("confirmed_at"), now),
        "consecutive_failures": 0,
        "locked_until": None,
        # Before last_pin_at: MariaDB evaluates assignments from left to right, on the new values.
        "last_pin": Case(When(last_pin_at__gte=long_ago, then=earlier), default=Value(piece)),
        "last_pin_at": now,
    }
    trust_version = challenge.trust_version
    if challenge.purpose == Challenge.Purpose.PHONE:
        values |= phone_changes.swap(challenge, now)
        trust_version = values["trust_version"]
    elif challenge.verigator_id:
        same &= Q(verigator_id=challenge.verigator_id)
    elif challenge.sent_at is not None:
        same &= Q(phone_number=_number_proved(challenge))
    if not VerigatorUser.objects.filter(same, fresh).update(**values):
        ended = not VerigatorUser.objects.filter(same).exists()
        raise Refused(Reason.ENDED if ended else Reason.USED)
    return trust_version


def _number_proved(challenge: Challenge) -> str:
    """Return the number in force if the code went to it; such a provider keeps no record that would tell."""
    number = VerigatorUser.objects.filter(user_id=challenge.user_id).values_list("phone_number", flat=True).first()
    if challenge.phone_digest not in digests("phone", number or ""):
        raise Refused(Reason.ENDED)
    return number or ""


def recover(challenge: Challenge, code: str, address: str | None, *, form: str = "") -> str:
    """Accept a recovery code in place of a PIN, once, and return the trust_version that the new proof carries.

    The user's rate limits count a code as they count a PIN; the provider is not asked.

    Args:
        code: as ``recovery.normalise`` returns it; "" is never right.
        address: where the code came from.
        form: as of ``checking.check``.

    Raises:
        Refused: it is none of the user's unused codes, or the user is locked out.
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
    """Take a try; return whether it is the last one before the user is locked out for good."""

    def take() -> bool:
        if form and not challenge.note_form(form):
            raise Refused(Reason.REPEATED)
        is_last = lockout.count_failure(challenge)
        rate_limits.consume(consumed)
        return is_last

    try:
        return rate_limits.reserve(take)
    except Refused as refused:
        checking.record_not_tried(challenge, refused)
        raise


def _use_code(challenge: Challenge, code: str, consumed: list[rate_limits.RateLimit]) -> None:
    link = VerigatorUser.objects.filter(user_id=challenge.user_id, trust_version=challenge.trust_version)
    # The code last: once it is used, everything else is certain.
    if not (
        challenge.consume(Challenge.objects.all(), {"method": METHOD_RECOVERY})
        and link.update(consecutive_failures=0, locked_until=None)
        and recovery.consume(challenge.user_id, code)
    ):
        raise Refused(Reason.WRONG_CODE)
    rate_limits.refund(consumed)
