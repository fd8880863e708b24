"""The registration of one link at the provider: lease it, call, store the answer."""

from __future__ import annotations

import logging
import re
import secrets
import time
from datetime import timedelta
from enum import Enum
from typing import Any

from django.contrib.auth.base_user import AbstractBaseUser
from django.db import IntegrityError
from django.utils import timezone

from .. import conf, events, signals
from ..backends import BaseBackend, CallOrigin, protected_call
from ..digests import digest
from ..exceptions import CircuitOpenError, ProviderBusyError, ResourceAlreadyExistsError, VerigatorError
from ..models import RemoteDeletion, VerigatorUser
from . import backoff
from .backoff import MOST_ATTEMPTS
from .links import State
from .provider import record_backend

LEASE_SECONDS = 60

_REFUSED_NUMBER = 422

_NOT_IN_AN_ID = re.compile(r"[^a-z0-9._@+-]+")


class RegistrationResult(Enum):
    """What became of one user's registration; the value is what commands show."""

    UNCHANGED = "unchanged"
    REGISTERED = "registered"
    REPAIRED = "repaired"
    NO_PHONE = "without a phone"
    BUSY = "in other hands"
    REFUSED = "number refused"
    POSTPONED = "postponed"


class NotRegistered(VerigatorError):  # noqa: N818 - the reason is in the log already
    """The provider has no record of the user, and none could be made now; no code was sent."""

    reason = "not_registered"


def new_id_in_service(user: AbstractBaseUser) -> str:
    """Return a fresh id for a user and one phone: readable in front, unguessable behind (at most 57 characters)."""
    readable = conf.current().ID_IN_SERVICE
    try:
        name = str(conf.resolve(readable)(user) if readable else user.get_username())
    except Exception as error:  # noqa: BLE001 - the site's code may raise anything, and a login must go on
        events.site_failed("id_failed", user, error)
        name = "user"
    return f"{_NOT_IN_AN_ID.sub('', name.lower())[:40]}-{secrets.token_hex(8)}"


def register(
    link: VerigatorUser, *, address: str | None = None, timeout: float | None = None, force: bool = True
) -> RegistrationResult:
    """Register a link that waits; afterwards ``link`` shows what is stored.

    A conditional UPDATE leases the attempt to one worker. No transaction is open during the call.

    Args:
        address: the IP address of the request that needs the record.
        timeout: seconds for all calls; a second one follows only a 409.
        force: also before ``next_attempt_at``.
    """
    if link.state not in VerigatorUser.WAITING:
        return _settled(link)
    backend = record_backend()
    if backend is None:
        return RegistrationResult.UNCHANGED
    repairing = link.state == State.REPAIR
    if not lease(link, force=force):
        if not link.reload():
            return RegistrationResult.UNCHANGED
        return RegistrationResult.BUSY if link.state in VerigatorUser.WAITING else _settled(link)
    began = time.monotonic()
    try:
        try:
            user_id = _create(backend, link, address, timeout)
        except ResourceAlreadyExistsError:
            # Ours from a lost reply, or another site's with any phone: only a sync adopts a record.
            link.replace_id(new_id_in_service(link.user))
            user_id = _create(backend, link, address, time_left(timeout, began))
    except VerigatorError as error:
        return mark_failed(link, error)
    mark_registered(link, user_id)
    return RegistrationResult.REPAIRED if repairing else RegistrationResult.REGISTERED


def time_left(timeout: float | None, began: float) -> float | None:
    """Return what is left of the seconds that several calls may take; never so little that it would mean no limit.

    Args:
        began: ``time.monotonic()`` before the first call.
    """
    return None if timeout is None else max(timeout - (time.monotonic() - began), 0.01)


def _create(backend: BaseBackend, link: VerigatorUser, address: str | None, timeout: float | None) -> str:
    with protected_call(backend, CallOrigin.of(link.user_id, digest("phone", link.phone_number), address), timeout):
        return backend.register(link.phone_number, link.id_in_service or "", timeout=timeout)


def _settled(link: VerigatorUser) -> RegistrationResult:
    if link.state == State.FAILED:
        return RegistrationResult.REFUSED
    return RegistrationResult.UNCHANGED if link.state == State.REGISTERED else RegistrationResult.NO_PHONE


def lease(link: VerigatorUser, *, force: bool) -> bool:
    """Lease a link for one attempt, and return whether this worker has it.

    Args:
        force: also before ``next_attempt_at``.
    """
    return link.lease(LEASE_SECONDS, link.id_in_service or new_id_in_service(link.user), due_only=not force)


def mark_registered(link: VerigatorUser, user_id: str) -> None:
    """Store the UserID; where the link has another phone now, schedule the record's deletion."""
    try:
        is_stored = link.mark_registered(user_id)
    except IntegrityError:
        # Another link has this UserID, so the provider has mixed its answers up.
        mark_failed(link, VerigatorError("the provider gave a UserID twice"))
        return
    if not is_stored:
        RemoteDeletion.objects.schedule(user_id, link.id_in_service)
        return
    events.record("registered", link.user, signal=signals.registered, link=link)


def mark_failed(link: VerigatorUser, error: VerigatorError) -> RegistrationResult:
    """Store a failed attempt and when the next one is due; return REFUSED or POSTPONED."""
    now = timezone.now()
    values: dict[str, Any] = {"last_error": error.reason, "last_error_at": now, "leased_until": None}
    if error.status == _REFUSED_NUMBER and link.registered_at is None:
        # Only a number that the provider never took: no answer may switch an existing second factor off.
        values |= {"state": State.FAILED, "next_attempt_at": None}
    elif isinstance(error, (CircuitOpenError, ProviderBusyError)):
        # The provider was not asked, so no attempt is counted.
        values |= {"next_attempt_at": now + timedelta(seconds=error.retry_after or 0)}
    else:
        attempts = min(link.attempts + 1, MOST_ATTEMPTS)
        values |= {"attempts": attempts, "next_attempt_at": now + backoff.delay(link.attempts, error)}
    link.transition(values, id_in_service=link.id_in_service)
    link.show(values)
    events.record("registration_failed", link.user, level=logging.WARNING, **error.details)
    return RegistrationResult.REFUSED if link.state == State.FAILED else RegistrationResult.POSTPONED


def mark_lost(link: VerigatorUser) -> None:
    """Mark a record as lost by the provider: the next attempt registers the phone in force under a fresh id."""
    link.mark_lost()
    link.reload()
    events.record("record_lost", link.user, level=logging.WARNING)
