"""Proofs without the phone: recovery codes and trusted browsers. Only keyed digests are stored."""

from __future__ import annotations

from django.conf import settings
from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from .base import BaseManager


class RecoveryCode(models.Model):
    """A code that proves the second factor once, without the phone."""

    user = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE, related_name="+", verbose_name=_("user"))
    digest = models.CharField(max_length=64, unique=True, editable=False)
    created_at = models.DateTimeField(_("created"), default=timezone.now)
    # NULL for the user's own set; a code that support issues is valid for minutes.
    expires_at = models.DateTimeField(_("expires"), null=True)
    used_at = models.DateTimeField(_("used"), null=True)

    objects = BaseManager()

    class Meta:
        base_manager_name = "objects"
        verbose_name = _("recovery code")
        verbose_name_plural = _("recovery codes")

    def __str__(self) -> str:
        return f"{self.user_id}: {self.created_at:%Y-%m-%d}"


class TrustedBrowser(models.Model):
    """A browser whose cookie proves the second factor at a login."""

    user = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE, related_name="+", verbose_name=_("user"))
    digest = models.CharField(max_length=64, unique=True, editable=False)
    # A new trust version or password ends the trust.
    # Code from before 0.1.0 writes the column under its first name.
    trust_version = models.CharField(db_column="epoch", max_length=32, editable=False)
    auth_hash = models.CharField(max_length=128, editable=False)
    label = models.CharField(_("browser"), max_length=80, blank=True, default="")
    created_at = models.DateTimeField(_("created"), default=timezone.now)
    expires_at = models.DateTimeField(_("expires"), db_index=True)
    last_used_at = models.DateTimeField(_("last used"), default=timezone.now)
    last_ip = models.GenericIPAddressField(_("last address"), null=True)

    objects = BaseManager()

    class Meta:
        base_manager_name = "objects"
        verbose_name = _("trusted browser")
        verbose_name_plural = _("trusted browsers")

    def __str__(self) -> str:
        return self.label
