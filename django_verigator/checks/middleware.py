"""Checks of MIDDLEWARE."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.conf import settings
from django.contrib.auth.middleware import AuthenticationMiddleware, LoginRequiredMiddleware, RemoteUserMiddleware
from django.core import checks

from .. import check_ids
from ..middleware import VerigatorMiddleware
from . import other_logins

# These keep no user: Django's own, and django-otp's, which sets attributes on the user.
_MAY_STAND_BETWEEN = ("django.", "django_otp.")


def check_middleware(**kwargs: Any) -> list[checks.CheckMessage]:
    """Return what is wrong with the order of MIDDLEWARE."""
    classes = [other_logins.load(path) for path in settings.MIDDLEWARE]
    ours = _first(classes, VerigatorMiddleware)
    if ours is None:
        return [
            checks.Error(
                "django_verigator.middleware.VerigatorMiddleware is not in MIDDLEWARE.",
                hint="Add it after AuthenticationMiddleware. Without it the admin and every other login bypass "
                "the second step.",
                id=check_ids.MIDDLEWARE_MISSING,
            )
        ]
    found: list[checks.CheckMessage] = []
    authentication = _first(classes, AuthenticationMiddleware)
    if authentication is None or authentication > ours:
        found.append(_misplaced("AuthenticationMiddleware must stand before it"))
    remote_user = _first(classes, RemoteUserMiddleware)
    if remote_user is not None and remote_user > ours:
        found.append(_misplaced("RemoteUserMiddleware must stand before it"))
    login_required = _first(classes, LoginRequiredMiddleware)
    if login_required is not None and login_required < ours:
        found.append(_misplaced("LoginRequiredMiddleware must stand after it"))
    between = slice(ours if authentication is None else authentication + 1, ours)
    for path, middleware in zip(settings.MIDDLEWARE[between], classes[between], strict=True):
        if not path.startswith(_MAY_STAND_BETWEEN) and _first([middleware], RemoteUserMiddleware) is None:
            found.append(
                checks.Warning(
                    f"{path} stands between AuthenticationMiddleware and VerigatorMiddleware: what it keeps of "
                    "request.user may be a user who has not given the PIN.",
                    hint="Put VerigatorMiddleware directly behind AuthenticationMiddleware. Silence this where the "
                    "other one logs users in, or puts them on the request, and does nothing else with them.",
                    id=check_ids.MIDDLEWARE_BETWEEN,
                )
            )
    return found


def _misplaced(rule: str) -> checks.Error:
    return checks.Error(
        "django_verigator.middleware.VerigatorMiddleware stands in the wrong place of MIDDLEWARE.",
        hint=f"{rule}.",
        id=check_ids.MIDDLEWARE_MISPLACED,
    )


def _first(classes: Sequence[Any], wanted: type) -> int | None:
    places = (place for place, cls in enumerate(classes) if isinstance(cls, type) and issubclass(cls, wanted))
    return next(places, None)
