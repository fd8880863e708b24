"""A phone number on its way in: started, registered, confirmed by a PIN, swapped for the one in force."""

from __future__ import annotations

import logging
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
    """Write down the number that the user wants to use, in place of an earlier proposal; nothing is called.

    Args:
        link: of the user; the phone in force on it is the one that may be replaced.
        phone_number: E.164. The same number again keeps its proposal and the record made for it.
        limits: what bounds new numbers.

    Raises:
        Refused: too many new numbers.
    """

    def replace() -> PhoneChange:
        VerigatorUser.objects.filter(user_id=link.user_id).lock()
        now = timezone.now()
        # Locked, so that no code is sent to it while it goes.
        change = PhoneChange.objects.select_for_update().filter(user_id=link.user_id).first()
        if change is not None and _is_same(change, link, phone_number) and change.expires_at > now:
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

    return rate_limits.reserve(replace)


def _is_same(change: PhoneChange, link: VerigatorUser, phone_number: str) -> bool:
    return (change.phone_number, change.replaces) == (phone_number, link.phone_in_force)


def pending(challenge: Challenge) -> PhoneChange | None:
    """Return the phone a challenge is to confirm, if it is still proposed."""
    # Not by way of the relation: another browser may have replaced the row that it names.
    return PhoneChange.objects.filter(pk=challenge.phone_change_id or 0).first()


def register(
    change: PhoneChange, backend: BaseBackend, *, cause: CallOrigin | None = None, timeout: float | None = None
) -> None:
    """Make the provider's record of a proposed phone, if the provider keeps records and it is not made yet.

    Args:
        cause: on whose account the provider is asked.

    Raises:
        Refused: the provider refuses the number.
        NotRegistered: it could not be made.
        CircuitOpenError, ProviderBusyError: the provider was not asked.
    """
    if not backend.keeps_users or change.verigator_id:
        return
    try:
        try:
            user_id = _create(change, backend, cause, timeout)
        except ResourceAlreadyExistsError:
            # From a lost reply of ours, or a stranger's: never adopted here.
            _renew_id(change)
            user_id = _create(change, backend, cause, timeout)
    except VerigatorError as error:
        events.record("registration_failed", change.user, level=logging.WARNING, **error.details)
        if isinstance(error, InvalidDataError):
            raise Refused(Reason.NO_PHONE) from None
        if isinstance(error, (CircuitOpenError, ProviderBusyError)):
            raise
        raise registration.NotRegistered(sent=False, retry_after=error.retry_after) from None
    values, name = {"verigator_id": user_id}, change.id_in_service
    try:
        is_stored = atomic_with_retry(lambda: change.transition(values, id_in_service=name))
    except IntegrityError:  # the provider gave a UserID twice
        raise Refused(Reason.UNAVAILABLE) from None
    if not is_stored:
        RemoteDeletion.objects.schedule(user_id, change.id_in_service)
        raise Refused(Reason.ENDED)


def _create(change: PhoneChange, backend: BaseBackend, cause: CallOrigin | None, timeout: float | None) -> str:
    with protected_call(backend, cause, timeout):
        return backend.register(change.phone_number, change.id_in_service, timeout=timeout)


def _renew_id(change: PhoneChange) -> None:
    fresh = registration.new_id_in_service(change.user)

    used = change.id_in_service

    def replace() -> None:
        if not change.transition({"id_in_service": fresh}, id_in_service=used, verigator_id=None):
            raise Refused(Reason.BUSY)  # another browser of this user has it in hand
        RemoteDeletion.objects.schedule(None, used)

    atomic_with_retry(replace)


def swap(challenge: Challenge, now: datetime) -> dict[str, Any]:
    """Return the link's new values for a confirmed phone; part of the transaction that consumes the challenge.

    Raises:
        Refused: the proposal is gone, too old, or another one by now.
    """
    link = VerigatorUser.objects.select_for_update().filter(user_id=challenge.user_id).first()
    proposals = PhoneChange.objects.select_for_update()
    change = proposals.filter(pk=challenge.phone_change_id or 0, expires_at__gt=now).first()
    if link is None or change is None or challenge.phone_digest not in digests("phone", change.phone_number):
        raise Refused(Reason.ENDED)
    # A provider without user records knows the number alone.
    if challenge.verigator_id and challenge.verigator_id != change.verigator_id:
        raise Refused(Reason.ENDED)
    if link.phone_in_force != change.replaces:  # another phone came into force meanwhile, and that one stays
        raise Refused(Reason.ENDED)
    notice = notices.Notice.PHONE_CHANGED if change.replaces else notices.Notice.PHONE_ADDED
    send_notice(challenge.user, notice, phone=change.phone_number[-2:], left=recovery.count_unused(challenge.user))
    RemoteDeletion.objects.schedule(link.verigator_id, link.id_in_service)
    # First out of the way, since both tables keep these ids unique on their own.
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
