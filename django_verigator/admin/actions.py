"""What support does for users from the admin."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.contrib import admin, messages
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.contrib.admin.models import CHANGE, LogEntry
from django.contrib.auth.base_user import AbstractBaseUser
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.template.response import TemplateResponse
from django.utils.cache import add_never_cache_headers
from django.utils.translation import gettext, ngettext
from django.utils.translation import gettext_lazy as _
from django.views.decorators.debug import sensitive_variables

from .. import conf, db
from ..decorators import refusal
from ..exceptions import Refused
from ..flows import cookies, limits, recovery, support
from ..flows.account import PROOF_MAX_AGE
from ..models import VerigatorUser
from ..records import sync
from ..records.registration import RegistrationResult

PERMISSION = "django_verigator.change_verigatoruser"

_SHOWN_FAILURES = 10

_SYNC_SECONDS = 3.0
"""Time limit of a page that asks the provider about many users; the next sync does the rest."""

_OUTCOMES = {
    RegistrationResult.REGISTERED: _("registered"),
    RegistrationResult.REPAIRED: _("repaired"),
    RegistrationResult.UNCHANGED: _("already in order"),
    RegistrationResult.NO_PHONE: _("without a phone"),
    RegistrationResult.REFUSED: _("number refused"),
    RegistrationResult.POSTPONED: _("to be tried again later"),
    RegistrationResult.BUSY: _("just being registered by somebody else"),
}


@sensitive_variables()
@admin.action(description=_("Sync selected users with Verigator"))
def sync_with_verigator(modeladmin: admin.ModelAdmin[Any], request: HttpRequest, queryset: QuerySet[Any]) -> None:
    """Register what is missing and repair what the provider has lost; works on users and on phone links.

    Syncs up to ADMIN_SYNC_LIMIT users within a few seconds, and marks the rest due for the next ``verigator_sync``.
    With ATOMIC_REQUESTS all of them are marked due: no transaction may be open while the provider is asked.

    Raises:
        PermissionDenied: the member of staff may not change links.
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
        PermissionDenied: the member of staff lacks the permission.
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


def _require_proof(modeladmin: admin.ModelAdmin[Any], request: HttpRequest) -> HttpResponseBase | None:
    """Return the redirect to a fresh proof, or None: a session that was left open must not weaken accounts."""
    answer = refusal(request, request.user, PROOF_MAX_AGE, back=request.get_full_path())
    if answer is not None and request.user.is_authenticated:
        text = gettext("Confirm that it is you. Then choose the action again.")
        modeladmin.message_user(request, text, messages.WARNING)
    return answer


def _log(request: HttpRequest, user: AbstractBaseUser, what: str) -> None:
    LogEntry.objects.log_actions(request.user.pk or 0, type(user)._default_manager.filter(pk=user.pk), CHANGE, what)


@admin.action(description=_("Reset the second factor of selected users"), permissions=["reset"])
def reset_second_factor(
    modeladmin: admin.ModelAdmin[Any], request: HttpRequest, queryset: QuerySet[Any]
) -> HttpResponseBase | None:
    """Ask first; then end phone, recovery codes, trusted browsers and sessions, and tell the users by mail."""
    users = _users(modeladmin, request, queryset)
    if not users:
        return None
    if (answer := _require_proof(modeladmin, request)) is not None:
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
    if (answer := _require_proof(modeladmin, request)) is not None:
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
    """Show a code that works once within minutes, on a page of its own: a message would be kept in the session."""
    if queryset.count() != 1:
        modeladmin.message_user(request, gettext("Select one user."), messages.ERROR)
        return None
    users = _users(modeladmin, request, queryset, support.may_issue_code)
    if not users:
        return None
    if (answer := _require_proof(modeladmin, request)) is not None:
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
