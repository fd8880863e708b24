"""Records that must still be deleted at the provider."""

from __future__ import annotations

from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from .base import AttemptsQuerySet, PrimaryManager


class RemoteDeletionQuerySet(AttemptsQuerySet["RemoteDeletion"]):
    def with_user_id(self) -> RemoteDeletionQuerySet:
        """Select those that can be deleted by UserID; the others must first be found in the provider's list."""
        return self.filter(verigator_id__gt="")

    def without_user_id(self) -> RemoteDeletionQuerySet:
        return self.filter(verigator_id="")

    def schedule(self, verigator_id: str | None, id_in_service: str | None) -> None:
        """Schedule a record for deletion, within the open transaction, so that a rollback keeps the record."""
        if verigator_id or id_in_service:
            self.create(verigator_id=verigator_id or "", id_in_service=id_in_service or "")


_RemoteDeletionManager = PrimaryManager.from_queryset(RemoteDeletionQuerySet)


class RemoteDeletion(models.Model):
    """A record to delete at the provider: by UserID, or by id in service where the reply with the UserID was lost."""

    verigator_id = models.CharField(max_length=128, blank=True, default="")
    id_in_service = models.CharField(max_length=64, blank=True, default="")
    attempts = models.PositiveSmallIntegerField(default=0)
    next_attempt_at = models.DateTimeField(null=True, db_index=True)
    last_error = models.CharField(max_length=32, blank=True, default="")
    created_at = models.DateTimeField(default=timezone.now)

    objects = _RemoteDeletionManager()

    class Meta:
        base_manager_name = "objects"
        verbose_name = _("deletion at the provider")
        verbose_name_plural = _("deletions at the provider")
        indexes = [
            # A sync run looks up both for each page of the provider's list.
            models.Index(fields=["verigator_id"], name="verigator_deletion_id"),
            models.Index(fields=["id_in_service"], name="verigator_deletion_name"),
        ]

    def __str__(self) -> str:
        return self.verigator_id or self.id_in_service
