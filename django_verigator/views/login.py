"""The password page."""

from __future__ import annotations

from typing import Any

from django.contrib.auth import views as auth_views
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.http.response import HttpResponseBase
from django.shortcuts import redirect
from django.utils.decorators import method_decorator

from ..exceptions import Reason, Refused
from ..flows import login, pending, redirects
from ..messages import explain
from .base import Page
from .decorators import ENTRANCE_DECORATORS, METHODS, is_out_of_date, with_referrer_policy
from .redirects import NextMixin


@method_decorator(ENTRANCE_DECORATORS, name="dispatch")
class LoginView(Page, NextMixin, auth_views.LoginView):
    """Django's LoginView; a user who must use two-factor authentication goes to the PIN page before the login."""

    http_method_names = METHODS

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        return with_referrer_policy(super().dispatch(request, *args, **kwargs))

    def get_template_names(self) -> list[str]:
        return [*super().get_template_names(), "django_verigator/login.html"]

    def get(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:  # type: ignore[override]
        if is_out_of_date(request) and request.user.is_authenticated:  # logged in by another tab
            return HttpResponseRedirect(self.get_success_url())
        return super().get(request, *args, **kwargs)

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        context = super().get_context_data(**kwargs)
        ended = pending.take_ended(self.request) if self.request.method == "GET" else None
        if ended is not None:
            context["ended"] = explain(Refused(Reason.ENDED))
            if redirects.is_safe_url(self.request, ended.next_url, self.get_success_url_allowed_hosts()):
                context[self.redirect_field_name] = context[self.redirect_field_name] or ended.next_url
        return context

    def form_valid(self, form: Any) -> HttpResponse:
        user = form.get_user()
        if login.begin(self.request, user, user.backend, self.get_redirect_url()):
            return HttpResponseRedirect(self.get_success_url())
        return redirect("verigator:verify")
