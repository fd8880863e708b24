"""The counters of the rate limits."""

from __future__ import annotations

from django.db import models
from django.utils.translation import gettext_lazy as _

from .base import BaseManager


class Counter(models.Model):
    """The number of events in a window of time that began with the first one."""

    # Keyed digest of scope and value, so that the table shows no phone number or address.
    digest = models.CharField(max_length=64, primary_key=True)
    scope = models.CharField(_("what is counted"), max_length=32)
    count = models.PositiveIntegerField(_("count"), default=0)
    expires_at = models.DateTimeField(_("window ends"), db_index=True)

    objects = BaseManager()

    class Meta:
        base_manager_name = "objects"
        verbose_name = _("counter")
        verbose_name_plural = _("counters")

    def __str__(self) -> str:
        return f"{self.scope}: {self.count}"
