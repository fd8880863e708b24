"""The page that takes a user's first phone."""

from __future__ import annotations

from typing import Any, cast

from django.conf import settings
from django.contrib.auth import logout
from django.contrib.auth.views import redirect_to_login
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.shortcuts import redirect
from django.urls import reverse
from django.utils.decorators import method_decorator
from django.views.generic import FormView

from ..exceptions import Reason, Refused
from ..flows import enrolment, pending
from ..flows.session import session_guard
from ..forms import EnrolForm
from ..messages import explain, mask_name
from ..models import Challenge
from .base import Page
from .decorators import ENTRANCE_DECORATORS, METHODS, is_out_of_date, with_referrer_policy
from .redirects import NextMixin


@method_decorator(ENTRANCE_DECORATORS, name="dispatch")
class EnrolView(Page, NextMixin, FormView):  # type: ignore[type-arg]
    """Takes a user's first phone, in a login that waits for one or from a user who is logged in."""

    template_name = "django_verigator/enrol.html"
    form_class = EnrolForm
    http_method_names = METHODS
    challenge: Challenge | None
    user: Any

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        self.challenge = pending.current(request)
        if self.challenge and request.user.is_authenticated and request.user.pk != self.challenge.user_id:
            self.challenge = None  # a cookie planted by an attacker must not take this user's number
        if self.challenge is None and request.method == "POST":
            # Not by the cached trust version, which may have ended.
            session_guard(request).revalidate(request.user)
        self.user = self.challenge.user if self.challenge else request.user
        if not self.user.is_authenticated:
            return redirect(settings.LOGIN_URL)
        if enrolment.has_phone(self.user):
            if is_out_of_date(request) and self.challenge:
                return cast("HttpResponseBase", request.verigator_refused)  # type: ignore[attr-defined]
            return redirect("verigator:verify" if self.challenge else settings.LOGIN_REDIRECT_URL)
        if enrolment.must_sign_in_anew(request, self.user, self.challenge):
            logout(request)  # a login page may redirect a user who is logged in
            return redirect_to_login(reverse("verigator:enrol"))
        return with_referrer_policy(super().dispatch(request, *args, **kwargs))

    def get_form_kwargs(self) -> dict[str, Any]:
        return {
            **super().get_form_kwargs(),
            "request": self.request,
            "user": self.user,
            "needs_password": enrolment.needs_password(self.user, self.challenge),
        }

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        return super().get_context_data(
            username=mask_name(self.user.get_username()),
            pending=self.challenge is not None,
            unusable=enrolment.has_unusable_number(self.user),
            next=self.get_redirect_url(),
            **kwargs,
        )

    def form_valid(self, form: EnrolForm) -> HttpResponseBase:  # type: ignore[override]
        try:
            enrolment.enrol(
                self.request, self.user, self.challenge, form.cleaned_data["phone"], self.get_redirect_url()
            )
        except Refused as refused:
            if refused.reason == Reason.ENDED:
                return redirect(settings.LOGIN_URL)
            form.add_error("phone", explain(refused))
            return self.form_invalid(form)
        return redirect("verigator:verify")
