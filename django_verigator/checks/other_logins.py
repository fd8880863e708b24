"""Checks for logins that the second factor does not cover."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from django.conf import settings
from django.core import checks
from django.urls import URLPattern, get_resolver
from django.utils.module_loading import import_string

from .. import check_ids

# What lets in with a password alone, or with a token given for it, and makes no session that the middleware could see.
_TOKEN_APPS = ("rest_framework.authtoken", "rest_framework_simplejwt", "knox")

_BELIEVERS = (
    "rest_framework.authentication.",
    "rest_framework_simplejwt.",
    "knox.",
    "dj_rest_auth.",
    "oauth2_provider.",
    "allauth.headless.",
)

_SESSION_CLASSES = (
    "rest_framework.authentication.BaseAuthentication",
    "rest_framework.authentication.SessionAuthentication",
)

# What gives out a token for a password, and tells nobody of the login.
_TOKEN_VIEWS = (
    "rest_framework.authtoken.views.ObtainAuthToken",
    "rest_framework_simplejwt.views.TokenObtainPairView",
    "rest_framework_simplejwt.views.TokenObtainSlidingView",
    "oauth2_provider.views.base.TokenView",
)


def load(path: str) -> Any:
    try:
        return import_string(path)
    except ImportError:  # Django reports it by itself
        return None


def check_logins(**kwargs: Any) -> list[checks.CheckMessage]:
    found = [app for app in settings.INSTALLED_APPS if any(f"{app}.".startswith(f"{name}.") for name in _TOKEN_APPS)]
    rest = getattr(settings, "REST_FRAMEWORK", None)
    if rest is not None or "rest_framework" in settings.INSTALLED_APPS:
        # Left out, it is SessionAuthentication and BasicAuthentication.
        classes = (rest or {}).get(
            "DEFAULT_AUTHENTICATION_CLASSES", ["rest_framework.authentication.BasicAuthentication"]
        )
        found += [_names(cls)[0] for cls in classes if _believes(cls)]
    for cls, arguments in _views():
        classes = arguments.get("authentication_classes", getattr(cls, "authentication_classes", ()))
        found += [_names(each)[0] for each in classes if _believes(each)]
        if set(_names(cls)) & set(_TOKEN_VIEWS) or _is_silent_login(cls):
            found.append(_names(cls)[0])
    found = list(dict.fromkeys(found))
    if not found:
        return []
    return [
        checks.Warning(
            f"The second step does not cover {', '.join(found)}: a password, or a token for it, lets in without one.",
            hint="Let the API take SessionAuthentication alone. Or give tokens out in a view that takes no name and no "
            "password and makes the token for request.user, as docs/checks.md shows. Or silence this where no user who "
            "owes the second step can use it.",
            id=check_ids.LOGIN_NOT_COVERED,
        )
    ]


def _views() -> Iterator[tuple[type, dict[str, Any]]]:
    """Yield the class of each view of the site that has one, with the arguments of its ``as_view()``."""

    def walk(patterns: Iterable[Any]) -> Iterator[Any]:
        for pattern in patterns:
            if isinstance(pattern, URLPattern):
                yield pattern.callback
            else:
                yield from walk(pattern.url_patterns)

    for view in walk(get_resolver().url_patterns if getattr(settings, "ROOT_URLCONF", None) else ()):
        cls = getattr(view, "cls", None) or getattr(view, "view_class", None)  # Django REST framework's, Django's
        if isinstance(cls, type):
            yield cls, getattr(view, "initkwargs", None) or getattr(view, "view_initkwargs", {})


def _names(cls: Any) -> list[str]:
    """Return the dotted paths of a class (or of the one that a path leads to) and of its bases."""
    if isinstance(cls, str):
        found = load(cls)
        return [cls, *(_names(found)[1:] if isinstance(found, type) else ())]
    return [f"{each.__module__}.{each.__qualname__}" for each in cls.__mro__]


def _believes(cls: Any) -> bool:
    """Whether a class for authentication lets in with a password, or a token, and no session."""
    return any(name.startswith(_BELIEVERS) and name not in _SESSION_CLASSES for name in _names(cls))


def _is_silent_login(cls: type) -> bool:
    # Else dj-rest-auth logs in as Django does, and the middleware takes back what it was about to hand out.
    tells = getattr(settings, "REST_AUTH", {}).get("SESSION_LOGIN", True)
    return not tells and "dj_rest_auth.views.LoginView" in _names(cls)
