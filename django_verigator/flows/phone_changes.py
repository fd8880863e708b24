"""Phone changes: started, registered, then swapped for the phone in force once a PIN is confirmed."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from django.db import IntegrityError
from django.utils import timezone

from .. import events, rate_limits
from ..backends import BaseBackend, CallOrigin, protected_call
from ..db import atomic_with_retry
from ..digests import digests
from ..exceptions import (
    CircuitOpenError,
    InvalidDataError,
    ProviderBusyError,
    Reason,
    Refused,
    ResourceAlreadyExistsError,
    VerigatorError,
)
from ..models import Challenge, PhoneChange, RemoteDeletion, VerigatorUser, new_trust_version
from ..models.link import NO_REGISTRATION
from ..records import registration
from . import notices, recovery
from .notices import send_notice

LIFETIME = timedelta(hours=1)


def start(link: VerigatorUser, phone_number: str, limits: Sequence[rate_limits.RateLimit] = ()) -> PhoneChange:
    """Store a new number for the user in place of an earlier change; the provider is not called.

    Args:
        link: the user's link; only the phone in force on it may be replaced.
        phone_number: E.164. The same number again keeps the change, with its record at the provider.
        limits: the rate limits of phone changes.

    Raises:
        Refused: CHANGE_LIMIT; too many new numbers.
    """

    def replace_change() -> PhoneChange:
        VerigatorUser.objects.filter(user_id=link.user_id).lock()
        now = timezone.now()
        # Locked, so that no concurrent request uses it while it is discarded.
        change = PhoneChange.objects.select_for_update().filter(user_id=link.user_id).first()
        if change is not None and _is_same_change(change, link, phone_number) and change.expires_at > now:
            return change
        if limits:
            rate_limits.consume(limits)
        if change is not None:
            change.discard()
        return PhoneChange.objects.create(
            user_id=link.user_id,
            phone_number=phone_number,
            replaces=link.phone_in_force,
            id_in_service=registration.new_id_in_service(link.user),
            expires_at=now + LIFETIME,
        )

    return rate_limits.reserve(replace_change)


def _is_same_change(change: PhoneChange, link: VerigatorUser, phone_number: str) -> bool:
    return (change.phone_number, change.replaces) == (phone_number, link.phone_in_force)


def pending(challenge: Challenge) -> PhoneChange | None:
    """Return the phone change that a challenge confirms, or None."""
    # Read again: another browser may have replaced the row since the challenge was read.
    return PhoneChange.objects.filter(pk=challenge.phone_change_id or 0).first()


def register(
    change: PhoneChange, backend: BaseBackend, *, origin: CallOrigin | None = None, timeout: float | None = None
) -> None:
    """Register a new phone at the provider, if that keeps records and has none of it yet.

    Args:
        origin: the origin of the call, for the circuit breaker.
        timeout: seconds that all calls may take.

    Raises:
        Refused: the provider refuses the number (NO_PHONE) or gave its UserID to another user (UNAVAILABLE), or the
            change was replaced (ENDED) or is registered by another request (BUSY).
        NotRegistered: the provider has failed.
        CircuitOpenError, ProviderBusyError: the provider was not asked.
    """
    if not backend.keeps_users or change.verigator_id:
        return
    began = time.monotonic()
    try:
        try:
            user_id = _create_record(change, backend, origin, timeout)
        except ResourceAlreadyExistsError:
            # The record may be a stranger's; only a sync run adopts records.
            _renew_id(change)
            user_id = _create_record(change, backend, origin, registration.time_left(timeout, began))
    except VerigatorError as error:
        events.record("registration_failed", change.user, level=logging.WARNING, **error.details)
        if isinstance(error, InvalidDataError):
            raise Refused(Reason.NO_PHONE) from None
        if isinstance(error, (CircuitOpenError, ProviderBusyError)):
            raise
        raise registration.NotRegistered(sent=False, retry_after=error.retry_after) from None
    values, id_in_service = {"verigator_id": user_id}, change.id_in_service
    try:
        is_stored = atomic_with_retry(lambda: change.transition(values, id_in_service=id_in_service))
    except IntegrityError:  # another phone change has this UserID
        raise Refused(Reason.UNAVAILABLE) from None
    if not is_stored:
        RemoteDeletion.objects.schedule(user_id, change.id_in_service)
        raise Refused(Reason.ENDED)


def _create_record(change: PhoneChange, backend: BaseBackend, origin: CallOrigin | None, timeout: float | None) -> str:
    with protected_call(backend, origin, timeout):
        return backend.register(change.phone_number, change.id_in_service, timeout=timeout)


def _renew_id(change: PhoneChange) -> None:
    new_id, old_id = registration.new_id_in_service(change.user), change.id_in_service

    def store_new_id() -> None:
        if not change.transition({"id_in_service": new_id}, id_in_service=old_id, verigator_id=None):
            raise Refused(Reason.BUSY)  # another browser of this user registers the phone
        RemoteDeletion.objects.schedule(None, old_id)

    atomic_with_retry(store_new_id)


def swap(challenge: Challenge, now: datetime) -> dict[str, Any]:
    """Return the link's new values for a confirmed phone, within the transaction that consumes the challenge.

    Raises:
        Refused: ENDED; the change is gone or too old, or has another number, UserID or phone to replace.
    """
    link = VerigatorUser.objects.select_for_update().filter(user_id=challenge.user_id).first()
    proposals = PhoneChange.objects.select_for_update()
    change = proposals.filter(pk=challenge.phone_change_id or 0, expires_at__gt=now).first()
    if link is None or change is None or challenge.phone_digest not in digests("phone", change.phone_number):
        raise Refused(Reason.ENDED)
    # Empty where the provider keeps no records.
    if challenge.verigator_id and challenge.verigator_id != change.verigator_id:
        raise Refused(Reason.ENDED)
    if link.phone_in_force != change.replaces:  # another phone came into force meanwhile, and stays
        raise Refused(Reason.ENDED)
    notice = notices.Notice.PHONE_CHANGED if change.replaces else notices.Notice.PHONE_ADDED
    send_notice(challenge.user, notice, phone=change.phone_number[-2:], left=recovery.count_unused(challenge.user))
    RemoteDeletion.objects.schedule(link.verigator_id, link.id_in_service)
    change.delete()
    return {
        **NO_REGISTRATION,
        "phone_number": change.phone_number,
        "id_in_service": change.id_in_service,
        "verigator_id": change.verigator_id,
        "state": VerigatorUser.State.REGISTERED if change.verigator_id else VerigatorUser.State.PENDING,
        "registered_at": now,
        "confirmed_at": now,
        "trust_version": new_trust_version(),
    }
