"""The challenges in the admin, which are the audit log."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.contrib.admin.views.main import ChangeList
from django.contrib.auth import get_user_model
from django.db import connections
from django.http import HttpRequest

from ..models import Challenge
from .base import ReadOnlyAdmin


@admin.register(Challenge)
class ChallengeAdmin(ReadOnlyAdmin):
    """Shows the audit log: every challenge, with its outcome."""

    list_display = ("created_at", "user", "purpose", "method", "masked_phone", "outcome", "delivery", "tries", "ip")
    list_filter = ("outcome", "purpose", "method", "delivery")
    search_fields = (f"user__{get_user_model().USERNAME_FIELD}", "ip")
    list_select_related = ("user",)
    date_hierarchy = "created_at"
    ordering = ("-created_at",)
    fields = (
        "user",
        "purpose",
        "outcome",
        "refusal",
        "backend",
        "method",
        "masked_phone",
        "ip",
        "started_at",
        "created_at",
        "sent_at",
        "expires_at",
        "delivery",
        "delivery_channel",
        "delivery_error",
        "price",
        "tries",
        "superseded_at",
        "consumed_at",
    )

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def get_changelist_instance(self, request: HttpRequest) -> ChangeList:
        """Leave out the date hierarchy where the database knows no time zones: MariaDB without its tables."""
        changelist = super().get_changelist_instance(request)
        if not connections[changelist.queryset.db].features.has_zoneinfo_database:
            changelist.date_hierarchy = None
        return changelist
