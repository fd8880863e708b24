"""The second factor in the site's own user admin."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from django.apps import apps
from django.contrib import admin
from django.contrib.admin.utils import quote
from django.contrib.auth import get_user_model
from django.contrib.auth.admin import UserAdmin
from django.contrib.auth.base_user import AbstractBaseUser
from django.core.exceptions import ImproperlyConfigured
from django.db.models import QuerySet
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html
from django.utils.module_loading import module_has_submodule
from django.utils.translation import gettext_lazy as _

from .. import conf
from ..models import VerigatorUser
from . import actions


class SecondFactorMixin:
    """Shows each user's second factor in the site's user admin: in the list, and on the user's page.

    Stands before the admin class: ``class MyUserAdmin(SecondFactorMixin, UserAdmin)``.
    """

    opts: Any
    admin_site: admin.AdminSite

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        # Not select_related(): with it Django ignores the site's own list_select_related.
        queryset: QuerySet[Any] = super().get_queryset(request).prefetch_related("verigator")  # type: ignore[misc]
        return queryset

    def get_list_display(self, request: HttpRequest) -> tuple[Any, ...]:
        return (*super().get_list_display(request), "second_step")  # type: ignore[misc]

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> tuple[Any, ...]:
        return (*super().get_readonly_fields(request, obj), "second_step")  # type: ignore[misc]

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> tuple[Any, ...]:
        fieldsets = tuple(super().get_fieldsets(request, obj))  # type: ignore[misc]
        # A user who is being added has none.
        return fieldsets if obj is None else (*fieldsets, (_("second step"), {"fields": ("second_step",)}))

    @admin.display(description=_("second step"))
    def second_step(self, user: AbstractBaseUser) -> str:
        """Return state, masked phone and last error of the user's link, linked to its admin page if there is one."""
        link: VerigatorUser | None = getattr(user, "verigator", None)
        if link is None:
            return "-"
        summary = ", ".join(
            str(value) for value in (link.get_state_display(), link.masked_phone, link.last_error) if value
        )
        if not self.admin_site.is_registered(VerigatorUser):
            return summary
        page = reverse(
            "admin:django_verigator_verigatoruser_change", args=[quote(link.pk)], current_app=self.admin_site.name
        )
        return format_html('<a href="{}">{}</a>', page, summary)


def add_action_to_user_admin() -> None:
    """Add the sync action to Django's own user admin, to the instance and not to the class.

    A site with its own user admin adds ``sync_with_verigator`` to its ``actions``, and inherits ``SecondFactorMixin``.
    """
    user_model = get_user_model()
    try:
        is_wanted = conf.current().ADMIN_ACTION
    except ImproperlyConfigured:  # the system checks report it
        return
    # Imported first, whatever the order of INSTALLED_APPS.
    app = apps.get_app_config(user_model._meta.app_label)
    if app.module is not None and module_has_submodule(app.module, "admin"):
        import_module(f"{app.name}.admin")
    if not is_wanted or not admin.site.is_registered(user_model):
        return
    stock = admin.site.get_model_admin(user_model)
    if type(stock) is UserAdmin:
        stock.actions = [*(stock.actions or ()), actions.sync_with_verigator]
