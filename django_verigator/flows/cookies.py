"""The cookies of a pending login and of a trusted browser."""

from __future__ import annotations

from dataclasses import dataclass

from django.conf import settings as django_settings
from django.http import HttpRequest
from django.http.response import HttpResponseBase

from .. import conf
from ..digests import digest

_SALT = "django_verigator.pending"

_REMEMBERED_SECONDS = 3600
"""For so long the browser knows of a login that has waited too long, so that the login page can say so."""


def cookie_name() -> str:
    """Return the cookie's name: of its own for each site on a host, with a word in it that error reports hide."""
    return f"verigator_token_{django_settings.SESSION_COOKIE_NAME}"


@dataclass(slots=True)
class CookieJar:
    """What the response is to do with the cookie; the middleware applies it."""

    nonce: str | None = None
    drop: bool = False
    browser: tuple[str, str] | None = None
    """Name and value of a trusted browser's cookie."""

    @property
    def has_work(self) -> bool:
        return self.drop or self.nonce is not None or self.browser is not None

    def apply(self, response: HttpResponseBase) -> None:
        if self.browser is not None:
            response.set_cookie(
                *self.browser,
                max_age=conf.current().TRUSTED_BROWSER_DAYS * 24 * 3600,
                domain=django_settings.SESSION_COOKIE_DOMAIN,
                path=django_settings.SESSION_COOKIE_PATH,
                secure=not django_settings.DEBUG,
                httponly=True,
                samesite="Lax",
            )
        if self.nonce is not None:
            response.set_signed_cookie(
                cookie_name(),
                self.nonce,
                salt=_SALT,
                max_age=_cookie_seconds(),
                domain=django_settings.SESSION_COOKIE_DOMAIN,
                path=django_settings.SESSION_COOKIE_PATH,
                secure=django_settings.SESSION_COOKIE_SECURE,
                httponly=True,
                samesite=django_settings.SESSION_COOKIE_SAMESITE or "Lax",
            )
        elif self.drop:
            response.delete_cookie(
                cookie_name(),
                domain=django_settings.SESSION_COOKIE_DOMAIN,
                path=django_settings.SESSION_COOKIE_PATH,
                samesite=django_settings.SESSION_COOKIE_SAMESITE or "Lax",
            )


def read_nonce(request: HttpRequest) -> str | None:
    """Return the nonce the browser holds, if we gave it out lately; whether the login still waits its rows tell."""
    value = request.get_signed_cookie(cookie_name(), default=None, salt=_SALT, max_age=_cookie_seconds())
    return str(value) if value else None


def _cookie_seconds() -> int:
    return conf.current().LIMITS.PENDING_SECONDS + _REMEMBERED_SECONDS


def form_digest(request: HttpRequest) -> str:
    """Return by what a form is known again that is posted twice, by a double click or a reload; "" if by nothing.

    CSRF protection puts a value of its own into each page that is shown.
    """
    token = request.POST.get("csrfmiddlewaretoken", "") if request.method == "POST" else ""
    return digest("form", token) if token else ""
