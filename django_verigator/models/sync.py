"""Sync runs and their progress."""

from __future__ import annotations

from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from .base import BaseManager


class SyncRun(models.Model):
    """One run of ``verigator_sync``. It holds the slot while it lasts, so that no second run starts."""

    class Phase(models.TextChoices):
        LINKS = "links", _("writing missing links")
        COMPARE = "compare", _("comparing with the provider's list")
        LOST = "lost", _("looking after lost records")
        REGISTER = "register", _("registering")
        WAIT = "wait", _("waiting for other registrations")
        DELETE = "delete", _("deleting at the provider")

    class Outcome(models.TextChoices):
        RUNNING = "running", _("running")
        COMPLETE = "complete", _("nothing left to do")
        LEFT = "left", _("something left to do")
        STOPPED = "stopped", _("stopped")
        PROVIDER_DOWN = "provider_down", _("provider not available")
        BROKEN = "broken", _("ended by an error")
        KILLED = "killed", _("killed")

    # Unique, with one value for the run in progress; NULL when it is over.
    slot = models.CharField(max_length=8, unique=True, null=True, editable=False)
    outcome = models.CharField(_("outcome"), max_length=16, choices=Outcome.choices, default=Outcome.RUNNING)
    phase = models.CharField(_("phase"), max_length=8, choices=Phase.choices, default=Phase.LINKS)
    due_only = models.BooleanField(_("only what was due"), default=False)
    # Progress of the phase; total is 0 where it is not known.
    done = models.PositiveIntegerField(_("done"), default=0)
    total = models.PositiveIntegerField(_("of"), default=0)
    # The report so far.
    counts = models.JSONField(_("counts"), default=dict)
    error = models.CharField(_("error"), max_length=32, blank=True, default="")
    started_at = models.DateTimeField(_("started"), default=timezone.now)
    # Extended every few seconds; once it has passed, the process of the run is dead.
    lease_until = models.DateTimeField(_("alive until"))
    finished_at = models.DateTimeField(_("finished"), null=True)

    objects = BaseManager()

    class Meta:
        base_manager_name = "objects"
        verbose_name = _("sync run")
        verbose_name_plural = _("sync runs")

    def __str__(self) -> str:
        return f"{self.started_at:%Y-%m-%d %H:%M}: {self.get_outcome_display()}"

    @property
    def is_alive(self) -> bool:
        return self.slot is not None and self.lease_until > timezone.now()

    @property
    def shown_outcome(self) -> str:
        """Return the outcome in words; a run that was killed has written none."""
        return str(self.Outcome.KILLED.label if self.slot else self.get_outcome_display())
