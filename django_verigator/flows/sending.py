"""Sending a code: reserve, call, settle.

``reserve`` consumes a send in one short transaction and commits; then ``deliver`` asks the providers, in the order of
BACKENDS, until one has sent the code, and writes the outcome. A crash in between costs a send, but never gives one.
"""

from __future__ import annotations

import contextlib
from typing import Any

from django.contrib.auth.base_user import AbstractBaseUser
from django.db import IntegrityError
from django.utils import timezone

from .. import conf, phone, rate_limits
from ..backends import BaseBackend
from ..compiled import run_together
from ..constants import METHOD_TOTP
from ..digests import digest
from ..exceptions import Reason, Refused
from ..models import Challenge, PhoneChange, VerigatorUser, statements
from ..rate_limits import RateLimit
from ..records import site_phones
from . import limits, lockout, notices, providers
from .delivery import Delivery, pause_ends, record_refusal
from .notices import send_notice

Outcome = Challenge.Outcome


def default_method() -> str:
    """Return METHOD: how the first code of a login is sent."""
    return str(conf.current().METHOD)


def respect_pause(challenge: Challenge) -> None:
    """Refuse another code until ``resend_at``.

    Raises:
        Refused: PAUSE after a code that was sent or is being sent; UNAVAILABLE where the provider asks for a pause.
    """
    until = challenge.resend_at
    if until is not None and until > timezone.now():
        unavailable = challenge.outcome == Outcome.UNAVAILABLE
        raise Refused(Reason.UNAVAILABLE if unavailable else Reason.PAUSE, until=until)


def require_allowed_number(user: AbstractBaseUser, number: str) -> None:
    """Refuse a number that the site sends no code to, before it is stored as the user's.

    Args:
        number: E.164.

    Raises:
        Refused: NUMBER_REFUSED.
    """
    try:
        site_phones.require_allowed(number)
    except Refused as refused:
        record_refusal(user, refused)
        raise


def reserve(
    challenge: Challenge,
    link: VerigatorUser,
    method: str,
    *,
    change: PhoneChange | None = None,
    previous: Challenge | None = None,
    after: str = "",
) -> Delivery:
    """Consume the rate limits of a send, and store ``challenge`` as the user's newest; nothing is sent yet.

    Args:
        challenge: unsaved; the step after the one in force, which only one of parallel requests can store.
        link: the user's link.
        method: how it should be sent; ``challenge.method`` shows afterwards how it was.
        change: the phone change whose number the code goes to; None for the phone in force.
        previous: the challenge before.
        after: alias of the backend to begin behind ("send it another way"), or "" to begin with the first one.

    Raises:
        Refused: the user is locked out, or a limit or a rule refuses the code. Nothing is stored.
    """
    locked = lockout.active(link)
    if locked is not None:
        raise locked
    number = change.phone_number if change else link.phone_number
    try:
        backends = _require_sendable(challenge, number, method, after)
    except Refused as refused:
        record_refusal(challenge.user, refused)
        raise
    delivery = Delivery(challenge, link, method, change, previous, backends)
    _describe(delivery, number)
    if _is_code_still_good(delivery):
        delivery.backends = []
    else:
        delivery.sends, delivery.calls = _limits_for(delivery, number)
    _consume_and_store(delivery)
    return delivery


def _require_sendable(challenge: Challenge, number: str, method: str, after: str) -> list[BaseBackend]:
    """Return the backends that may send this code, in the order in which to ask them."""
    if method not in conf.current().WAYS:
        raise providers.forbidden(method)
    backends = providers.candidates(method, after)
    site_phones.require_allowed(number)
    if challenge.sends >= conf.current().LIMITS.SENDS_PER_LOGIN:
        raise Refused(Reason.SEND_LIMIT, scope="sends/login")
    return backends


def _describe(delivery: Delivery, number: str) -> None:
    """Have the unsaved challenge say what is about to be sent, to which number, and by whom."""
    challenge = delivery.challenge
    challenge.outcome = Outcome.SENDING
    # Until the provider has answered, so that a second click sends nothing.
    challenge.resend_at = pause_ends(challenge)
    challenge.backend = delivery.backends[0].alias
    challenge.requested_method = delivery.method
    challenge.phone_digest = digest("phone", number)
    challenge.masked_phone = phone.mask(number)
    challenge.phone_change = delivery.change


def _limits_for(delivery: Delivery, number: str) -> tuple[list[RateLimit], list[RateLimit]]:
    challenge = delivery.challenge
    confirmed = delivery.change is None and delivery.link.confirmed_at is not None
    shared = not confirmed and _is_confirmed_by_another_user(number, challenge.user_id)
    sends = limits.send_limits(
        challenge.user_id, number, challenge.ip, confirmed=confirmed, confirmed_by_another=shared
    )
    again = delivery.previous is not None and challenge.sends > 0
    return sends, limits.start_limits(challenge.user_id, challenge.ip, again=again)


def _is_confirmed_by_another_user(number: str, user_pk: Any) -> bool:
    return statements.confirmed_by_another.first(phone_number=number, user_id=user_pk) is not None


def _is_code_still_good(delivery: Delivery) -> bool:
    """Whether an earlier start of the app's code is still valid; if so, ``challenge`` takes it over.

    Otherwise an attacker with the password could use up the user's starts, and so keep the user out.
    """
    challenge = delivery.challenge
    if delivery.method != METHOD_TOTP or delivery.change is not None or challenge.sends:
        return False
    valid = Challenge.objects.filter(user_id=challenge.user_id, sent_at__isnull=False, expires_at__gt=timezone.now())
    rows = list(valid.order_by("-sent_at"))
    # The challenges that share a start also share its verdicts.
    last_start = [row for row in rows if row.sent_at == rows[0].sent_at]
    wanted = (METHOD_TOTP, challenge.backend, delivery.link.verigator_id, challenge.phone_digest)
    for row in last_start:
        if row.outcome not in (Outcome.SENT, Outcome.CANCELLED):
            return False
        if (row.method, row.backend, row.verigator_id, row.phone_digest) != wanted:
            return False
    for row in last_start[:1]:
        challenge.outcome = Outcome.SENT
        challenge.show({name: getattr(row, name) for name in _START_FIELDS})
    return bool(last_start)


_START_FIELDS = ("method", "verigator_id", "reference", "sent_at", "expires_at")


def _consume_and_store(delivery: Delivery) -> None:
    challenge, previous = delivery.challenge, delivery.previous
    consumed = [*delivery.sends, *delivery.calls]

    def insert() -> None:
        # The login may have been cancelled or completed since this request has read it.
        if previous is not None and not Challenge.objects.unproved().filter(pk=previous.pk).exists():
            raise Refused(Reason.ENDED)
        if consumed:
            rate_limits.consume(consumed)
        # Not in one statement with the counters: their rows let parallel sends of a user pass one by one, and only a
        # statement that begins behind them sees the challenge of the one before.
        run_together(challenge.supersede_others(), challenge.insert())

    try:
        # A new user has no rows for the tries either.
        rate_limits.reserve(insert, also=limits.try_limits(challenge.user_id, challenge.ip))
    except IntegrityError:  # another request has sent this step already
        raise Refused(Reason.PAUSE, until=pause_ends(challenge)) from None
    except Refused as refused:
        if refused.reason == Reason.ENDED:
            raise
        if refused.scope in ("starts/user/hour", "sends/user/hour"):
            _notify_owner(challenge.user, refused)
        record_refusal(challenge.user, refused)
        raise


def _notify_owner(user: AbstractBaseUser, refused: Refused) -> None:
    # An attacker who knows the password may have used them up.
    consumed = limits.notice_limits(user.pk)
    with contextlib.suppress(Refused):  # notified already
        rate_limits.reserve(lambda: rate_limits.consume(consumed))
        send_notice(user, notices.Notice.SENDS_USED_UP, until=refused.until)
