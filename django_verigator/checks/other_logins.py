"""The check for logins that two-factor authentication does not cover."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from django.conf import settings
from django.core import checks
from django.urls import URLPattern, get_resolver
from django.utils.module_loading import import_string

from .. import check_ids

# Apps that let a user in by a token for a password, without a session that the middleware could check.
_TOKEN_APPS = ("rest_framework.authtoken", "rest_framework_simplejwt", "knox")

# Authentication classes that take a password or a token, without a session.
_SESSIONLESS = (
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

# Views that give out a token for a password, without the signal of a login.
_TOKEN_VIEWS = (
    "rest_framework.authtoken.views.ObtainAuthToken",
    "rest_framework_simplejwt.views.TokenObtainPairView",
    "rest_framework_simplejwt.views.TokenObtainSlidingView",
    "oauth2_provider.views.base.TokenView",
)


def load(path: str) -> Any:
    """Return what a dotted path names, or None."""
    try:
        return import_string(path)
    except ImportError:  # Django reports it
        return None


def check_logins(**kwargs: Any) -> list[checks.CheckMessage]:
    """Warn of apps, authentication classes and views that let a user in with a password alone."""
    found = [app for app in settings.INSTALLED_APPS if any(f"{app}.".startswith(f"{name}.") for name in _TOKEN_APPS)]
    rest = getattr(settings, "REST_FRAMEWORK", None)
    if rest is not None or "rest_framework" in settings.INSTALLED_APPS:
        # REST framework's default is SessionAuthentication and BasicAuthentication.
        classes = (rest or {}).get(
            "DEFAULT_AUTHENTICATION_CLASSES", ["rest_framework.authentication.BasicAuthentication"]
        )
        found += [_dotted_paths(cls)[0] for cls in classes if _is_sessionless(cls)]
    for cls, arguments in _views():
        classes = arguments.get("authentication_classes", getattr(cls, "authentication_classes", ()))
        found += [_dotted_paths(each)[0] for each in classes if _is_sessionless(each)]
        if set(_dotted_paths(cls)) & set(_TOKEN_VIEWS) or _is_silent_login(cls):
            found.append(_dotted_paths(cls)[0])
    found = list(dict.fromkeys(found))
    if not found:
        return []
    return [
        checks.Warning(
            f"The second step does not cover {', '.join(found)}: a password, or a token for it, lets in without one.",
            hint="Let the API take SessionAuthentication alone. Or give tokens out in a view that takes no name and no "
            "password and makes the token for request.user, as docs/neighbours.md shows. Or silence this where no user "
            "who owes the second step can use it.",
            id=check_ids.LOGIN_NOT_COVERED,
        )
    ]


def _views() -> Iterator[tuple[type, dict[str, Any]]]:
    """Yield the class of each view of the site that has one, with the arguments of its ``as_view()``."""

    def callbacks(patterns: Iterable[Any]) -> Iterator[Any]:
        for pattern in patterns:
            if isinstance(pattern, URLPattern):
                yield pattern.callback
            else:
                yield from callbacks(pattern.url_patterns)

    for view in callbacks(get_resolver().url_patterns if getattr(settings, "ROOT_URLCONF", None) else ()):
        cls = getattr(view, "cls", None) or getattr(view, "view_class", None)  # Django REST framework's, Django's
        if isinstance(cls, type):
            yield cls, getattr(view, "initkwargs", None) or getattr(view, "view_initkwargs", {})


def _dotted_paths(cls: Any) -> list[str]:
    """Return the dotted paths of a class (or of the one that a path leads to) and of its bases."""
    if isinstance(cls, str):
        found = load(cls)
        return [cls, *(_dotted_paths(found)[1:] if isinstance(found, type) else ())]
    return [f"{each.__module__}.{each.__qualname__}" for each in cls.__mro__]


def _is_sessionless(cls: Any) -> bool:
    """Whether an authentication class takes a password or a token, without a session."""
    return any(name.startswith(_SESSIONLESS) and name not in _SESSION_CLASSES for name in _dotted_paths(cls))


def _is_silent_login(cls: type) -> bool:
    # With SESSION_LOGIN dj-rest-auth logs in as Django does, and the middleware intercepts the response.
    makes_session = getattr(settings, "REST_AUTH", {}).get("SESSION_LOGIN", True)
    return not makes_session and "dj_rest_auth.views.LoginView" in _dotted_paths(cls)
