"""A right PIN or recovery code counts once."""

from __future__ import annotations

from datetime import timedelta
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
from .checking import UNPROVED, Outcome
from .notices import send_notice

PIN_REUSE_SECONDS = 600
"""For so long an accepted PIN is not accepted again, whatever the provider says."""

_PINS_KEPT = 8
"""Of so many that were accepted last; their digests share one column, in pieces of as many digits."""


def accept(challenge: Challenge, pin: str, address: str | None) -> str:
    """Consume a challenge whose PIN is right, once, and return the epoch that the new proof carries.

    Raises:
        Refused: somebody was faster, the same PIN was accepted before, or the user's trust has ended since.
    """
    caps = limits.try_limits(challenge.user_id, address)

    def work() -> str:
        now = timezone.now()
        # A second click may have closed it: once the right PIN was given, the provider knows of no code any more.
        consumed = Challenge.objects.filter(UNPROVED, pk=challenge.pk, superseded_at=None, expires_at__gt=now).update(
            consumed_at=now, outcome=Outcome.VERIFIED, next_url=""
        )
        if not consumed:
            raise Refused(checking.why_not(challenge))
        epoch = _prove(challenge, digest("pin", f"{challenge.user_id}.{pin}"), now)
        rate_limits.refund(caps)
        return epoch

    try:
        return atomic_with_retry(work)
    except IntegrityError:  # the provider gave this UserID to another user as well
        checking.close(challenge, Outcome.CANCELLED)
        raise checking.failed(challenge, Refused(Reason.ENDED)) from None
    except Refused as refused:
        if refused.reason in (Reason.USED, Reason.ENDED):
            checking.close(challenge, Outcome.EXPIRED)
        raise checking.failed(challenge, refused) from None


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
        values |= phone_changes.swap(challenge, now)
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
    caps = limits.try_limits(challenge.user_id, address)

    def reserve() -> bool:
        if form and not checking.unless_repeated(Challenge.objects.filter(pk=challenge.pk), form).update(
            last_form=form
        ):
            raise Refused(Reason.REPEATED)
        is_last = lockout.count_failure(challenge)
        rate_limits.consume(caps)
        return is_last

    def settle() -> None:
        now = timezone.now()
        mine = Challenge.objects.filter(UNPROVED, pk=challenge.pk)
        link = VerigatorUser.objects.filter(user_id=challenge.user_id, epoch=challenge.epoch)
        # The code last: once it is used, everything else is certain.
        if not (
            mine.update(consumed_at=now, outcome=Outcome.VERIFIED, method=METHOD_RECOVERY, next_url="")
            and link.update(consecutive_failures=0, locked_until=None)
            and recovery.consume(challenge.user_id, code)
        ):
            raise Refused(Reason.WRONG_CODE)
        rate_limits.refund(caps)

    try:
        is_last = rate_limits.reserve(reserve)
    except Refused as refused:
        raise checking.not_tried(challenge, refused) from None
    try:
        atomic_with_retry(settle)
    except Refused as refused:
        barred = lockout.announce(challenge, is_last)
        failed = checking.failed(challenge, refused)
        raise barred or failed from None
    challenge.method = METHOD_RECOVERY
    send_notice(challenge.user, notices.Notice.RECOVERY_CODE_USED, left=recovery.count_unused(challenge.user))
    return challenge.epoch
