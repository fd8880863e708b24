"""Sending a code: reserve, call, settle.

One short transaction takes a send from the counters and commits; only then are providers asked, in the order of
BACKENDS, until one has sent; then the outcome is written. A crash in between costs a send, never gives one. No
transaction is open during a call, and however many providers are asked, one send is counted and one deadline holds.
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.db import IntegrityError, router, transaction
from django.db.models import Q
from django.utils import timezone

from .. import conf, phone, signals
from ..backends import BaseBackend, CallOrigin, Recipient, Started, backends, protected_call
from ..constants import METHOD_SMS, METHOD_TOTP
from ..exceptions import (
    CircuitOpenError,
    NoSuchResourceError,
    ProviderBusyError,
    RequestTimeoutError,
    VerigatorError,
)
from ..models import Challenge, PhoneChange, VerigatorUser
from . import enrolment, events, limits, notices, registration
from .checking import UNPROVED
from .deadlocks import once_more, short_transaction
from .digests import digest
from .refusals import Reason, Refused

Outcome = Challenge.Outcome
LONGEST_PAUSE_SECONDS = 600

_UNDONE = (400, 401, 403, 404, 405, 409, 422, 429, 503)
"""Statuses that say for certain that nothing was sent."""

NOT_ASKED = (CircuitOpenError, ProviderBusyError)

_ABOUT_THE_NUMBER = (400, 409, 422)
"""Statuses that are no fault of the provider's; another one is not asked by itself."""


def start(
    challenge: Challenge,
    link: VerigatorUser,
    method: str,
    *,
    change: PhoneChange | None = None,
    previous: Challenge | None = None,
    after: str = "",
) -> None:
    """Save ``challenge`` as the user's newest and have its code sent.

    Args:
        challenge: not saved yet; the step after the one in force, so that of parallel calls one is sent.
        link: the user's link; its record at the provider is made or repaired on the way.
        method: "sms" or "totp"; how it really went is in ``challenge.method`` afterwards.
        change: send to this new phone instead of the one in force.
        previous: the step before; if nothing is sent now, its code stays good.
        after: alias of a backend; begin with the one behind it ("send it another way"), not with the first.

    Raises:
        Refused: nothing was sent, or nothing that may be used. What could be saved is saved: after a refusal by a
            limit ``challenge`` is not stored, after a failure of the provider it is.
    """
    barred = limits.barred(link)
    if barred is not None:  # its PIN could not be used
        raise barred
    number = change.phone_number if change else link.phone_number
    try:
        if method == METHOD_SMS and not conf.current().ALLOW_SMS:
            raise Refused(Reason.SMS_FORBIDDEN)
        candidates = _candidates(after)
        limits.admit_number(number)
        if challenge.sends >= conf.current().LIMITS.SENDS_PER_LOGIN:
            raise Refused(Reason.SEND_LIMIT, scope="sends/login")
    except Refused as refused:
        raise _recorded(challenge.user, refused) from None
    confirmed = change is None and link.confirmed_at is not None
    shared = not confirmed and _is_somebody_else_s(number, challenge.user_id)
    caps = limits.send_caps(challenge.user_id, number, challenge.ip, confirmed=confirmed, is_somebody_else_s=shared)
    calls = limits.start_caps(challenge.user_id, challenge.ip, again=previous is not None and challenge.sends > 0)
    challenge.outcome = Outcome.SENDING
    # Until the provider has answered; a second click meanwhile sends nothing.
    challenge.resend_at = _pause_ends(challenge)
    challenge.backend = candidates[0].alias
    challenge.requested_method = method
    challenge.phone_digest = digest("phone", number)
    challenge.masked_phone = phone.mask(number)
    challenge.phone_change = change
    if method == METHOD_TOTP and change is None and challenge.sends == 0 and _goes_on(challenge, link, candidates[0]):
        _reserve_send(challenge, [], previous)
        events.record("code_still_good", challenge.user, method=challenge.method, challenge=challenge)
        return
    _reserve_send(challenge, [*caps, *calls], previous)
    deadline = time.monotonic() + candidates[0].total_timeout
    errors: list[VerigatorError] = []
    for backend in candidates:
        if errors:
            # Before it is asked: whatever happens then, the row names the provider that may have sent.
            challenge.verigator_id = ""
            _write(challenge, backend=backend.alias)
        try:
            started = _call(backend, challenge, link, change, method, deadline)
        except Refused as refused:
            _settle_unsent(challenge, caps, previous)
            raise refused
        except VerigatorError as error:
            _record_failure(challenge, error)
            errors.append(error)
            if not _another_may_send(error):
                break
        else:
            _settle_started(challenge, caps, started)
            return
    if all(isinstance(error, NOT_ASKED) for error in errors):
        caps += calls
    _settle_errors(challenge, caps, errors, previous)


def _goes_on(challenge: Challenge, link: VerigatorUser, backend: BaseBackend) -> bool:
    """Whether the app's code that an earlier start has asked for is still good; then ``challenge`` waits for it too.

    Whoever knows the password would otherwise use up the starts of a user, who could not log in then.
    """
    live = Challenge.objects.filter(user_id=challenge.user_id, sent_at__isnull=False, expires_at__gt=timezone.now())
    rows = list(live.order_by("-sent_at"))
    # Those of one start: what the provider has said to one of them holds for all.
    same = [row for row in rows if row.sent_at == rows[0].sent_at]
    wanted = (METHOD_TOTP, backend.alias, link.verigator_id, challenge.phone_digest)
    for row in same:
        if row.outcome not in (Outcome.SENT, Outcome.CANCELLED):
            return False
        if (row.method, row.backend, row.verigator_id, row.phone_digest) != wanted:
            return False
    for row in same[:1]:
        challenge.outcome = Outcome.SENT
        for name in ("method", "verigator_id", "reference", "sent_at", "expires_at"):
            setattr(challenge, name, getattr(row, name))
    return bool(same)


def admit_number(user: Any, number: str) -> None:
    """Refuse a number that the site sends nothing to, before it is taken as the user's.

    Raises:
        Refused: NUMBER_REFUSED.
    """
    try:
        limits.admit_number(number)
    except Refused as refused:
        raise _recorded(user, refused) from None


def _recorded(user: Any, refused: Refused) -> Refused:
    events.record(
        "send_refused",
        user,
        signal=signals.limit_reached,
        level=logging.WARNING,
        scope=refused.scope or refused.reason.value,
        until=refused.until,
    )
    return refused


def _candidates(after: str) -> list[BaseBackend]:
    found = backends.usable()
    if not conf.current().ALLOW_SMS:
        found = [backend for backend in found if METHOD_TOTP in backend.methods]
        if not found:
            raise Refused(Reason.SMS_FORBIDDEN)
    place = next((place for place, backend in enumerate(found, start=1) if backend.alias == after), 0)
    return found[place:] + found[:place]


def has_another_way(challenge: Challenge) -> bool:
    """Whether a code that was sent for this challenge can be sent through another provider instead."""
    if challenge.sent_at is None or len(conf.current().BACKENDS) < 2:
        return False
    try:
        return _candidates(challenge.backend)[0].alias != challenge.backend
    except (Refused, ImproperlyConfigured):
        return False


def _another_may_send(error: VerigatorError) -> bool:
    """Whether the next backend is asked by itself: nothing was sent, and not because of the number."""
    return not error.sent or (error.status in _UNDONE and error.status not in _ABOUT_THE_NUMBER)


def _record_failure(challenge: Challenge, error: VerigatorError) -> None:
    if isinstance(error, NOT_ASKED):  # told about already, once
        events.record("not_asked", challenge.user, reason=error.reason, backend=challenge.backend)
    else:
        events.record("send_failed", challenge.user, level=logging.WARNING, **error.details, backend=challenge.backend)


def _is_somebody_else_s(number: str, user_pk: Any) -> bool:
    owners = VerigatorUser.objects.filter(phone_number=number, confirmed_at__isnull=False)
    return owners.exclude(user_id=user_pk).exists()


def _reserve_send(challenge: Challenge, caps: list[limits.Cap], previous: Challenge | None) -> None:
    # The tries that the code brings along are counted in rows that a new user has not got either.
    tries = limits.try_caps(challenge.user_id, challenge.ip)

    def work() -> None:
        # A login that was cancelled or completed since this request has read it is not to begin again.
        if previous is not None and not Challenge.objects.filter(UNPROVED, pk=previous.pk).exists():
            raise Refused(Reason.ENDED)
        if caps:
            limits.take(caps)
        # The provider keeps one running authentication a user: this one ends all others.
        others = Challenge.objects.filter(user_id=challenge.user_id, consumed_at=None, superseded_at=None)
        if challenge.requested_method == METHOD_TOTP:
            # But the app shows the same code for all of them.
            others = others.exclude(~Q(nonce_digest=challenge.nonce_digest), method=METHOD_TOTP)
        others.update(superseded_at=challenge.created_at)
        challenge.save(force_insert=True)

    try:
        limits.reserve(work, also=tries)
    except IntegrityError:  # somebody sent this step already
        challenge._state.adding = True  # what was inserted is rolled back
        raise Refused(Reason.PAUSE, until=_pause_ends(challenge)) from None
    except Refused as refused:
        challenge._state.adding = True
        if refused.reason == Reason.ENDED:
            raise
        if refused.scope in ("starts/user/hour", "sends/user/hour"):
            _tell_owner(challenge.user, refused)
        raise _recorded(challenge.user, refused) from None


def _tell_owner(user: Any, refused: Refused) -> None:
    # Somebody else may have used them up, who knows the password.
    caps = limits.told_caps(user.pk)
    with contextlib.suppress(Refused):  # told already
        limits.reserve(lambda: limits.take(caps))
        notices.tell(user, notices.Notice.SENDS_USED_UP, until=refused.until)


def _pause_ends(challenge: Challenge) -> Any:
    return challenge.created_at + _pause(challenge)


def _pause(challenge: Challenge) -> timedelta:
    # Doubled with each further code of the same login; what matters to a user is the first one.
    seconds = conf.current().LIMITS.RESEND_PAUSE * 2 ** min(challenge.sends, 10)
    return timedelta(seconds=min(seconds, LONGEST_PAUSE_SECONDS))


def _call(
    backend: BaseBackend,
    challenge: Challenge,
    link: VerigatorUser,
    change: PhoneChange | None,
    method: str,
    deadline: float,
) -> Started:
    if change is not None:
        enrolment.register(change, backend, cause=_cause(challenge), timeout=_left(deadline))
        recipient = Recipient((change.verigator_id or "") if backend.keeps_users else "", change.phone_number)
    else:
        recipient = _recipient(challenge, link, backend, deadline)
    challenge.verigator_id = recipient.user_id
    try:
        return _start(backend, challenge, recipient, method, deadline)
    except NoSuchResourceError:
        if change is not None or not backend.keeps_users:
            raise
        # The provider lost the record. It is made anew once; the second factor is never off because of it.
        registration.repair(link)
        recipient = _recipient(challenge, link, backend, deadline)
        challenge.verigator_id = recipient.user_id
        return _start(backend, challenge, recipient, method, deadline)


def _cause(challenge: Challenge) -> CallOrigin:
    return limits.cause(challenge.user_id, challenge.phone_digest, challenge.ip)


def _start(backend: BaseBackend, challenge: Challenge, recipient: Recipient, method: str, deadline: float) -> Started:
    timeout = _left(deadline)
    with protected_call(backend, _cause(challenge), timeout):
        return backend.start(recipient, method, timeout=timeout)


def _recipient(challenge: Challenge, link: VerigatorUser, backend: BaseBackend, deadline: float) -> Recipient:
    if not backend.keeps_users:
        return Recipient("", link.phone_number)
    if link.state != VerigatorUser.State.REGISTERED:
        outcome = registration.register(link, address=challenge.ip, timeout=_left(deadline))
        if outcome == registration.Outcome.REFUSED:
            raise Refused(Reason.NO_PHONE)
        if outcome == registration.Outcome.BUSY:
            raise Refused(Reason.BUSY)
        if link.state != VerigatorUser.State.REGISTERED:
            if link.last_error in (error.reason for error in NOT_ASKED):
                raise CircuitOpenError("not asked for a record", sent=False)
            raise registration.NotRegistered("no record to send to", sent=False)
    return Recipient(link.verigator_id or "", link.phone_number)


def _left(deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise RequestTimeoutError("no time left for another call", sent=False)
    return left


def _settle_started(challenge: Challenge, caps: list[limits.Cap], started: Started) -> None:
    if started.method == METHOD_SMS and not conf.current().ALLOW_SMS:
        forbidden = Refused(Reason.SMS_FORBIDDEN)
        _write(challenge, outcome=Outcome.REFUSED, refusal=forbidden.reason.value, method=started.method)
        raise _recorded(challenge.user, forbidden)
    try:
        _write_sent(challenge, Outcome.SENT, started.method, started.reference)
    except IntegrityError:  # of somebody else's code that may still be used
        _write(challenge, outcome=Outcome.UNAVAILABLE, resend_at=timezone.now())
        details: dict[str, Any] = {"reason": "reference_twice", "backend": challenge.backend}
        events.record("send_failed", challenge.user, level=logging.WARNING, status=None, **details)
        raise Refused(Reason.UNAVAILABLE) from None
    if started.method == METHOD_TOTP:
        limits.give_back(caps)
    events.record("code_sent", challenge.user, signal=signals.code_sent, method=started.method, challenge=challenge)


def _settle_unsent(
    challenge: Challenge, caps: list[limits.Cap], previous: Challenge | None, resend_at: datetime | None = None
) -> None:
    limits.give_back(caps)
    if previous is not None and previous.is_running(timezone.now()):
        _restore(challenge, previous)
    else:
        _write(challenge, outcome=Outcome.UNAVAILABLE, resend_at=resend_at)


def _restore(challenge: Challenge, previous: Challenge) -> None:
    def work() -> None:
        Challenge.objects.filter(pk=challenge.pk).delete()
        newer = Challenge.objects.filter(user_id=challenge.user_id, consumed_at=None, superseded_at=None)
        if previous.method == METHOD_TOTP:
            newer = newer.exclude(method=METHOD_TOTP)
        if not newer.exists():
            Challenge.objects.filter(pk=previous.pk, superseded_at=challenge.created_at).update(superseded_at=None)

    short_transaction(work)


def _settle_errors(
    challenge: Challenge, caps: list[limits.Cap], errors: Sequence[VerigatorError], previous: Challenge | None
) -> None:
    wait = min(error.retry_after or 0 for error in errors)
    until = timezone.now() + timedelta(seconds=wait) if wait else None
    if not any(error.sent for error in errors):
        _settle_unsent(challenge, caps, previous, until)
        raise Refused(Reason.UNAVAILABLE, until=until)
    if all(not error.sent or error.status in _UNDONE for error in errors):
        # A provider saw the call and refused it: the send stays counted, so that nobody hammers it.
        _write(challenge, outcome=Outcome.UNAVAILABLE, resend_at=until or timezone.now())
        raise Refused(Reason.UNAVAILABLE, until=until)
    # The text may be out: nothing is sent again by itself, and its PIN may be used.
    _write_sent(challenge, Outcome.UNCLEAR, challenge.requested_method, "")


def _write_sent(challenge: Challenge, outcome: str, method: str, reference: str) -> None:
    now = timezone.now()
    config = conf.current().LIMITS
    values: dict[str, Any] = {
        "outcome": outcome,
        "method": method,
        "reference": reference,
        "sent_at": now,
        "expires_at": now + timedelta(seconds=config.CHALLENGE_SECONDS),
        "resend_at": now + _pause(challenge),
    }
    if not reference:
        _write(challenge, **values)
        return
    taken = digest("reference", f"{challenge.backend}.{reference}")

    @transaction.atomic(using=router.db_for_write(Challenge))
    def work() -> None:
        _write(challenge, **values, reference_digest=taken)

    try:
        once_more(work)
    except IntegrityError:
        # This user's own, or one whose code is worth nothing any more, makes way.
        elsewhere = Q(consumed_at=None, superseded_at=None, expires_at__gt=now) & ~Q(user_id=challenge.user_id)
        Challenge.objects.filter(reference_digest=taken).exclude(elsewhere).update(reference_digest=None)
        once_more(work)


def _write(challenge: Challenge, **values: Any) -> None:
    values["verigator_id"] = challenge.verigator_id
    # What the provider was told is not forgotten because of a deadlock.
    once_more(lambda: Challenge.objects.filter(pk=challenge.pk).update(**values))
    for name, value in values.items():
        setattr(challenge, name, value)
