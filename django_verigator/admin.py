"""What support sees: states, masked phones, challenges. Nothing here shows a PIN or a full number."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any

from django.apps import apps
from django.contrib import admin, messages
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.contrib.admin.models import CHANGE, LogEntry
from django.contrib.admin.utils import display_for_value, quote, unquote
from django.contrib.admin.views.main import ChangeList
from django.contrib.auth import get_user_model
from django.contrib.auth.admin import UserAdmin
from django.core.exceptions import ImproperlyConfigured, PermissionDenied
from django.db import connections
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.cache import add_never_cache_headers
from django.utils.html import format_html
from django.utils.module_loading import module_has_submodule
from django.utils.translation import gettext, ngettext
from django.utils.translation import gettext_lazy as _
from django.views.decorators.debug import sensitive_variables

from . import conf, db
from .backends import Circuit, CircuitState, backends
from .decorators import refusal
from .exceptions import Refused
from .flows import cookies, limits, policy, recovery, support
from .flows.account import PROOF_MAX_AGE
from .models import Challenge, VerigatorUser
from .records import statistics, sync
from .records.registration import RegistrationResult

PERMISSION = "django_verigator.change_verigatoruser"
_SHOWN_FAILURES = 10
_SYNC_SECONDS = 3.0
"""Nobody waits longer for a page that asks the provider about many users; the next run of sync goes on."""
_OUTCOMES = {
    RegistrationResult.REGISTERED: _("registered"),
    RegistrationResult.REPAIRED: _("repaired"),
    RegistrationResult.UNCHANGED: _("already in order"),
    RegistrationResult.NO_PHONE: _("without a phone"),
    RegistrationResult.REFUSED: _("number refused"),
    RegistrationResult.POSTPONED: _("to be tried again later"),
    RegistrationResult.BUSY: _("just being registered by somebody else"),
}
_CIRCUITS = {
    CircuitState.CLOSED: _("in order"),
    CircuitState.OPEN: _("does not answer, and is left alone for a while"),
    CircuitState.HALF_OPEN: _("does not answer, and is about to be tried again"),
}


@sensitive_variables()
@admin.action(description=_("Sync selected users with Verigator"))
def sync_with_verigator(modeladmin: admin.ModelAdmin[Any], request: HttpRequest, queryset: QuerySet[Any]) -> None:
    """Register what is missing and repair what the provider has lost; works on users and on phone links.

    Up to ADMIN_SYNC_LIMIT users in the request, as far as a few seconds go; the rest is marked due for the next
    ``verigator_sync``. So are all of them where the site opens a transaction for each request: none may be open while
    the provider is asked.
    """
    if not request.user.has_perm(PERMISSION):
        raise PermissionDenied
    rows = queryset.select_related("user") if queryset.model is VerigatorUser else queryset
    users = [row.user if isinstance(row, VerigatorUser) else row for row in rows]
    limit = 0 if _is_in_transaction() else conf.current().ADMIN_SYNC_LIMIT
    report, left = sync.sync_users(users[:limit], seconds=_SYNC_SECONDS)
    parts = [f"{_OUTCOMES[outcome]}: {count}" for outcome, count in report.counts.items() if count]
    if parts:
        modeladmin.message_user(request, ", ".join(parts), messages.WARNING if report.failures else messages.SUCCESS)
    if report.failures:
        shown = "; ".join(f"{name} ({error})" for name, error in report.failures[:_SHOWN_FAILURES])
        more = report.failed - _SHOWN_FAILURES
        text = gettext("Not registered: %(names)s") % {"names": shown}
        modeladmin.message_user(request, f"{text} (+{more})" if more > 0 else text, messages.ERROR)
    left = [*left, *users[limit:]]
    if left:
        sync.mark_due(left)
        text = ngettext(
            "%(count)d more user is left to the next run of verigator_sync.",
            "%(count)d more users are left to the next run of verigator_sync.",
            len(left),
        )
        modeladmin.message_user(request, text % {"count": len(left)}, messages.INFO)


def _is_in_transaction() -> bool:
    return bool(db.connection().settings_dict["ATOMIC_REQUESTS"])


def _users(
    modeladmin: admin.ModelAdmin[Any],
    request: HttpRequest,
    queryset: QuerySet[Any],
    may_help: Callable[[Any, Any], bool] = support.may_help,
) -> list[Any]:
    """Return the users of an action that weakens their accounts, without those whom this member of staff may not help.

    Raises:
        PermissionDenied: without the permission.
    """
    if not request.user.has_perm(support.PERMISSION):
        raise PermissionDenied
    users = [link.user for link in queryset.select_related("user")]
    allowed = [user for user in users if may_help(request.user, user)]
    if len(allowed) < len(users):
        names = ", ".join(str(user.get_username()) for user in users if user not in allowed)
        modeladmin.message_user(
            request, gettext("You may not do this for: %(names)s") % {"names": names}, messages.ERROR
        )
    return allowed


def _demand_proof(modeladmin: admin.ModelAdmin[Any], request: HttpRequest) -> HttpResponseBase | None:
    """Return where a member of staff proves to be there, or None: a session that was left open weakens no account."""
    answer = refusal(request, request.user, PROOF_MAX_AGE, back=request.get_full_path())
    if answer is not None and request.user.is_authenticated:
        text = gettext("Confirm that it is you. Then choose the action again.")
        modeladmin.message_user(request, text, messages.WARNING)
    return answer


def _log(request: HttpRequest, user: Any, what: str) -> None:
    LogEntry.objects.log_actions(request.user.pk or 0, type(user)._default_manager.filter(pk=user.pk), CHANGE, what)


@admin.action(description=_("Reset the second factor of selected users"), permissions=["reset"])
def reset_second_factor(
    modeladmin: admin.ModelAdmin[Any], request: HttpRequest, queryset: QuerySet[Any]
) -> HttpResponseBase | None:
    """Ask first; then take phone, recovery codes, trusted browsers and sessions back. The users are told by mail."""
    users = _users(modeladmin, request, queryset)
    if not users:
        return None
    if (answer := _demand_proof(modeladmin, request)) is not None:
        return answer
    if not request.POST.get("post"):
        context = {
            **modeladmin.admin_site.each_context(request),
            "title": gettext("Reset the second factor of selected users"),
            "opts": modeladmin.opts,
            "links": queryset.filter(user__in=users),
            "users": users,
            "action_checkbox_name": ACTION_CHECKBOX_NAME,
        }
        return TemplateResponse(request, "django_verigator/admin/reset.html", context)
    for user in users:
        support.reset(user, by=request.user.get_username())
        _log(request, user, gettext("Second factor reset."))
    text = ngettext("%(count)d user was reset.", "%(count)d users were reset.", len(users)) % {"count": len(users)}
    modeladmin.message_user(request, text, messages.SUCCESS)
    return None


@admin.action(description=_("Unlock selected users"), permissions=["reset"])
def unlock(modeladmin: admin.ModelAdmin[Any], request: HttpRequest, queryset: QuerySet[Any]) -> HttpResponseBase | None:
    """Let locked users try again at once."""
    users = _users(modeladmin, request, queryset)
    if not users:
        return None
    if (answer := _demand_proof(modeladmin, request)) is not None:
        return answer
    for user in users:
        support.unlock(user, by=request.user.get_username())
        _log(request, user, gettext("Second factor unlocked."))
    text = ngettext("%(count)d user was unlocked.", "%(count)d users were unlocked.", len(users))
    modeladmin.message_user(request, text % {"count": len(users)}, messages.SUCCESS)
    return None


@admin.action(description=_("Issue a recovery code to the selected user"), permissions=["reset"])
def issue_recovery_code(
    modeladmin: admin.ModelAdmin[Any], request: HttpRequest, queryset: QuerySet[Any]
) -> HttpResponseBase | None:
    """Show a code that works once within minutes. On a page of its own: a message would be kept in the session."""
    if queryset.count() != 1:
        modeladmin.message_user(request, gettext("Select one user."), messages.ERROR)
        return None
    users = _users(modeladmin, request, queryset, support.may_issue_code)
    if not users:
        return None
    if (answer := _demand_proof(modeladmin, request)) is not None:
        return answer
    try:
        limits.require_first_post(cookies.form_digest(request))
    except Refused:
        modeladmin.message_user(
            request, gettext("This code was shown already. Choose the action again."), messages.ERROR
        )
        return None
    code = support.issue_code(users[0], by=request.user.get_username())
    _log(request, users[0], gettext("Recovery code issued."))
    context = {
        **modeladmin.admin_site.each_context(request),
        "title": gettext("Recovery code"),
        "opts": modeladmin.opts,
        "user_name": users[0].get_username(),
        "code": code,
        "minutes": recovery.SUPPORT_MINUTES,
    }
    response = TemplateResponse(request, "django_verigator/admin/recovery_code.html", context)
    add_never_cache_headers(response)
    return response


class _ReadOnly(admin.ModelAdmin):  # type: ignore[type-arg]
    """Rows that only the app writes."""

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        # Rows go with their user: where a user is being deleted this must not stand in the way. Deleted by itself, a
        # link would be a second factor switched off unseen, a challenge a hole in the log.
        page = (request.resolver_match.url_name or "") if request.resolver_match else ""
        own = f"{self.opts.app_label}_{self.opts.model_name}_"
        return page.endswith(("_delete", "_changelist")) and not page.startswith(own)

    def lookup_allowed(self, lookup: str, value: Any, request: HttpRequest) -> bool:
        # Django lets every column of the table itself be asked for, so that a number is read digit by digit.
        shown = {"pk", "id", *(self.fields or ())} - {"masked_phone"}
        return lookup.partition("__")[0] in shown and super().lookup_allowed(lookup, value, request)

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        """Write nothing: nothing can be typed, and the row may be another one than when it was read."""

    def render_change_form(self, request: HttpRequest, context: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
        context |= {"show_save": False, "show_save_and_continue": False}
        return super().render_change_form(request, context, *args, **kwargs)

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        return self.fields or ()


def _glance(request: HttpRequest) -> statistics.Statistics:
    # Once a request: the panel above the list and the filter beside it show the same numbers.
    found: statistics.Statistics | None = getattr(request, "_verigator_glance", None)
    if found is None:
        found = request._verigator_glance = statistics.collect()  # type: ignore[attr-defined]
    return found


class LastErrorFilter(admin.SimpleListFilter):
    """The errors there are, from the numbers at a glance; Django's own filter reads the whole table for them."""

    title = VerigatorUser._meta.get_field("last_error").verbose_name
    parameter_name = "last_error"

    def lookups(self, request: HttpRequest, model_admin: admin.ModelAdmin[Any]) -> list[tuple[str, str]]:
        return [(error, error) for error in _glance(request).errors]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return queryset.filter(last_error=self.value()) if self.value() else queryset


@admin.register(VerigatorUser)
class VerigatorUserAdmin(_ReadOnly):
    change_list_template = "django_verigator/admin/links.html"
    # Over a million rows a second count, of those that no filter touches, costs as much as the page.
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
    actions = (sync_with_verigator, reset_second_factor, unlock, issue_recovery_code)
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
        # First: whether the providers answer is what support asks. Not below the title, which some skins do not show.
        states = "; ".join(f"{alias}: {_CIRCUITS[Circuit(alias).state]}" for alias in backends)
        providers = gettext("Providers: %(states)s") % {"states": states}
        context = {"glance": _glance(request), "providers": providers, **(extra_context or {})}
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
        """Show the user's, where what support did is written down, to whoever may see it."""
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
        return policy.owes_second_factor(link.user, link)

    @admin.display(description=_("recovery codes left"))
    def recovery_codes_left(self, link: VerigatorUser) -> int:
        return recovery.count_unused(link.user)

    @admin.display(description=_("last challenge"))
    def last_challenge(self, link: VerigatorUser) -> str:
        last = Challenge.objects.filter(user_id=link.user_id).order_by("-created_at").first()
        return f"{last.get_outcome_display()}, {display_for_value(last.created_at, '')}" if last else ""


@admin.register(Challenge)
class ChallengeAdmin(_ReadOnly):
    list_display = ("created_at", "user", "purpose", "method", "masked_phone", "outcome", "tries", "ip")
    list_filter = ("outcome", "purpose", "method")
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
        "tries",
        "superseded_at",
        "consumed_at",
    )

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def get_changelist_instance(self, request: HttpRequest) -> ChangeList:
        """Leave the dates above the list out where the database cannot tell them: MariaDB without time zone tables."""
        changelist = super().get_changelist_instance(request)
        if not connections[changelist.queryset.db].features.has_zoneinfo_database:
            changelist.date_hierarchy = None
        return changelist


class SecondStepMixin:
    """Shows each user's second step in a user admin of the site: in the list, and on the user's page.

    Goes before the admin class: ``class MyUserAdmin(SecondStepMixin, UserAdmin)``.
    """

    opts: Any
    admin_site: admin.AdminSite

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        # Not select_related(): with it Django leaves the site's own list_select_related out.
        queryset: QuerySet[Any] = super().get_queryset(request).prefetch_related("verigator")  # type: ignore[misc]
        return queryset

    def get_list_display(self, request: HttpRequest) -> tuple[Any, ...]:
        return (*super().get_list_display(request), "second_step")  # type: ignore[misc]

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> tuple[Any, ...]:
        return (*super().get_readonly_fields(request, obj), "second_step")  # type: ignore[misc]

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> tuple[Any, ...]:
        fieldsets = tuple(super().get_fieldsets(request, obj))  # type: ignore[misc]
        # Whoever is just being added has none.
        return fieldsets if obj is None else (*fieldsets, (_("second step"), {"fields": ("second_step",)}))

    @admin.display(description=_("second step"))
    def second_step(self, user: Any) -> str:
        """Return state, masked phone and last error of a user's link, which leads to its page where there is one."""
        link: VerigatorUser | None = getattr(user, "verigator", None)
        if link is None:
            return "-"
        told = ", ".join(
            str(value) for value in (link.get_state_display(), link.masked_phone, link.last_error) if value
        )
        if not self.admin_site.is_registered(VerigatorUser):
            return told
        page = reverse(
            "admin:django_verigator_verigatoruser_change", args=[quote(link.pk)], current_app=self.admin_site.name
        )
        return format_html('<a href="{}">{}</a>', page, told)


def _add_to_user_admin() -> None:
    """Offer the action on Django's own user admin, on the instance alone: no class is touched, and nothing else of it.

    A site with a user admin of its own adds ``sync_with_verigator`` to its ``actions``, and takes ``SecondStepMixin``.
    """
    user_model = get_user_model()
    try:
        wanted = conf.current().ADMIN_ACTION
    except ImproperlyConfigured:  # the system checks say so better than a failed import
        return
    # The app of the user model registers its admin first, whatever the order of INSTALLED_APPS.
    app = apps.get_app_config(user_model._meta.app_label)
    if app.module is not None and module_has_submodule(app.module, "admin"):
        import_module(f"{app.name}.admin")
    if not wanted or not admin.site.is_registered(user_model):
        return
    stock = admin.site.get_model_admin(user_model)
    if type(stock) is UserAdmin:
        stock.actions = [*(stock.actions or ()), sync_with_verigator]


_add_to_user_admin()
