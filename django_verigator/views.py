"""The pages of the second step. A view picks a form and a redirect; every rule is in ``flows``."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Callable
from contextlib import suppress
from functools import wraps
from http import HTTPStatus
from math import ceil
from typing import Any, cast
from urllib.parse import urlsplit

from django.conf import settings
from django.contrib.auth import logout
from django.contrib.auth import views as auth_views
from django.contrib.auth.decorators import login_not_required
from django.contrib.auth.views import redirect_to_login
from django.db import connections, transaction
from django.forms import Form
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect, QueryDict
from django.http.response import HttpResponseBase
from django.middleware.csrf import CsrfViewMiddleware
from django.shortcuts import redirect, resolve_url
from django.urls import NoReverseMatch, Resolver404, ResolverMatch, get_script_prefix, resolve, reverse
from django.utils import timezone
from django.utils.decorators import method_decorator
from django.utils.functional import cached_property
from django.utils.translation import get_language, gettext
from django.views.decorators.cache import never_cache
from django.views.decorators.clickjacking import xframe_options_deny
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.debug import sensitive_post_parameters, sensitive_variables
from django.views.generic import FormView, TemplateView, View

from . import conf, events
from .constants import METHOD_SMS, METHOD_TOTP
from .db import RetriesExhaustedError
from .exceptions import Reason, Refused
from .flows import account, completion, cookies, enrolment, limits, login, pending, redirects
from .flows.checking import why_closed
from .flows.providers import has_another_way
from .flows.session import session_guard
from .forms import EnrolForm, PasswordForm, PinForm, RecoveryForm, explain, mark_wrong
from .mixins import VerifiedRequiredMixin
from .models import Challenge

logger = logging.getLogger("django_verigator")


def _answer_without_sessions(view: Callable[..., HttpResponseBase]) -> Callable[..., HttpResponseBase]:
    """Answer 503 where the site's session store fails; nobody is logged in then."""

    @wraps(view)
    def wrapper(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        try:
            return view(request, *args, **kwargs)
        except (TypeError, ValueError):  # something that the site has put into the session and cannot be stored
            raise
        except Exception as error:
            # A store raises what its database or cache raises; that it was the store, only the way there tells.
            store = {cls.__module__ for cls in type(request.session).__mro__}
            frames = (frame.f_globals.get("__name__") for frame, _ in traceback.walk_tb(error.__traceback__))
            if store.isdisjoint(frames):
                raise
            logger.error("session_failed error=%s", events.describe(error), exc_info=events.traceback_alone(error))
        # Plain, since the site's own page may well ask for the session.
        return _unavailable(gettext("We cannot sign you in at the moment. Try again in a little while."))

    return wrapper


def _answer_when_database_gives_up(view: Callable[..., HttpResponseBase]) -> Callable[..., HttpResponseBase]:
    """Answer 503 where a write of ours has met two deadlocks; it is all there, or none of it."""

    @wraps(view)
    def wrapper(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        try:
            return view(request, *args, **kwargs)
        except RetriesExhaustedError:
            return _unavailable(gettext("That did not work. Try again in a little while."))

    return wrapper


def _unavailable(text: str) -> HttpResponse:
    return HttpResponse(text, status=503, content_type="text/plain; charset=utf-8")


def _non_atomic(view: Callable[..., HttpResponseBase]) -> Callable[..., HttpResponseBase]:
    """Leave the view alone with ATOMIC_REQUESTS: no transaction may be open while the provider is asked."""
    # In one decorator: of several, method_decorator keeps what the last one has put on the view.
    for alias in connections:
        view = transaction.non_atomic_requests(using=alias)(view)
    return view


def _csrf_protect(view: Callable[..., HttpResponseBase]) -> Callable[..., HttpResponseBase]:
    """Protect a view as Django's ``csrf_protect`` does, but answer with the page and a sentence, not with a bare 403.

    A login in another tab gives the browser a new token, so that forms of this site that were open before have an old
    one. Nothing of what was posted is looked at.
    """

    @csrf_exempt  # or Django's middleware, which comes first, answers with its page
    @wraps(view)
    def wrapper(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        protection = CsrfViewMiddleware(_no_answer)
        protection.process_request(request)
        refused = protection.process_view(request, view, (), {})
        if refused is not None:
            request.method, request.POST = "GET", QueryDict()
            request.verigator_refused = refused  # type: ignore[attr-defined]
        response = view(request, *args, **kwargs)
        if refused is not None and response.status_code == HTTPStatus.OK:
            response.status_code = HTTPStatus.FORBIDDEN
        protection.process_response(request, response)
        return response

    return wrapper


def _no_answer(request: HttpRequest) -> HttpResponse:
    raise NotImplementedError


def _is_out_of_date(request: HttpRequest) -> bool:
    return hasattr(request, "verigator_refused")


_METHODS = ["get", "post", "head", "options"]  # Django's FormView takes PUT for POST
_DECORATORS: list[Any] = [
    _non_atomic,
    _answer_when_database_gives_up,
    sensitive_post_parameters(),
    sensitive_variables(),  # of every frame below, down to the provider's call
    _csrf_protect,
    never_cache,
    xframe_options_deny,
]
# LoginView's own decorators are repeated: a decorator on a parent's dispatch is lost where a child overrides it.
_ENTRANCE = [login_not_required, _answer_without_sessions, *_DECORATORS]


def _with_referrer_policy(response: HttpResponseBase) -> HttpResponseBase:
    # Not "no-referrer": with that, browsers send "Origin: null" and Django's CSRF check refuses the form.
    response.headers["Referrer-Policy"] = "same-origin"
    return response


def match_url(to: str) -> ResolverMatch | None:
    """Return what a request for this URL, or name of one, meets, or None; under a script or language prefix too."""
    try:
        path = urlsplit(resolve_url(to)).path
    except NoReverseMatch:
        return None
    path = f"/{path.removeprefix(get_script_prefix())}" if path.startswith(get_script_prefix()) else path
    for candidate in (path, f"/{get_language() or settings.LANGUAGE_CODE}{path}"):  # LocaleMiddleware leads there
        with suppress(Resolver404):
            return resolve(candidate)
    return None


def login_page(request: HttpRequest) -> auth_views.RedirectURLMixin:
    """Return the site's own login view for this request: it knows where a user lands, and on which hosts."""
    match = match_url(settings.LOGIN_URL)
    cls = getattr(match.func, "view_class", None) if match is not None else None
    if match is None or cls is None or not issubclass(cls, auth_views.RedirectURLMixin):
        match, cls = None, auth_views.LoginView
    view = cls(**getattr(match.func, "view_initkwargs", {}) if match is not None else {})
    view.setup(request, *(match.args if match is not None else ()), **(match.kwargs if match is not None else {}))
    return cast("auth_views.RedirectURLMixin", view)


class _Page:
    """What each page knows: whether it is shown in place of a form that its browser has sent with an old token."""

    request: HttpRequest

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        context: dict[str, Any] = super().get_context_data(  # type: ignore[misc]
            out_of_date=_is_out_of_date(self.request), **kwargs
        )
        return context


class _NextMixin(auth_views.RedirectURLMixin):
    request: HttpRequest

    def get_redirect_url(self, *args: Any) -> str:
        # Stricter than Django's own: it is stored, and not every database takes every character.
        url = super().get_redirect_url(*args)
        return url if redirects.is_safe_url(self.request, url, self.get_success_url_allowed_hosts()) else ""


@method_decorator(_ENTRANCE, name="dispatch")
class LoginView(_Page, _NextMixin, auth_views.LoginView):
    """Django's LoginView; a user who owes the second step goes on to the PIN page instead of being logged in."""

    http_method_names = _METHODS

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        return _with_referrer_policy(super().dispatch(request, *args, **kwargs))

    def get_template_names(self) -> list[str]:
        return [*super().get_template_names(), "django_verigator/login.html"]

    def get(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:  # type: ignore[override]
        if _is_out_of_date(request) and request.user.is_authenticated:  # in, by another tab
            return HttpResponseRedirect(self.get_success_url())
        return super().get(request, *args, **kwargs)

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        context = super().get_context_data(**kwargs)
        over = pending.take_ended(self.request) if self.request.method == "GET" else None
        if over is not None:
            context["ended"] = explain(Refused(Reason.ENDED))
            if redirects.is_safe_url(self.request, over.next_url, self.get_success_url_allowed_hosts()):
                context[self.redirect_field_name] = context[self.redirect_field_name] or over.next_url
        return context

    def form_valid(self, form: Any) -> HttpResponse:
        user = form.get_user()
        if login.begin(self.request, user, user.backend, self.get_redirect_url()):
            return HttpResponseRedirect(self.get_success_url())
        return redirect("verigator:verify")


@method_decorator(_ENTRANCE, name="dispatch")
class PendingView(auth_views.RedirectURLMixin, View):
    """A page of a login that waits for its PIN; without one it sends the browser back to the password.

    Whoever is in already goes on to where a login lands.
    """

    http_method_names = _METHODS
    challenge: Challenge

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        challenge = pending.current(request)
        if challenge is None:
            return self.no_pending_login()
        self.challenge = challenge
        return _with_referrer_policy(super().dispatch(request, *args, **kwargs))

    def no_pending_login(self) -> HttpResponseBase:
        if self.request.user.is_authenticated:
            pending.drop(self.request)
            return HttpResponseRedirect(self.landing(""))
        # The login page says that the login has ended, and forgets it.
        return redirect(settings.LOGIN_URL)

    def landing(self, next_url: str) -> str:
        """Return where to go after the login: checked again, since it has waited outside our hands."""
        page = login_page(self.request)
        hosts = page.get_success_url_allowed_hosts() | self.success_url_allowed_hosts
        if next_url and redirects.is_safe_url(self.request, next_url, hosts):
            return next_url
        return resolve_url(self.next_page) if self.next_page else page.get_default_redirect_url()


class PinPage(_Page, PendingView, FormView):  # type: ignore[type-arg]
    """Shows the PIN page; ``refused`` on it tells what the last post ended in."""

    template_name = "django_verigator/verify.html"
    form_class: type[Form] = PinForm
    refused: Refused | None = None

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        challenge = self.challenge
        closed = why_closed(challenge)
        barred = login.active_lockout(challenge)
        wait = max(0, ceil((challenge.resend_at - timezone.now()).total_seconds())) if challenge.resend_at else 0
        return super().get_context_data(
            challenge=challenge,
            username=mask_name(challenge.user.get_username()),
            # The two last digits and no more.
            phone_ending=challenge.masked_phone[-2:],
            by_app=challenge.method == METHOD_TOTP,
            fell_back=challenge.requested_method == METHOD_TOTP and challenge.method == METHOD_SMS,
            can_switch=challenge.method == METHOD_TOTP and conf.current().ALLOW_SMS,
            can_try=closed is None and barred is None,
            can_send=barred is None,
            signed_in=not challenge.auth_backend,
            closed=explain(barred) if barred else _closed_text(closed, challenge),
            refusal=explain(self.refused) if self.refused else "",
            was_sent=challenge.sent_at is not None,
            took_over=bool(challenge.backend) and challenge.backend != next(iter(conf.current().BACKENDS)),
            another_way=has_another_way(challenge),
            cannot_send=closed is not None and _is_unavailable(challenge, self.refused),
            resend_in=wait,
            can_enrol=challenge.purpose == Challenge.Purpose.PHONE and bool(challenge.auth_backend),
            can_recover=barred is None and challenge.purpose != Challenge.Purpose.PHONE,
            phone_changed=login.has_changed_number(challenge),
            back=self.back(),
            **kwargs,
        )

    def back(self) -> str:
        """Return where a logged-in user who cancels goes: the page before this one."""
        page = self.request.POST.get("back") or self.request.META.get("HTTP_REFERER", "")
        own = page.startswith(self.request.build_absolute_uri(reverse("verigator:verify")))
        return page if not self.challenge.auth_backend and not own and redirects.is_safe_url(self.request, page) else ""

    def refuse(self, refused: Refused) -> HttpResponseBase:
        """Show the page again with the reason; a login that has ended goes back to the password."""
        if refused.reason == Reason.ENDED:
            return self.no_pending_login()
        self.refused = refused
        # Not the one from before: another request may have sent a code, or taken back what it could not send.
        self.challenge = pending.current(self.request) or self.challenge
        # Empty: what was typed is not shown again.
        kwargs = {name: value for name, value in self.get_form_kwargs().items() if name not in ("data", "files")}
        form = self.get_form_class()(**kwargs)
        if refused.reason in (Reason.WRONG, Reason.WRONG_CODE):
            mark_wrong(form)
        return self.render_to_response(self.get_context_data(form=form))

    def _trust_days(self) -> int:
        return conf.current().TRUSTED_BROWSER_DAYS if completion.may_trust_browser(self.challenge) else 0


class VerifyView(PinPage):
    """The PIN page: asks for the code that was sent, and completes the login. A GET sends nothing."""

    def get_form_kwargs(self) -> dict[str, Any]:
        by_app = self.challenge.method == METHOD_TOTP
        return {**super().get_form_kwargs(), "trust_days": self._trust_days(), "by_app": by_app}

    def get(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:  # type: ignore[override]
        if enrolment.needs_phone(self.challenge):
            return redirect("verigator:enrol")
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
    """Sends another code, or the first one of a login that was caught; ``method=sms`` leaves the app for a text."""

    def get(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:  # type: ignore[override]
        return super().get(request) if _is_out_of_date(request) else redirect("verigator:verify")

    def post(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:  # type: ignore[override]
        method = METHOD_SMS if request.POST.get("method") == METHOD_SMS else None
        try:
            login.send(request, self.challenge, method=method, another_way=request.POST.get("way") == "other")
        except Refused as refused:
            if refused.reason == Reason.UNAVAILABLE:
                self.challenge = pending.current(request) or self.challenge
            return self.refuse(refused)
        return redirect("verigator:verify")


class CancelView(VerifyView):
    """Ends the pending login; whoever is logged in goes back to where the question came up."""

    def get(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:  # type: ignore[override]
        return super().get(request) if _is_out_of_date(request) else self.http_method_not_allowed(request)

    def post(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:  # type: ignore[override]
        back = self.back()
        login.cancel(request)
        if request.user.is_authenticated:
            return HttpResponseRedirect(back or reverse("verigator:security"))
        return redirect(settings.LOGIN_URL)


@method_decorator(_ENTRANCE, name="dispatch")
class EnrolView(_Page, _NextMixin, FormView):  # type: ignore[type-arg]
    """Takes a user's first phone: of a login that waits for one, or of a user who is logged in and wants it."""

    template_name = "django_verigator/enrol.html"
    form_class = EnrolForm
    http_method_names = _METHODS
    challenge: Challenge | None
    user: Any

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        self.challenge = pending.current(request)
        if self.challenge and request.user.is_authenticated and request.user.pk != self.challenge.user_id:
            self.challenge = None  # a cookie that somebody planted is not to take this user's number
        if self.challenge is None and request.method == "POST":
            # A new phone is not left to a trust that ended a moment ago.
            session_guard(request).recheck(request.user)
        self.user = self.challenge.user if self.challenge else request.user
        if not self.user.is_authenticated:
            return redirect(settings.LOGIN_URL)
        if enrolment.has_phone(self.user):
            if _is_out_of_date(request) and self.challenge:
                return cast("HttpResponseBase", request.verigator_refused)  # type: ignore[attr-defined]
            return redirect("verigator:verify" if self.challenge else settings.LOGIN_REDIRECT_URL)
        if enrolment.must_sign_in_anew(request, self.user, self.challenge):
            logout(request)  # a login page may send on who is in
            return redirect_to_login(reverse("verigator:enrol"))
        return _with_referrer_policy(super().dispatch(request, *args, **kwargs))

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


class AccountView(VerifiedRequiredMixin, View):
    """A page of a user who is logged in."""

    http_method_names = _METHODS

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        # What changes something is not left to what was read a minute ago.
        if request.method == "POST" and not session_guard(request).recheck(request.user).is_authenticated:
            return redirect(settings.LOGIN_URL)
        return _with_referrer_policy(super().dispatch(request, *args, **kwargs))


@method_decorator(_DECORATORS, name="dispatch")
class SecurityView(_Page, AccountView, TemplateView):
    """What a user can see and change of the second step."""

    template_name = "django_verigator/security.html"

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        return super().get_context_data(**account.overview(self.request.user), **kwargs)

    def post(self, request: HttpRequest) -> HttpResponseBase:
        """Keep the phone in force although the site has another number by now."""
        account.keep_phone(request.user)
        return redirect("verigator:security")


class ChangeView(_Page, AccountView, FormView):  # type: ignore[type-arg]
    """Changes what the second step rests on: asks for a fresh proof, and for the password where the user has one."""

    max_age = account.PROOF_MAX_AGE

    def get_form_kwargs(self) -> dict[str, Any]:
        user = self.request.user
        needs_password = account.needs_password(user)
        return {**super().get_form_kwargs(), "request": self.request, "user": user, "needs_password": needs_password}


@method_decorator(_DECORATORS, name="dispatch")
class PhoneView(ChangeView):
    """Takes a new phone in place of the one in force; it counts when a PIN sent to it came back.

    With ``?proposed=1`` that is the number which the site has by now, and nothing is typed.
    """

    template_name = "django_verigator/phone.html"
    form_class = EnrolForm

    @cached_property
    def proposed(self) -> str:
        return account.proposed_phone(self.request.user) if self.request.GET.get("proposed") else ""

    def get_form_class(self) -> type[Form]:
        return PasswordForm if self.proposed else EnrolForm

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        return super().get_context_data(proposed_ending=self.proposed[-2:], **kwargs)

    def form_valid(self, form: PasswordForm) -> HttpResponseBase:  # type: ignore[override]
        number = self.proposed or form.cleaned_data["phone"]
        try:
            account.change_phone(self.request, self.request.user, number, resolve_url("verigator:security"))
        except Refused as refused:
            form.add_error(None if self.proposed else "phone", explain(refused))
            return self.form_invalid(form)
        return redirect("verigator:phone_confirm")


@method_decorator(_DECORATORS, name="dispatch")
class RecoveryCodesView(ChangeView):
    """Makes a new set of recovery codes and shows it, this once."""

    template_name = "django_verigator/recovery_codes.html"
    form_class = PasswordForm

    def form_valid(self, form: PasswordForm) -> HttpResponseBase:  # type: ignore[override]
        try:
            limits.require_first_post(cookies.form_digest(self.request))
            codes = account.renew_recovery_codes(self.request, self.request.user)
        except Refused as refused:
            form.add_error(None, explain(refused))
            return self.form_invalid(form)
        return self.render_to_response(self.get_context_data(form=form, codes=codes))


@method_decorator(_DECORATORS, name="dispatch")
class BrowsersView(SecurityView):
    """Ends the trust in one browser (``browser=<id>``), or in all of them."""

    def get(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:  # type: ignore[override]
        return super().get(request) if _is_out_of_date(request) else redirect("verigator:security")

    def post(self, request: HttpRequest) -> HttpResponseBase:
        account.end_browser(request, request.user, request.POST.get("browser"))
        return redirect("verigator:security")


def mask_name(username: Any) -> str:
    """Return a username that its owner recognises and nobody else learns."""
    name = str(username or "")
    return f"{name[:1]}•••{name[-1:]}" if len(name) > 2 else "•••"


def _is_unavailable(challenge: Challenge, refused: Refused | None) -> bool:
    if refused is not None:
        return refused.reason == Reason.UNAVAILABLE
    return challenge.sent_at is None and challenge.outcome == Challenge.Outcome.UNAVAILABLE


def _closed_text(reason: Reason | None, challenge: Challenge) -> str:
    if reason is None:
        return ""
    if reason == Reason.NOTHING_SENT:
        if challenge.outcome == Challenge.Outcome.UNAVAILABLE:
            reason = Reason.UNAVAILABLE
        elif challenge.outcome == Challenge.Outcome.REFUSED:
            reason = Reason(challenge.refusal or "send_limit")
        else:
            return ""
    limited = reason in (Reason.SEND_LIMIT, Reason.SITE_BUDGET)
    return explain(Refused(reason, until=challenge.resend_at if limited else None))
