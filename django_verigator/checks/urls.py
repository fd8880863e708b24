"""Checks of the URLs and of LOGIN_URL."""

from __future__ import annotations

from typing import Any

from django.apps import apps
from django.conf import settings
from django.core import checks
from django.urls import NoReverseMatch, reverse

from .. import check_ids
from ..views.login import LoginView
from ..views.redirects import match_url

_OTHER_FACTORS = ("allauth.account", "two_factor", "django_otp")


def check_urls(**kwargs: Any) -> list[checks.CheckMessage]:
    """Return whether our pages are missing, LOGIN_URL leads elsewhere, or there are two login pages."""
    if not getattr(settings, "ROOT_URLCONF", None):
        return []
    try:
        reverse("verigator:verify")
    except NoReverseMatch:
        return [
            checks.Error(
                "The URLs of django_verigator are not included.",
                hint='Add path("accounts/", include("django_verigator.urls")) to your URLconf.',
                id=check_ids.URLS_MISSING,
            )
        ]
    found = _check_second_login_page()
    login_page = _view_at(settings.LOGIN_URL)
    if _is_ours(login_page) or (login_page is not None and not _is_included("verigator:login")):
        return found
    return [
        *found,
        checks.Warning(
            "LOGIN_URL does not lead to django_verigator's login page.",
            hint='Set LOGIN_URL = "verigator:login", so that nobody is logged in before the PIN is right. '
            "Elsewhere the user is logged in for a moment, and caught after it.",
            id=check_ids.LOGIN_URL_ELSEWHERE,
        ),
    ]


def _check_second_login_page() -> list[checks.CheckMessage]:
    others = [app for app in _OTHER_FACTORS if apps.is_installed(app)]
    if not others or not _is_ours(_view_at("verigator:login")):
        return []
    return [
        checks.Warning(
            f"Our login page is a second door beside {', '.join(others)}: who owes no PIN gets in there with the "
            "password alone, past a second factor, a confirmed address or a limit of theirs.",
            hint='Include "django_verigator.urls_without_login" in place of "django_verigator.urls", and set LOGIN_URL '
            "to their login page.",
            id=check_ids.SECOND_LOGIN_PAGE,
        )
    ]


def _view_at(name: str) -> Any:
    match = match_url(name)
    return match.func if match is not None else None


def _is_ours(view: Any) -> bool:
    cls = getattr(view, "view_class", None)
    return cls is not None and issubclass(cls, LoginView)


def _is_included(name: str) -> bool:
    try:
        reverse(name)
    except NoReverseMatch:
        return False
    return True
