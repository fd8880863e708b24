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
"""How long the cookie outlives its login, so that the login page can say that it has expired."""


def cookie_name() -> str:
    """Return the cookie's name: one for each site on a host; Django's error reports hide names with "token"."""
    return f"verigator_token_{django_settings.SESSION_COOKIE_NAME}"


@dataclass(slots=True)
class CookieJar:
    """The cookies that the middleware sets or deletes on the response.

    Attributes:
        nonce: value of the pending login's cookie, or None to leave that alone.
        drop: delete that cookie.
        browser: name and value of a trusted browser's cookie, or None.
    """

    nonce: str | None = None
    drop: bool = False
    browser: tuple[str, str] | None = None

    @property
    def has_work(self) -> bool:
        return self.drop or self.nonce is not None or self.browser is not None

    def forget_pending(self, request: HttpRequest) -> None:
        """Have the browser forget a pending login that has ended."""
        self.drop = cookie_name() in request.COOKIES

    def apply(self, response: HttpResponseBase) -> None:
        """Set or delete the cookies on ``response``."""
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
    """Return the nonce in the browser's cookie, or None; its rows show whether the login still waits."""
    value = request.get_signed_cookie(cookie_name(), default=None, salt=_SALT, max_age=_cookie_seconds())
    return str(value) if value else None


def _cookie_seconds() -> int:
    return conf.current().LIMITS.PENDING_SECONDS + _REMEMBERED_SECONDS


def form_digest(request: HttpRequest) -> str:
    """Return what makes a second post of the same form, by a double click or a reload, idempotent; "" if unknown.

    It comes from the masked CSRF token, which differs on each page that is shown.
    """
    token = request.POST.get("csrfmiddlewaretoken", "") if request.method == "POST" else ""
    return digest("form", token) if token else ""
