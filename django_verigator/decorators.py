"""Guards for single views."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from functools import wraps
from typing import Any, TypeVar, overload

from asgiref.sync import iscoroutinefunction, sync_to_async
from django.contrib.auth.views import redirect_to_login
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.shortcuts import redirect
from django.utils.http import urlencode

from .flows import login, policy, redirects
from .flows.session import session_guard

__all__ = ["verified_required"]

_V = TypeVar("_V", bound=Callable[..., Any])


@overload
def verified_required(view: _V) -> _V: ...


@overload
def verified_required(*, max_age: timedelta | None = None) -> Callable[[_V], _V]: ...


def verified_required(view: _V | None = None, *, max_age: timedelta | None = None) -> _V | Callable[[_V], _V]:
    """Let only users in who have proved their second factor; for sync and async views.

    An anonymous user is sent to LOGIN_URL. A user who need not use two-factor authentication passes, unless ``max_age``
    is given.

    Args:
        max_age: how old the last proof may be; None for any age. A user with an older proof, or none, gives a new one
            on the PIN page and comes back; a user without a phone enrols one first. A posted form is not posted again.
    """

    def decorate(view: _V) -> _V:
        if iscoroutinefunction(view):

            @wraps(view)
            async def guarded(request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
                user = await request.auser()
                answer = await sync_to_async(refusal)(request, user, max_age)
                return await view(request, *args, **kwargs) if answer is None else answer

        else:

            @wraps(view)
            def guarded(request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
                answer = refusal(request, request.user, max_age)
                return view(request, *args, **kwargs) if answer is None else answer

        return guarded  # type: ignore[return-value]

    return decorate if view is None else decorate(view)


def refusal(
    request: HttpRequest, user: Any, max_age: timedelta | None, back: str | None = None
) -> HttpResponseBase | None:
    """Return the redirect for a user whom ``verified_required`` does not let in, or None.

    Args:
        user: the request's user, sync or async.
        max_age: as of ``verified_required``.
        back: URL to come back to after a new proof; None for this page or, after a post, the page with the form.
    """
    guard = session_guard(request)
    # A user put on the request after the middleware ran has not been checked yet.
    user = guard.resolve_user(user)
    if not user.is_authenticated:
        return redirect_to_login(request.get_full_path())
    if max_age is None or guard.proved_within(user, max_age):
        return None
    if guard.allowed_pk is None:  # max_age reads the row, which shows that the trust has ended
        return redirect_to_login(request.get_full_path())
    return_url = _return_url(request) if back is None else back
    if not policy.requirement_of(user).has_phone:
        return redirect_with_next("verigator:enrol", return_url)
    login.step_up(request, user, return_url)
    return redirect("verigator:verify")


def _return_url(request: HttpRequest) -> str:
    if request.method in ("GET", "HEAD"):
        return request.get_full_path()
    page = request.META.get("HTTP_REFERER", "")
    return page if redirects.is_safe_url(request, page) else ""


def redirect_with_next(name: str, next_url: str) -> HttpResponseBase:
    """Redirect to a URL name, with ``?next=`` if there is a ``next_url``."""
    response = redirect(name)
    if next_url:
        response["Location"] += "?" + urlencode({"next": next_url})
    return response
