"""Erase what is stored about one user whose row stays (anonymised), here and at the provider."""

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
    """The site still supplies a number for this user, so the next save, login or sync would store it again."""


@dataclass(frozen=True, slots=True)
class Erased:
    """What became of the records at the provider.

    Attributes:
        deleted: how many are gone there.
        left: how many wait for ``verigator_sync``; until then UserID and id_in_service are stored here.
    """

    deleted: int
    left: int


def erase(user: AbstractBaseUser, *, by: str) -> Erased:
    """Erase what is stored about a user: phone, ids at the provider, recovery codes, trusted browsers, challenges.

    It is gone here when this returns, whether or not the provider answers. Two-factor authentication ends as by a
    reset; no mail is sent. Counters stay until their window is over: their keys are digests.

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
    """Erase the rows; return the filter for this user's scheduled deletions."""
    with db.atomic():
        VerigatorUser.objects.filter(user_id=user.pk).lock()
        # Earlier records of the user may still wait for their deletion.
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
        # pre_delete schedules the deletion at the provider.
        VerigatorUser.objects.filter(user_id=user.pk).delete()
    return Q(verigator_id__in=user_ids - {""}) | Q(id_in_service__in=names - {""})
