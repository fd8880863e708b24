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

_V = TypeVar("_V", bound=Callable[..., Any])


@overload
def verified_required(view: _V) -> _V: ...


@overload
def verified_required(*, max_age: timedelta | None = None) -> Callable[[_V], _V]: ...


def verified_required(view: _V | None = None, *, max_age: timedelta | None = None) -> _V | Callable[[_V], _V]:
    """Let only users in who have done their second step; for sync and async views.

    An anonymous user is sent to LOGIN_URL. A user who owes no second step passes, unless ``max_age`` is given.

    Args:
        max_age: how old the last proof may be. Whoever has an older one, or none, gives a new one on the PIN page and
            comes back; a user without a phone enrols one first. A form that was posted is not posted again.
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
    """Return where a user is sent who may not go on, or None.

    Args:
        max_age: as of ``verified_required``.
        back: where the user comes back to after a new proof; None for the page with the form, or this one.
    """
    guard = session_guard(request)
    # Whoever was put on the request behind the middleware's back has not been looked at yet.
    user = guard.resolve_user(user)
    if not user.is_authenticated:
        return redirect_to_login(request.get_full_path())
    if max_age is None or guard.proved_within(user, max_age):
        return None
    if guard.allowed_pk is None:  # asked again, the user turned out to have lost the trust
        return redirect_to_login(request.get_full_path())
    here = _way_back(request) if back is None else back
    if not policy.requirement_of(user).has_phone:
        return redirect_with_next("verigator:enrol", here)
    login.step_up(request, user, here)
    return redirect("verigator:verify")


def _way_back(request: HttpRequest) -> str:
    if request.method in ("GET", "HEAD"):
        return request.get_full_path()
    # Back to the page with the form.
    page = request.META.get("HTTP_REFERER", "")
    return page if redirects.is_safe_url(request, page) else ""


def redirect_with_next(name: str, next_url: str) -> HttpResponseBase:
    response = redirect(name)
    if next_url:
        response["Location"] += "?" + urlencode({"next": next_url})
    return response
