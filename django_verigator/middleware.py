"""The guard on every request: no view runs as a user who still has to prove the second factor."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from functools import partial
from typing import Any
from urllib.parse import urlsplit

from asgiref.sync import async_to_sync, iscoroutinefunction, markcoroutinefunction, sync_to_async
from django.conf import settings
from django.contrib import auth
from django.contrib.auth import REDIRECT_FIELD_NAME
from django.contrib.messages.storage.cookie import CookieStorage
from django.core.exceptions import ImproperlyConfigured
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.http.response import HttpResponseBase
from django.shortcuts import redirect, resolve_url
from django.utils.functional import SimpleLazyObject
from django.utils.translation import gettext
from django.views.decorators.debug import sensitive_variables

from . import conf
from .db import RetriesExhaustedError
from .flows import login, redirects
from .flows.session import SessionGuard
from .records import time_budget

__all__ = ["VerigatorMiddleware"]

GetResponse = Callable[[HttpRequest], Any]

_OUR_APPS = {"verigator", "verigator_widget"}  # app_name in urls and in contrib.widget.urls


class VerigatorMiddleware:
    """Intercepts every login that lacks the second factor, whichever code made it.

    Stands after AuthenticationMiddleware and RemoteUserMiddleware, before LoginRequiredMiddleware. A session is checked
    when ``request.user`` or ``request.auser`` is first read, and when a response would save a login made during the
    request. A public page that reads neither costs no query and gets no ``Vary: Cookie``.
    """

    sync_capable = True
    async_capable = True

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response
        self.is_async = iscoroutinefunction(get_response)
        if self.is_async:
            markcoroutinefunction(self)
            self.process_view: Callable[..., Any] = self._aprocess_view
        else:
            self.process_view = self._process_view

    def __call__(self, request: HttpRequest) -> HttpResponseBase | Awaitable[HttpResponseBase]:
        self._install_guard(request)
        if self.is_async:
            return self._acall(request)
        with time_budget.RequestBudget():
            response: HttpResponseBase = self.get_response(request)
        return self._apply_guard(request, response) if _has_work(request) else response

    async def _acall(self, request: HttpRequest) -> HttpResponseBase:
        with time_budget.RequestBudget():
            response: HttpResponseBase = await self.get_response(request)
        return await sync_to_async(self._apply_guard)(request, response) if _has_work(request) else response

    def _install_guard(self, request: HttpRequest) -> None:
        if not hasattr(request, "user") or not hasattr(request, "session"):
            raise ImproperlyConfigured(
                "VerigatorMiddleware needs SessionMiddleware and AuthenticationMiddleware before it in MIDDLEWARE."
            )
        guard = request.verigator = SessionGuard(request)  # type: ignore[attr-defined]
        guard.outer_user = request.user
        guard.lazy_user = SimpleLazyObject(partial(guard.resolve_user, guard.outer_user))
        request.user = guard.lazy_user
        if hasattr(request, "auser"):
            guard.lazy_auser = request.auser = partial(_aguarded, guard, request.auser)

    # A middleware further in may have put another user on the request, who is checked before the view runs.

    def _process_view(self, request: HttpRequest, *args: Any) -> HttpResponseBase | None:
        return None if _is_untouched(request) else self._check_replaced_user(request)

    async def _aprocess_view(self, request: HttpRequest, *args: Any) -> HttpResponseBase | None:
        return None if _is_untouched(request) else await sync_to_async(self._check_replaced_user)(request)

    def _check_replaced_user(self, request: HttpRequest) -> HttpResponseBase | None:
        guard: SessionGuard = request.verigator  # type: ignore[attr-defined]
        found = [user for user in _replaced_users(request) if user.is_authenticated]
        for user in found:
            if not guard.resolve_user(user, fresh=True).is_authenticated:
                break  # the guard has put an anonymous user in place of both
        if not found or guard.intercepted is None or _is_our_page(request):  # our pages must stay reachable
            return None
        # _apply_guard makes the pending login when this response passes it.
        return HttpResponseRedirect(request.get_full_path())

    @sensitive_variables()  # for every frame below, down to the provider's call
    def _apply_guard(self, request: HttpRequest, response: HttpResponseBase) -> HttpResponseBase:
        guard: SessionGuard = request.verigator  # type: ignore[attr-defined]
        next_url, sends = _requested_url(request), False
        if _has_new_login(request, guard):
            # The newest login counts, not one that was intercepted before it.
            guard.intercepted = None
            next_url = _redirect_target(request, response)
            guard.resolve_user(_user_of(request), fresh=True)
            sends = request.method == "POST" and guard.has_logged_in()
        if guard.logins:
            guard.end_hidden_logins()
        if guard.intercepted is not None:
            response = self._answer_instead(request, response, next_url, sends)
        guard.cookies.apply(response)
        return response

    def _answer_instead(
        self, request: HttpRequest, response: HttpResponseBase, next_url: str, sends: bool
    ) -> HttpResponseBase:
        guard: SessionGuard = request.verigator  # type: ignore[attr-defined]
        user, auth_backend = guard.intercepted or (None, "")
        try:
            is_pending_already = login.intercept(request, user, auth_backend, next_url, sends=sends)
        except RetriesExhaustedError:
            text = gettext("That did not work. Try again in a little while.")
            return HttpResponse(text, status=503, content_type="text/plain; charset=utf-8")
        # Where every request logs in (RemoteUser), our pages must stay reachable.
        if is_pending_already and _is_our_page(request):
            return response
        answer = redirect("verigator:verify")
        for name in _kept_cookies():
            if name in response.cookies and response.cookies[name].value:
                answer.cookies[name] = response.cookies[name]
        return answer


def _kept_cookies() -> tuple[str, ...]:
    # Not every cookie: a view may hand out a token in one, which a password alone must not yield.
    known = (CookieStorage.cookie_name, settings.LANGUAGE_COOKIE_NAME, settings.CSRF_COOKIE_NAME)
    return (*known, *conf.current().KEPT_COOKIES)


def _has_work(request: HttpRequest) -> bool:
    guard: SessionGuard = request.verigator  # type: ignore[attr-defined]
    return guard.intercepted is not None or bool(guard.logins) or guard.cookies.has_work or request.session.modified


def _is_untouched(request: HttpRequest) -> bool:
    # Compared, not evaluated: this runs in the event loop too, and a lazy user queries the database.
    guard: SessionGuard = request.verigator  # type: ignore[attr-defined]
    return request.user is guard.lazy_user and getattr(request, "auser", None) is guard.lazy_auser


def _replaced_users(request: HttpRequest) -> Iterator[Any]:
    """Yield the users that other middleware has put on the request."""
    guard: SessionGuard = request.verigator  # type: ignore[attr-defined]
    if request.user is not guard.lazy_user:
        yield request.user
    auser = getattr(request, "auser", None)
    if auser not in (None, guard.lazy_auser):
        yield async_to_sync(auser)()


def _has_new_login(request: HttpRequest, guard: SessionGuard) -> bool:
    # Only a modified session can hold a new login, and a modified one is loaded already.
    session = request.session
    return session.modified and session.get(auth.SESSION_KEY) not in (None, guard.allowed_pk)


def _is_our_page(request: HttpRequest) -> bool:
    return request.resolver_match is not None and not _OUR_APPS.isdisjoint(request.resolver_match.app_names)


def _user_of(request: HttpRequest) -> Any:
    # login() puts the user on the request; code that writes the session by hand does not.
    user = request.user
    if user.is_authenticated and str(user._meta.pk.value_to_string(user)) == request.session[auth.SESSION_KEY]:
        return user
    return auth.get_user(request)


def _requested_url(request: HttpRequest) -> str:
    """Return the URL that an intercepted request asked for, or "": a posted form is not posted again."""
    if request.method not in ("GET", "HEAD"):
        return ""
    if request.path == urlsplit(resolve_url(settings.LOGIN_URL)).path:
        return _if_safe(request, request.GET.get(REDIRECT_FIELD_NAME, ""))
    return request.get_full_path()


def _redirect_target(request: HttpRequest, response: HttpResponseBase) -> str:
    """Return the URL to which a view that logged a user in redirects; without a redirect, the requested one."""
    if 300 <= response.status_code < 400:
        return _if_safe(request, response.get("Location", ""))
    return _requested_url(request)


def _if_safe(request: HttpRequest, url: str) -> str:
    return url if redirects.is_safe_url(request, url) else ""


async def _aguarded(guard: SessionGuard, auser: Callable[[], Awaitable[Any]]) -> Any:
    user = await auser()
    return await sync_to_async(guard.resolve_user)(user) if user.is_authenticated else user
