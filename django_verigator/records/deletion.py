"""The records that are to be deleted at the provider."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable

from django.db.models import Exists, OuterRef
from django.utils import timezone

from .. import shown
from ..exceptions import VerigatorError
from ..models import RemoteDeletion, VerigatorUser
from . import backoff
from .backoff import MOST_ATTEMPTS
from .provider import record_backend

logger = logging.getLogger("django_verigator")


def cancel_for_records_in_use() -> None:
    """Cancel deletions of records that a link uses: an import may bring the UserID of a record noted by its id."""
    in_force = VerigatorUser.objects.filter(verigator_id=OuterRef("verigator_id"))
    RemoteDeletion.objects.with_user_id().filter(Exists(in_force)).delete()


def mark_deleted(rows: Collection[RemoteDeletion]) -> None:
    """Remove deletions that are done."""
    for row in rows:
        logger.info("record_deleted verigator_id=%s", shown.field(row.verigator_id))
    RemoteDeletion.objects.filter(pk__in=[row.pk for row in rows]).delete()


def mark_failed(row: RemoteDeletion, error: VerigatorError) -> None:
    """Store a failed deletion, and when the next attempt is due."""
    RemoteDeletion.objects.filter(pk=row.pk).update(
        attempts=min(row.attempts + 1, MOST_ATTEMPTS),
        next_attempt_at=timezone.now() + backoff.delay(row.attempts, error),
        last_error=error.reason,
    )


def delete_now(rows: Iterable[RemoteDeletion]) -> int:
    """Delete these records at the provider; return how many are left to ``verigator_sync``.

    Rows without a UserID are left: only the provider's list shows whether it has their record.
    """
    backend = record_backend()
    left = 0
    for row in rows:
        if backend is None or not row.verigator_id:
            left += 1
            continue
        try:
            backend.unregister(row.verigator_id)
        except VerigatorError as error:
            mark_failed(row, error)
            left += 1
        else:
            mark_deleted([row])
    return left
