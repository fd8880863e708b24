"""Which providers are asked to send a code, in which order, and the calls."""

from __future__ import annotations

import time

from django.core.exceptions import ImproperlyConfigured

from .. import conf, rate_limits
from ..backends import BaseBackend, CallOrigin, Recipient, Started, backends, protected_call
from ..constants import METHOD_TOTP
from ..exceptions import (
    CircuitOpenError,
    NoSuchResourceError,
    ProviderBusyError,
    Reason,
    Refused,
    RequestTimeoutError,
    VerigatorError,
)
from ..models import Challenge, PhoneChange, VerigatorUser
from ..records import registration
from . import phone_changes

UNDONE = (400, 401, 403, 404, 405, 409, 422, 429, 503)
"""Statuses that say for certain that nothing was sent."""

NOT_ASKED = (CircuitOpenError, ProviderBusyError)

_ABOUT_THE_NUMBER = (400, 409, 422)
"""Statuses that are no fault of the provider's; another one is not asked by itself."""


def candidates(after: str) -> list[BaseBackend]:
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
        return candidates(challenge.backend)[0].alias != challenge.backend
    except (Refused, ImproperlyConfigured):
        return False


def another_may_send(error: VerigatorError) -> bool:
    """Whether the next backend is asked by itself: nothing was sent, and not because of the number."""
    return not error.sent or (error.status in UNDONE and error.status not in _ABOUT_THE_NUMBER)


def start(
    backend: BaseBackend,
    challenge: Challenge,
    link: VerigatorUser,
    change: PhoneChange | None,
    method: str,
    deadline: float,
) -> Started:
    if change is not None:
        phone_changes.register(change, backend, cause=_cause(challenge), timeout=_left(deadline))
        recipient = Recipient((change.verigator_id or "") if backend.keeps_users else "", change.phone_number)
    else:
        recipient = _recipient(challenge, link, backend, deadline)
    challenge.verigator_id = recipient.user_id
    try:
        return _start_once(backend, challenge, recipient, method, deadline)
    except NoSuchResourceError:
        if change is not None or not backend.keeps_users:
            raise
        # The provider lost the record. It is made anew once; the second factor is never off because of it.
        registration.mark_lost(link)
        recipient = _recipient(challenge, link, backend, deadline)
        challenge.verigator_id = recipient.user_id
        return _start_once(backend, challenge, recipient, method, deadline)


def _cause(challenge: Challenge) -> CallOrigin:
    return rate_limits.cause(challenge.user_id, challenge.phone_digest, challenge.ip)


def _start_once(
    backend: BaseBackend, challenge: Challenge, recipient: Recipient, method: str, deadline: float
) -> Started:
    timeout = _left(deadline)
    with protected_call(backend, _cause(challenge), timeout):
        return backend.start(recipient, method, timeout=timeout)


def _recipient(challenge: Challenge, link: VerigatorUser, backend: BaseBackend, deadline: float) -> Recipient:
    if not backend.keeps_users:
        return Recipient("", link.phone_number)
    if link.state != VerigatorUser.State.REGISTERED:
        outcome = registration.register(link, address=challenge.ip, timeout=_left(deadline))
        if outcome == registration.RegistrationResult.REFUSED:
            raise Refused(Reason.NO_PHONE)
        if outcome == registration.RegistrationResult.BUSY:
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
