"""The login that waits for its PIN: a nonce in a signed cookie of its own, everything else in the Challenge rows.

Not in the session: nothing there is touched before the PIN is right, an anonymous visitor's cart stays where it is,
and a session that is copied, or rolled back by its cookie, brings no try and no pending login back. The rows are
single-use.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.conf import settings as django_settings
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.utils import timezone

from .. import conf
from ..models import Challenge
from .digests import digest, digests

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


def find(nonce: str) -> Challenge | None:
    """Return the challenge in force for a pending login, with its user and link; None if the login has ended."""
    challenge = _last(nonce)
    return None if challenge is None or _is_over(challenge) else challenge


def find_ended(nonce: str) -> Challenge | None:
    """Return the last challenge of a login that has ended without a proof."""
    challenge = _last(nonce)
    return None if challenge is None or challenge.outcome == Challenge.Outcome.VERIFIED else challenge


def _last(nonce: str) -> Challenge | None:
    rows = Challenge.objects.select_related("user__verigator").filter(nonce_digest__in=digests("nonce", nonce))
    return rows.order_by("-step").first()


def _is_over(challenge: Challenge) -> bool:
    age = timezone.now() - challenge.started_at
    if age > timedelta(seconds=conf.current().LIMITS.PENDING_SECONDS):
        return True
    # A code that ran out or was throttled leaves the login waiting for another one.
    retry = (Challenge.Outcome.EXPIRED, Challenge.Outcome.THROTTLED)
    return challenge.consumed_at is not None and challenge.outcome not in retry


def form_of(request: HttpRequest) -> str:
    """Return by what a form is known again that is posted twice, by a double click or a reload; "" if by nothing.

    CSRF protection puts a value of its own into each page that is shown.
    """
    token = request.POST.get("csrfmiddlewaretoken", "") if request.method == "POST" else ""
    return digest("form", token) if token else ""


def new_nonce() -> str:
    """Return 128 random bits."""
    return secrets.token_urlsafe(16)


def new(user: Any, *, ip: str | None, form: str = "", **fields: Any) -> tuple[Challenge, str]:
    """Return the unsaved first challenge of a new pending login, and the nonce for its browser.

    Args:
        form: of ``form_of``: the same form posted twice begins one login, since the rows of its nonce are unique.
    """
    nonce = digest("nonce.form", f"{user.pk}.{form}")[:32] if form else new_nonce()
    challenge = Challenge(user=user, nonce_digest=digest("nonce", nonce), ip=ip, created_at=timezone.now(), **fields)
    challenge.started_at = challenge.created_at
    return challenge, nonce


_CARRIED = ("nonce_digest", "auth_backend", "auth_hash", "epoch", "next_url", "password_given", "started_at", "purpose")


def following(challenge: Challenge, *, ip: str | None) -> Challenge:
    """Return the unsaved next challenge of the same pending login."""
    carried = {name: getattr(challenge, name) for name in _CARRIED}
    sends = challenge.sends + (challenge.sent_at is not None)
    return Challenge(
        user=challenge.user, step=challenge.step + 1, sends=sends, ip=ip, created_at=timezone.now(), **carried
    )
