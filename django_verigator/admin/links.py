"""The links in the admin: states, masked phones, counts. Nothing here shows a PIN or a full number."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.contrib.admin.utils import display_for_value, quote, unquote
from django.contrib.auth import get_user_model
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import reverse
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from ..backends import Circuit, CircuitState, backends
from ..flows import policy, recovery, support
from ..models import Challenge, VerigatorUser
from ..records import statistics
from . import actions
from .base import ReadOnlyAdmin

_CIRCUITS = {
    CircuitState.CLOSED: _("in order"),
    CircuitState.OPEN: _("does not answer, and is left alone for a while"),
    CircuitState.HALF_OPEN: _("does not answer, and is about to be tried again"),
}


def _statistics(request: HttpRequest) -> statistics.Statistics:
    # Once a request: the panel above the list and the filter beside it show the same counts.
    found: statistics.Statistics | None = getattr(request, "_verigator_statistics", None)
    if found is None:
        found = request._verigator_statistics = statistics.collect()  # type: ignore[attr-defined]
    return found


class LastErrorFilter(admin.SimpleListFilter):
    """Filters by last error, from the statistics; Django's own filter reads the whole table for its choices."""

    title = VerigatorUser._meta.get_field("last_error").verbose_name
    parameter_name = "last_error"

    def lookups(self, request: HttpRequest, model_admin: admin.ModelAdmin[Any]) -> list[tuple[str, str]]:
        return [(error, error) for error in _statistics(request).errors]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return queryset.filter(last_error=self.value()) if self.value() else queryset


@admin.register(VerigatorUser)
class VerigatorUserAdmin(ReadOnlyAdmin):
    """Shows the links, with the actions of support."""

    change_list_template = "django_verigator/admin/links.html"
    # Over a million rows the second count, of all rows, costs as much as the page.
    show_full_result_count = False
    list_display = (
        "user",
        "state",
        "masked_phone",
        "confirmed_at",
        "consecutive_failures",
        "last_error",
        "last_error_at",
    )
    list_filter = ("state", LastErrorFilter, ("confirmed_at", admin.EmptyFieldListFilter))
    search_fields = (f"user__{get_user_model().USERNAME_FIELD}",)
    list_select_related = ("user",)
    actions = (actions.sync_with_verigator, actions.reset_second_factor, actions.unlock, actions.issue_recovery_code)
    fields = (
        "user",
        "state",
        "masked_phone",
        "id_in_service",
        "verigator_id",
        "registered_at",
        "seen_at",
        "confirmed_at",
        "last_error",
        "last_error_at",
        "attempts",
        "next_attempt_at",
        "consecutive_failures",
        "locked_until",
        "owes_second_step",
        "recovery_codes_left",
        "last_challenge",
    )

    class Media:
        css = {"all": ["django_verigator/admin.css"]}

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        """Show above the list how many users are in which state, and why; and how far a running sync is."""
        if not self.has_view_or_change_permission(request):
            raise PermissionDenied
        # First: support asks whether the providers answer. Not in the subtitle, which some skins do not show.
        states = "; ".join(f"{alias}: {_CIRCUITS[Circuit(alias).state]}" for alias in backends)
        providers = gettext("Providers: %(states)s") % {"states": states}
        context = {"glance": _statistics(request), "providers": providers, **(extra_context or {})}
        return super().changelist_view(request, context)

    def render_change_form(
        self, request: HttpRequest, context: dict[str, Any], *args: Any, obj: VerigatorUser | None = None, **kwargs: Any
    ) -> Any:
        if obj is not None:
            context["subtitle"] = obj.user.get_username()
        return super().render_change_form(request, context, *args, obj=obj, **kwargs)

    def history_view(
        self, request: HttpRequest, object_id: str, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Redirect to the user's history, which has the actions of support, if the member of staff may see it."""
        link = self.get_object(request, unquote(object_id))
        if link is not None and self.admin_site.is_registered(get_user_model()):
            user_admin = self.admin_site.get_model_admin(get_user_model())
            if user_admin.has_view_or_change_permission(request, link.user):
                page = f"admin:{user_admin.opts.app_label}_{user_admin.opts.model_name}_history"
                return redirect(reverse(page, args=[quote(link.user_id)], current_app=self.admin_site.name))
        return super().history_view(request, object_id, extra_context)

    def has_reset_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm(support.PERMISSION)

    @admin.display(description=_("phone"))
    def masked_phone(self, link: VerigatorUser) -> str:
        return link.masked_phone

    @admin.display(description=_("owes the second step"), boolean=True)
    def owes_second_step(self, link: VerigatorUser) -> bool:
        return policy.is_second_factor_required(link.user, link)

    @admin.display(description=_("recovery codes left"))
    def recovery_codes_left(self, link: VerigatorUser) -> int:
        return recovery.count_unused(link.user)

    @admin.display(description=_("last challenge"))
    def last_challenge(self, link: VerigatorUser) -> str:
        last = Challenge.objects.filter(user_id=link.user_id).order_by("-created_at").first()
        return f"{last.get_outcome_display()}, {display_for_value(last.created_at, '')}" if last else ""
