"""The calls that send a code: which providers are asked, and in which order."""

from __future__ import annotations

import time
from dataclasses import replace

from django.core.exceptions import ImproperlyConfigured

from .. import conf
from ..backends import BaseBackend, CallOrigin, Recipient, Started, backends, protected_call
from ..constants import METHOD_SMS, METHOD_TOTP
from ..exceptions import (
    CircuitOpenError,
    InvalidDataError,
    NoSuchResourceError,
    ProviderBusyError,
    Reason,
    Refused,
    RequestTimeoutError,
    VerigatorError,
)
from ..models import Challenge, PhoneChange, VerigatorUser
from ..records import registration
from . import phone_changes, reports

UNDONE = (400, 401, 403, 404, 405, 409, 422, 429, 503)
"""HTTP statuses after which it is certain that nothing was sent."""

NOT_ASKED = (CircuitOpenError, ProviderBusyError)

_ABOUT_THE_NUMBER = (400, 409, 422)
"""HTTP statuses that are not the provider's fault, so that no other one is asked."""


def method_of(backend: BaseBackend, method: str) -> str:
    """Return how a backend sends what should be sent by ``method``: so, or by text message; "" if WAYS forbids both."""
    allowed = conf.current().WAYS
    if method in backend.methods and method in allowed:
        return method
    return METHOD_SMS if METHOD_SMS in backend.methods and METHOD_SMS in allowed else ""


def candidates(method: str, after: str = "") -> list[BaseBackend]:
    """Return the backends that may send a code, in the order of BACKENDS; behind them those that send a text
    instead, and last the one to begin behind.

    Args:
        method: how it should be sent. The app's provider sends a text itself where the app is not linked, and keeps its
            place.
        after: alias of a backend to begin behind, or "".

    Raises:
        Refused: SMS_FORBIDDEN or WAY_FORBIDDEN; no backend sends so, and the site allows no text.
        ImproperlyConfigured: no backend can be built.
    """
    usable = [backend for backend in backends.usable() if method_of(backend, method)]
    if not usable:
        raise forbidden(method)
    first = next((place for place, backend in enumerate(usable, start=1) if backend.alias == after), 0)
    turned = usable[first:] + usable[:first]
    if method == METHOD_TOTP:
        return turned
    return sorted(turned, key=lambda each: (each.alias == after, method_of(each, method) != method))


def forbidden(method: str) -> Refused:
    """Return the refusal of a method that WAYS or the backends rule out."""
    return Refused(Reason.SMS_FORBIDDEN if method in (METHOD_SMS, METHOD_TOTP) else Reason.WAY_FORBIDDEN)


def has_another_way(challenge: Challenge) -> bool:
    """Whether the code that was sent for this challenge can be sent by another provider."""
    if challenge.sent_at is None or len(conf.current().BACKENDS) < 2:
        return False
    try:
        return any(each.alias != challenge.backend for each in candidates(challenge.requested_method))
    except (Refused, ImproperlyConfigured):
        return False


def other_methods(challenge: Challenge) -> list[str]:
    """Return how else the code can be sent, in the order of WAYS: by which of them that was sent, and the site allows.

    The app is not among them: METHOD asks for it, and only its provider knows whether it is linked.
    """
    if challenge.sent_at is None and not challenge.backend:
        return []
    try:
        known = {method for backend in backends.usable() for method in backend.methods}
    except ImproperlyConfigured:
        return []
    offered = [way for way in conf.current().WAYS if way in known and way != METHOD_TOTP]
    return [way for way in offered if way != (challenge.method or challenge.requested_method)]


def needs_key_press(challenge: Challenge) -> bool:
    """Whether the call that brings this code asks for a key press before it reads it."""
    try:
        return backends[challenge.backend].call_needs_key_press
    except (KeyError, ImproperlyConfigured):
        return False


def another_may_send(error: VerigatorError) -> bool:
    """Whether to ask the next backend: it is certain that nothing was sent, and the number is not why."""
    if isinstance(error, InvalidDataError):
        return not error.sent
    return not error.sent or (error.status in UNDONE and error.status not in _ABOUT_THE_NUMBER)


def start(
    backend: BaseBackend,
    challenge: Challenge,
    link: VerigatorUser,
    change: PhoneChange | None,
    method: str,
    deadline: float,
    *,
    is_last: bool,
) -> Started:
    """Ask one provider to send a code, and set ``challenge.verigator_id``; a missing record is made first.

    Args:
        change: the phone change whose number the code goes to; None for the phone in force.
        method: how it should be sent.
        deadline: ``time.monotonic()`` by which all calls must be over.
        is_last: no other provider is asked after this one.

    Raises:
        Refused: NO_PHONE, or BUSY while another request registers the user.
        VerigatorError: the call, or the one that makes the record, has failed.
    """
    # A record that takes long must leave time for the provider after this one, which may need none.
    most = None if is_last else backend.total_timeout / 2
    if change is not None:
        timeout = _remaining_seconds(deadline, most)
        phone_changes.register(change, backend, origin=_origin(challenge), timeout=timeout)
        recipient = Recipient((change.verigator_id or "") if backend.keeps_users else "", change.phone_number)
    else:
        recipient = _recipient(challenge, link, backend, _remaining_seconds(deadline, most))
    challenge.verigator_id = recipient.user_id
    try:
        return _start_once(backend, challenge, recipient, method, deadline)
    except NoSuchResourceError:
        if change is not None or not backend.keeps_users:
            raise
        # The provider has lost the record, which must not turn the second factor off: it is made again, once.
        registration.mark_lost(link)
        recipient = _recipient(challenge, link, backend, _remaining_seconds(deadline, most))
        challenge.verigator_id = recipient.user_id
        return _start_once(backend, challenge, recipient, method, deadline)


def _origin(challenge: Challenge) -> CallOrigin:
    return CallOrigin.of(challenge.user_id, challenge.phone_digest, challenge.ip)


def _start_once(
    backend: BaseBackend, challenge: Challenge, recipient: Recipient, method: str, deadline: float
) -> Started:
    timeout = _remaining_seconds(deadline)
    recipient = replace(recipient, report_url=reports.url_for(challenge, backend))
    with protected_call(backend, _origin(challenge), timeout):
        return backend.start(recipient, method_of(backend, method) or method, timeout=timeout)


def _recipient(challenge: Challenge, link: VerigatorUser, backend: BaseBackend, timeout: float) -> Recipient:
    if not backend.keeps_users:
        return Recipient("", link.phone_number)
    if link.state != VerigatorUser.State.REGISTERED:
        outcome = registration.register(link, address=challenge.ip, timeout=timeout)
        if outcome == registration.RegistrationResult.REFUSED:
            raise Refused(Reason.NO_PHONE)
        if outcome == registration.RegistrationResult.BUSY:
            raise Refused(Reason.BUSY)
        if link.state != VerigatorUser.State.REGISTERED:
            if link.last_error in (error.reason for error in NOT_ASKED):
                raise CircuitOpenError("not asked for a record", sent=False)
            raise registration.NotRegistered("no record to send to", sent=False)
    return Recipient(link.verigator_id or "", link.phone_number)


def _remaining_seconds(deadline: float, most: float | None = None) -> float:
    seconds = deadline - time.monotonic()
    if seconds <= 0:
        raise RequestTimeoutError("no time left for another call", sent=False)
    return seconds if most is None else min(seconds, most)
