"""The pages of a logged-in user: phone, recovery codes, trusted browsers."""

from __future__ import annotations

from typing import Any, cast

from django.conf import settings
from django.contrib.auth.base_user import AbstractBaseUser
from django.forms import Form
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.shortcuts import redirect, resolve_url
from django.utils.decorators import method_decorator
from django.utils.functional import cached_property
from django.views.generic import FormView, TemplateView, View

from ..exceptions import Refused
from ..flows import account, cookies, enrolment, limits
from ..flows.session import session_guard
from ..forms import EnrolForm, PasswordForm
from ..messages import explain
from ..mixins import VerifiedRequiredMixin
from .base import Page
from .decorators import METHODS, PAGE_DECORATORS, is_out_of_date, with_referrer_policy


class AccountView(VerifiedRequiredMixin, View):
    """A page of a user who is logged in."""

    http_method_names = METHODS

    @property
    def user(self) -> AbstractBaseUser:
        return cast("AbstractBaseUser", self.request.user)

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        # The cached trust version, up to a minute old, is enough to show a page but not to change something.
        if request.method == "POST" and not session_guard(request).revalidate(request.user).is_authenticated:
            return redirect(settings.LOGIN_URL)
        return with_referrer_policy(super().dispatch(request, *args, **kwargs))


@method_decorator(PAGE_DECORATORS, name="dispatch")
class SecurityView(Page, AccountView, TemplateView):
    """Shows a user's second factor: phone, recovery codes, trusted browsers."""

    template_name = "django_verigator/security.html"

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        return super().get_context_data(**account.overview(self.user), **kwargs)

    def post(self, request: HttpRequest) -> HttpResponseBase:
        """Keep the confirmed phone although the site has another number now."""
        account.keep_phone(self.user)
        return redirect("verigator:security")


class ChangeView(Page, AccountView, FormView):  # type: ignore[type-arg]
    """Changes the second factor: asks for a fresh proof, and for the password of a user who has one."""

    max_age = account.PROOF_MAX_AGE

    def get_form_kwargs(self) -> dict[str, Any]:
        user = self.user
        needs_password = enrolment.has_password(user)
        return {**super().get_form_kwargs(), "request": self.request, "user": user, "needs_password": needs_password}


@method_decorator(PAGE_DECORATORS, name="dispatch")
class PhoneView(ChangeView):
    """Takes a new phone, which replaces the one in force when a PIN sent to it is right.

    With ``?proposed=1`` the new phone is the number that the site has now, and the user types none.
    """

    template_name = "django_verigator/phone.html"
    form_class = EnrolForm

    @cached_property
    def proposed(self) -> str:
        return account.proposed_phone(self.user) if self.request.GET.get("proposed") else ""

    def get_form_class(self) -> type[Form]:
        return PasswordForm if self.proposed else EnrolForm

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        return super().get_context_data(proposed_ending=self.proposed[-2:], **kwargs)

    def form_valid(self, form: PasswordForm) -> HttpResponseBase:  # type: ignore[override]
        number = self.proposed or form.cleaned_data["phone"]
        try:
            account.change_phone(self.request, self.user, number, resolve_url("verigator:security"))
        except Refused as refused:
            form.add_error(None if self.proposed else "phone", explain(refused))
            return self.form_invalid(form)
        return redirect("verigator:phone_confirm")


@method_decorator(PAGE_DECORATORS, name="dispatch")
class RecoveryCodesView(ChangeView):
    """Makes a new set of recovery codes and shows it once."""

    template_name = "django_verigator/recovery_codes.html"
    form_class = PasswordForm

    def form_valid(self, form: PasswordForm) -> HttpResponseBase:  # type: ignore[override]
        try:
            limits.require_first_post(cookies.form_digest(self.request))
            codes = account.renew_recovery_codes(self.request, self.user)
        except Refused as refused:
            form.add_error(None, explain(refused))
            return self.form_invalid(form)
        return self.render_to_response(self.get_context_data(form=form, codes=codes))


@method_decorator(PAGE_DECORATORS, name="dispatch")
class BrowsersView(SecurityView):
    """Ends the trust in one browser (``browser=<id>``), or in all of them."""

    def get(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:  # type: ignore[override]
        return super().get(request) if is_out_of_date(request) else redirect("verigator:security")

    def post(self, request: HttpRequest) -> HttpResponseBase:
        account.end_browser(request, self.user, request.POST.get("browser"))
        return redirect("verigator:security")
