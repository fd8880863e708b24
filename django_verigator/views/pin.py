"""The pages of a login that waits for its PIN."""

from __future__ import annotations

from math import ceil
from typing import Any

from django.conf import settings
from django.contrib.auth import views as auth_views
from django.forms import Form
from django.http import HttpRequest, HttpResponseRedirect
from django.http.response import HttpResponseBase
from django.shortcuts import redirect, resolve_url
from django.urls import reverse
from django.utils import timezone
from django.utils.decorators import method_decorator
from django.views.generic import FormView, View

from .. import conf
from ..constants import METHOD_CALL, METHOD_TOTP
from ..exceptions import Reason, Refused
from ..flows import browsers, completion, enrolment, lockout, login, pending, providers, redirects, reports
from ..forms import PinForm, RecoveryForm, mark_wrong
from ..messages import explain, explain_closed, mask_name
from ..models import Challenge
from .base import Page
from .decorators import ENTRANCE_DECORATORS, METHODS, is_out_of_date, with_referrer_policy
from .redirects import login_page


@method_decorator(ENTRANCE_DECORATORS, name="dispatch")
class PendingView(auth_views.RedirectURLMixin, View):
    """A page of a pending login; without one, the browser is sent to the login page.

    A user who is logged in is sent to where a login lands.
    """

    http_method_names = METHODS
    challenge: Challenge

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        challenge = pending.current(request)
        if challenge is None:
            return self.no_pending_login()
        self.challenge = challenge
        return with_referrer_policy(super().dispatch(request, *args, **kwargs))

    def no_pending_login(self) -> HttpResponseBase:
        """Redirect a browser whose login is not pending or has ended."""
        if self.request.user.is_authenticated:
            pending.drop(self.request)
            return HttpResponseRedirect(self.landing(""))
        # The login page says that the login has ended, and clears it.
        return redirect(settings.LOGIN_URL)

    def landing(self, next_url: str) -> str:
        """Return the URL to go to after the login; ``next_url``, stored when it began, is checked again."""
        page = login_page(self.request)
        hosts = page.get_success_url_allowed_hosts() | self.success_url_allowed_hosts
        if next_url and redirects.is_safe_url(self.request, next_url, hosts):
            return next_url
        return resolve_url(self.next_page) if self.next_page else page.get_default_redirect_url()


class PinPage(Page, PendingView, FormView):  # type: ignore[type-arg]
    """Shows the PIN page; ``refused`` is why the last post was refused, or None."""

    template_name = "django_verigator/verify.html"
    form_class: type[Form] = PinForm
    refused: Refused | None = None

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        challenge = self.challenge
        closed = challenge.closed_reason()
        locked = lockout.of_challenge(challenge)
        wait = max(0, ceil((challenge.resend_at - timezone.now()).total_seconds())) if challenge.resend_at else 0
        return super().get_context_data(
            challenge=challenge,
            username=mask_name(challenge.user.get_username()),
            phone_ending=challenge.masked_phone[-2:],
            by_app=challenge.method == METHOD_TOTP,
            fell_back=bool(challenge.method) and challenge.requested_method != challenge.method,
            other_methods=providers.other_methods(challenge),
            needs_key_press=challenge.method == METHOD_CALL and providers.needs_key_press(challenge),
            can_try=closed is None and locked is None,
            can_send=locked is None,
            signed_in=not challenge.auth_backend,
            closed=explain(locked) if locked else explain_closed(closed, challenge),
            refusal=explain(self.refused) if self.refused else "",
            was_sent=challenge.sent_at is not None,
            took_over=bool(challenge.backend) and challenge.backend != next(iter(conf.current().BACKENDS)),
            another_way=providers.has_another_way(challenge),
            cannot_send=closed is not None and _is_unavailable(challenge, self.refused),
            awaits_report=reports.is_awaited(challenge),
            resend_in=wait,
            can_enrol=challenge.purpose == Challenge.Purpose.PHONE and bool(challenge.auth_backend),
            can_recover=locked is None and challenge.purpose != Challenge.Purpose.PHONE,
            phone_changed=login.has_changed_number(challenge),
            back=self.back(),
            **kwargs,
        )

    def back(self) -> str:
        """Return the page to which a logged-in user who cancels goes back, or ""."""
        if self.challenge.auth_backend:  # a login: nobody is logged in yet
            return ""
        page = self.request.POST.get("back") or self.request.META.get("HTTP_REFERER", "")
        own = page.startswith(self.request.build_absolute_uri(reverse("verigator:verify")))
        return page if not own and redirects.is_safe_url(self.request, page) else ""

    def refuse(self, refused: Refused) -> HttpResponseBase:
        """Show the page again with the reason; where the login has ended, show the login page."""
        if refused.reason == Reason.ENDED:
            return self.no_pending_login()
        self.refused = refused
        # Read again: another request may have sent a code, or undone a send that failed.
        self.challenge = pending.current(self.request) or self.challenge
        # Unbound, so that what was typed is not shown again.
        kwargs = {name: value for name, value in self.get_form_kwargs().items() if name not in ("data", "files")}
        form = self.get_form_class()(**kwargs)
        if refused.reason in (Reason.WRONG, Reason.WRONG_CODE):
            mark_wrong(form)
        return self.render_to_response(self.get_context_data(form=form))

    def _trust_days(self) -> int:
        return conf.current().TRUSTED_BROWSER_DAYS if browsers.may_be_trusted(self.challenge) else 0


class VerifyView(PinPage):
    """The PIN page: asks for the code that was sent, and completes the login. A GET sends nothing."""

    def get_form_kwargs(self) -> dict[str, Any]:
        by_app = self.challenge.method == METHOD_TOTP
        return {**super().get_form_kwargs(), "trust_days": self._trust_days(), "by_app": by_app}

    def get(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:  # type: ignore[override]
        if enrolment.needs_phone(self.challenge):
            return redirect("verigator:enrol")
        reports.refresh(self.challenge)
        return super().get(request, *args, **kwargs)

    def form_valid(self, form: PinForm) -> HttpResponseBase:  # type: ignore[override]
        try:
            next_url = completion.verify(
                self.request,
                self.challenge,
                form.cleaned_data["pin"],
                trust_browser=form.cleaned_data.get("trust", False),
            )
        except Refused as refused:
            return self.refuse(refused)
        return HttpResponseRedirect(self.landing(next_url))


class RecoveryView(PinPage):
    """Takes a recovery code in place of the PIN."""

    template_name = "django_verigator/recovery.html"
    form_class = RecoveryForm

    def form_valid(self, form: RecoveryForm) -> HttpResponseBase:  # type: ignore[override]
        try:
            next_url = completion.recover(self.request, self.challenge, form.cleaned_data["code"])
        except Refused as refused:
            return self.refuse(refused)
        return HttpResponseRedirect(self.landing(next_url))


class ResendView(VerifyView):
    """Sends another code, or the first one of an intercepted login; ``method=sms`` and the others change the way."""

    def get(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:  # type: ignore[override]
        return super().get(request) if is_out_of_date(request) else redirect("verigator:verify")

    def post(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:  # type: ignore[override]
        method = request.POST.get("method")
        if method not in conf.METHODS:
            method = None
        try:
            login.send(request, self.challenge, method=method, another_way=request.POST.get("way") == "other")
        except Refused as refused:
            if refused.reason == Reason.UNAVAILABLE:
                self.challenge = pending.current(request) or self.challenge
            return self.refuse(refused)
        return redirect("verigator:verify")


class CancelView(VerifyView):
    """Ends the pending login; a logged-in user goes back to the page that asked for the proof."""

    def get(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:  # type: ignore[override]
        return super().get(request) if is_out_of_date(request) else self.http_method_not_allowed(request)

    def post(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:  # type: ignore[override]
        back = self.back()
        login.cancel(request)
        if request.user.is_authenticated:
            return HttpResponseRedirect(back or reverse("verigator:security"))
        return redirect(settings.LOGIN_URL)


def _is_unavailable(challenge: Challenge, refused: Refused | None) -> bool:
    if refused is not None:
        return refused.reason == Reason.UNAVAILABLE
    return challenge.sent_at is None and challenge.outcome == Challenge.Outcome.UNAVAILABLE
