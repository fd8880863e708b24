"""Where a login lands, and which view shows the site's login page."""

from __future__ import annotations

from contextlib import suppress
from typing import Any, cast
from urllib.parse import urlsplit

from django.conf import settings
from django.contrib.auth import views as auth_views
from django.http import HttpRequest
from django.shortcuts import resolve_url
from django.urls import NoReverseMatch, Resolver404, ResolverMatch, get_script_prefix, resolve
from django.utils.translation import get_language

from ..flows import redirects


def match_url(to: str) -> ResolverMatch | None:
    """Return the view that serves a URL or URL name, or None; also under a script or language prefix."""
    try:
        path = urlsplit(resolve_url(to)).path
    except NoReverseMatch:
        return None
    path = f"/{path.removeprefix(get_script_prefix())}" if path.startswith(get_script_prefix()) else path
    for candidate in (path, f"/{get_language() or settings.LANGUAGE_CODE}{path}"):  # LocaleMiddleware redirects there
        with suppress(Resolver404):
            return resolve(candidate)
    return None


def login_page(request: HttpRequest) -> auth_views.RedirectURLMixin:
    """Return the site's login view, set up for this request: it knows the landing page and the allowed hosts."""
    match = match_url(settings.LOGIN_URL)
    cls = getattr(match.func, "view_class", None) if match is not None else None
    if match is None or cls is None or not issubclass(cls, auth_views.RedirectURLMixin):
        match, cls = None, auth_views.LoginView
    view = cls(**getattr(match.func, "view_initkwargs", {}) if match is not None else {})
    view.setup(request, *(match.args if match is not None else ()), **(match.kwargs if match is not None else {}))
    return cast("auth_views.RedirectURLMixin", view)


class NextMixin(auth_views.RedirectURLMixin):
    """Takes ``next`` only where it is safe and can be stored."""

    request: HttpRequest

    def get_redirect_url(self, *args: Any) -> str:
        # Stricter than Django: the URL is stored, and not every database takes every character.
        url = super().get_redirect_url(*args)
        return url if redirects.is_safe_url(self.request, url, self.get_success_url_allowed_hosts()) else ""
