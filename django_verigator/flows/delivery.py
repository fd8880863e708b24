"""Delivering a reserved code: the providers are asked to send it, and the outcome is written.

No transaction is open during a call. One send is counted and one deadline holds, however many providers are asked.
"""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, NoReturn

from django.contrib.auth.base_user import AbstractBaseUser
from django.db import IntegrityError
from django.db.models import Q, QuerySet
from django.utils import timezone

from .. import conf, db, events, rate_limits, signals
from ..backends import BaseBackend, Started
from ..constants import METHOD_TOTP
from ..db import atomic_with_retry, retry_on_deadlock
from ..digests import digests
from ..exceptions import Reason, Refused, VerigatorError
from ..models import Challenge, PhoneChange, VerigatorUser
from ..rate_limits import RateLimit
from . import providers, reports
from .providers import NOT_ASKED, UNDONE

Outcome = Challenge.Outcome
LONGEST_PAUSE_SECONDS = 600
_MESSAGE_ID = re.compile(r"[A-Za-z0-9._:/+=@~-]{1,128}\Z")
"""Of anything else a gateway's own code may return, its whole answer or the text, nothing is stored."""


@dataclass
class Delivery:
    """A code that is reserved, but not sent yet.

    Attributes:
        challenge: the stored challenge.
        method: how it should be sent.
        change: the phone change whose number the code goes to; None for the phone in force.
        previous: the challenge before; if nothing is sent, its code is valid again.
        backends: asked in this order; none where an earlier code of the app is still valid.
        sends, calls: the rate limits consumed for the send, and for the calls to providers.
    """

    challenge: Challenge
    link: VerigatorUser
    method: str
    change: PhoneChange | None
    previous: Challenge | None
    backends: list[BaseBackend]
    sends: list[RateLimit] = field(default_factory=list)
    calls: list[RateLimit] = field(default_factory=list)


def pause_ends(challenge: Challenge) -> datetime:
    """Return when another code may be sent."""
    return challenge.created_at + _resend_pause(challenge)


def _resend_pause(challenge: Challenge) -> timedelta:
    # Doubled with each further code of a login: only the first pause matters to most users.
    seconds = conf.current().LIMITS.RESEND_PAUSE * 2 ** min(challenge.sends, 10)
    return timedelta(seconds=min(seconds, LONGEST_PAUSE_SECONDS))


def deliver(delivery: Delivery) -> None:
    """Ask the providers one after the other until one has sent the code, and write the outcome.

    Raises:
        Refused: no code was sent that may be used. The challenge stays stored with that outcome, unless the code of
            the previous one is valid again.
    """
    challenge = delivery.challenge
    if not delivery.backends:
        events.record("code_still_good", challenge.user, method=challenge.method, challenge=challenge)
        return
    deadline = time.monotonic() + delivery.backends[0].total_timeout
    errors: list[VerigatorError] = []
    last = delivery.backends[-1]
    for backend in delivery.backends:
        if errors:
            if time.monotonic() >= deadline:  # The row names the one asked last: another try begins behind it.
                break
            # Before the call, so that after a crash the row names the provider that may have sent.
            challenge.verigator_id = ""
            _write(challenge, backend=backend.alias)
        try:
            started = providers.start(
                backend,
                challenge,
                delivery.link,
                delivery.change,
                delivery.method,
                deadline,
                is_last=backend is last,
            )
        except Refused:
            _settle_unsent(delivery, [])
            raise
        except VerigatorError as error:
            _record_failure(challenge, error)
            errors.append(error)
            if not providers.another_may_send(error):
                break
        else:
            _settle_started(delivery, started)
            return
    _settle_errors(delivery, errors)


def _settle_started(delivery: Delivery, started: Started) -> None:
    challenge = delivery.challenge
    if started.method not in conf.current().WAYS:
        forbidden = Refused(Reason.SMS_FORBIDDEN if delivery.method == METHOD_TOTP else Reason.WAY_FORBIDDEN)
        _write(challenge, outcome=Outcome.REFUSED, refusal=forbidden.reason.value, method=started.method)
        record_refusal(challenge.user, forbidden)
        raise forbidden
    try:
        _write_sent(delivery, Outcome.SENT, started)
    except IntegrityError:  # another user's valid code has this reference
        _write(challenge, outcome=Outcome.UNAVAILABLE, resend_at=timezone.now())
        details: dict[str, Any] = {"reason": "reference_twice", "backend": challenge.backend}
        events.record("send_failed", challenge.user, level=logging.WARNING, status=None, **details)
        raise Refused(Reason.UNAVAILABLE) from None
    if started.method == METHOD_TOTP:
        rate_limits.refund(delivery.sends)
    events.record("code_sent", challenge.user, signal=signals.code_sent, method=started.method, challenge=challenge)


def _settle_errors(delivery: Delivery, errors: Sequence[VerigatorError]) -> None:
    challenge = delivery.challenge
    wait = min(error.retry_after or 0 for error in errors)
    until = timezone.now() + timedelta(seconds=wait) if wait else None
    if not any(error.sent for error in errors):
        is_asked = not all(isinstance(error, NOT_ASKED) for error in errors)
        _settle_unsent(delivery, [] if is_asked else delivery.calls, until)
        _refuse_unavailable(until)
    if all(not error.sent or error.status in UNDONE for error in errors):
        # A provider has refused the call: the send stays counted, which bounds the calls.
        _write(challenge, outcome=Outcome.UNAVAILABLE, resend_at=until or timezone.now())
        _refuse_unavailable(until)
    # The code may have been sent: no other provider is asked, and its PIN may be tried.
    # It is the one asked last. With a PIN of our own its error says what a PIN can be checked against.
    method = providers.method_of(delivery.backends[len(errors) - 1], delivery.method)
    _write_sent(delivery, Outcome.UNCLEAR, Started(method, errors[-1].reference))


def _refuse_unavailable(until: datetime | None) -> NoReturn:
    raise Refused(Reason.UNAVAILABLE, until=until)


def _settle_unsent(delivery: Delivery, calls: list[RateLimit], resend_at: datetime | None = None) -> None:
    rate_limits.refund([*delivery.sends, *calls])
    if delivery.previous is not None and delivery.previous.is_running(timezone.now()):
        _restore_previous(delivery.challenge, delivery.previous)
    else:
        _write(delivery.challenge, outcome=Outcome.UNAVAILABLE, resend_at=resend_at)


def _restore_previous(challenge: Challenge, previous: Challenge) -> None:
    def swap_back() -> None:
        Challenge.objects.filter(pk=challenge.pk).delete()
        newer = Challenge.objects.open().filter(user_id=challenge.user_id)
        if previous.method == METHOD_TOTP:
            newer = newer.exclude(method=METHOD_TOTP)
        if not newer.exists():
            previous.transition({"superseded_at": None}, superseded_at=challenge.created_at)

    atomic_with_retry(swap_back)


def _write_sent(delivery: Delivery, outcome: str, started: Started) -> None:
    challenge, now, reference = delivery.challenge, timezone.now(), started.reference
    about_message = {
        "message_id": started.message_id if _MESSAGE_ID.match(started.message_id or "") else "",
        "delivery_channel": reports.storable_channel(started.channel),
    }
    values: dict[str, Any] = {
        "outcome": outcome,
        "method": started.method,
        "reference": reference,
        **{name: value for name, value in about_message.items() if value},
        "sent_at": now,
        "expires_at": now + timedelta(seconds=conf.current().LIMITS.CHALLENGE_SECONDS),
        "resend_at": now + _resend_pause(challenge),
    }
    if not reference:
        _write(challenge, **values)
        return
    newest, *older = known = digests("reference", f"{challenge.backend}.{reference}")

    def write() -> None:
        with db.savepoint():
            if older:  # Of before a rotation of SECRET_KEY: under the key in force, so that UNIQUE sees it.
                Challenge.objects.filter(reference_digest__in=older).update(reference_digest=newest)
            _write(challenge, **values, reference_digest=newest)

    try:
        retry_on_deadlock(write)
    except IntegrityError:
        _free_reference(delivery, Challenge.objects.filter(reference_digest__in=known))
        retry_on_deadlock(write)


def _free_reference(delivery: Delivery, rows: QuerySet[Challenge]) -> None:
    """Take the reference from a code of this user, or one that is no longer valid.

    Who has confirmed the number also takes it from who has not: a stranger who enters it as a new one keeps nobody out.
    """
    now = timezone.now()
    own = Q(user_id=delivery.challenge.user_id)
    rows.filter(own).update(reference_digest=None)
    others, in_use = rows.exclude(own), Q(consumed_at=None, superseded_at=None, expires_at__gt=now)
    if delivery.change is None and delivery.link.confirmed_at is not None:
        # By the purpose: the phone change may be discarded while its code is still valid.
        strangers = Q(purpose=Challenge.Purpose.PHONE) | Q(user__verigator__confirmed_at=None)
        others.filter(strangers, in_use).update(superseded_at=now)
    # Without the reference, since another request may be about to make this code valid again.
    others.exclude(in_use).update(reference="", reference_digest=None)


def _write(challenge: Challenge, **values: Any) -> None:
    challenge.record({**values, "verigator_id": challenge.verigator_id})


def _record_failure(challenge: Challenge, error: VerigatorError) -> None:
    if isinstance(error, NOT_ASKED):  # the circuit breaker logs a warning when it opens
        events.record("not_asked", challenge.user, reason=error.reason, backend=challenge.backend)
    else:
        events.record("send_failed", challenge.user, level=logging.WARNING, **error.details, backend=challenge.backend)


def record_refusal(user: AbstractBaseUser, refused: Refused) -> None:
    """Log a refused send, and send ``limit_reached``."""
    events.record(
        "send_refused",
        user,
        signal=signals.limit_reached,
        level=logging.WARNING,
        scope=refused.scope or refused.reason.value,
        until=refused.until,
    )
