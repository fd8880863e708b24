"""Erasing one user whose row stays, as in anonymising: everything here, and the records at the provider."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any

from django.contrib.auth.base_user import AbstractBaseUser
from django.db.models import Q

from .. import db, events, shown
from ..db import retry_on_deadlock
from ..models import Challenge, PhoneChange, RecoveryCode, RemoteDeletion, TrustedBrowser, VerigatorUser
from . import deletion, site_phones


class StillSuppliedError(Exception):
    """The site supplies a number for this user, so everything would come back with the next save, login or sync."""


@dataclass(frozen=True, slots=True)
class Erased:
    """What became of the records at the provider.

    Attributes:
        deleted: they are gone there.
        left: they wait for ``verigator_sync``; noted here under UserID and id_in_service until then.
    """

    deleted: int
    left: int


def erase(user: AbstractBaseUser, *, by: str) -> Erased:
    """Erase what is stored about a user: phone, names at the provider, codes, browsers, and each PIN asked for.

    Here it is gone when this returns, whether or not the provider answers. The second step ends as by a reset; no mail
    is sent. Counters stay until their window is over: nothing can be read from them.

    Args:
        by: who did it, for the log (a username, or "command").

    Raises:
        StillSuppliedError: ``PHONE`` finds a number, or fails; nothing was erased.
    """
    if site_phones.phone_of(user) != "":
        raise StillSuppliedError
    records = retry_on_deadlock(lambda: _erase_here(user))
    events.record("erased", user, level=logging.WARNING, by=shown.name(by))
    waiting = list(RemoteDeletion.objects.filter(records))
    left = deletion.delete_now(waiting)
    return Erased(len(waiting) - left, left)


def _erase_here(user: AbstractBaseUser) -> Q:
    """Erase the rows; return which of the deletions that wait are this user's."""
    with db.atomic():
        VerigatorUser.objects.filter(user_id=user.pk).lock()
        # Of earlier records, too, which may still wait for their deletion.
        user_ids = set(Challenge.objects.filter(user_id=user.pk).values_list("verigator_id", flat=True))
        names: set[str] = set()
        rows: Any
        for rows in (VerigatorUser.objects, PhoneChange.objects):
            for user_id, name in rows.filter(user_id=user.pk).values_list("verigator_id", "id_in_service"):
                user_ids.add(user_id or "")
                names.add(name or "")
        for rows in (Challenge.objects, RecoveryCode.objects, TrustedBrowser.objects):
            rows.filter(user_id=user.pk).delete()
        PhoneChange.objects.filter(user_id=user.pk).discard()
        # Its signal notes the record at the provider.
        VerigatorUser.objects.filter(user_id=user.pk).delete()
    return Q(verigator_id__in=user_ids - {""}) | Q(id_in_service__in=names - {""})
