"""Trusted browsers: a cookie stands in for the PIN, until it expires, is revoked, or its trust version ends."""

from __future__ import annotations

import re
import secrets
from datetime import timedelta

from django.contrib.auth.base_user import AbstractBaseUser
from django.http import HttpRequest
from django.utils import timezone
from django.utils.translation import gettext

from .. import conf
from ..addresses import client_address
from ..db import retry_on_deadlock
from ..digests import auth_hash_of, digest
from ..models import Challenge, TrustedBrowser

_LABEL_LENGTH = 80

_MAX_TOKEN_LENGTH = 100

# The first match counts: most browsers also name those further down.
_BROWSERS = {
    "Edge": r"\bEdg(e|A|iOS)?/",
    "Opera": r"\b(OPR|OPT|OPiOS|Opera)/",
    "Samsung Internet": r"\bSamsungBrowser/",
    "Firefox": r"\b(Firefox|FxiOS)/",
    "Chrome": r"\b(Chrome|CriOS)/",
    "Safari": r"\bSafari/",
}

_SYSTEMS = {
    "iOS": r"\b(iPhone|iPad|iPod)\b",
    "Android": r"\bAndroid\b",
    "Windows": r"\bWindows\b",
    "macOS": r"\bMacintosh\b",
    "Linux": r"\bLinux\b",
}


def cookie_name(user_pk: object) -> str:
    """Return the name of the user's cookie: several users may trust one browser."""
    return f"verigator_browser_token_{digest('browser.name', str(user_pk))[:16]}"


def is_enabled() -> bool:
    return bool(conf.current().TRUSTED_BROWSER_DAYS > 0)


def may_be_trusted(challenge: Challenge) -> bool:
    """Whether this login may end with a trusted browser."""
    return is_enabled() and bool(challenge.auth_backend)


def trust(request: HttpRequest, user: AbstractBaseUser, *, trust_version: str, auth_hash: str, ip: str | None) -> str:
    """Trust this browser for the user, and return the value of its cookie (256 random bits).

    Args:
        trust_version, auth_hash: the user's; the trust ends with either.
        ip: the client's IP address.
    """
    token = secrets.token_urlsafe(32)
    row = TrustedBrowser(
        user_id=user.pk,
        digest=digest("browser", token),
        trust_version=trust_version,
        auth_hash=auth_hash,
        label=label_of(request.headers.get("User-Agent", "")),
        expires_at=timezone.now() + timedelta(days=conf.current().TRUSTED_BROWSER_DAYS),
        last_ip=ip,
    )
    retry_on_deadlock(lambda: row.save(force_insert=True))
    return token


def label_of(user_agent: str) -> str:
    """Return a name by which the user recognizes a browser, such as "Firefox on Linux"; else its User-Agent."""
    user_agent = "".join(filter(str.isprintable, user_agent))  # not every database takes every character
    browser, system = _first_match(_BROWSERS, user_agent), _first_match(_SYSTEMS, user_agent)
    if browser and system:
        return gettext("%(browser)s on %(system)s") % {"browser": browser, "system": system}
    return browser or user_agent[:_LABEL_LENGTH]


def _first_match(patterns: dict[str, str], user_agent: str) -> str:
    return next((name for name, pattern in patterns.items() if re.search(pattern, user_agent)), "")


def is_trusted(request: HttpRequest, user: AbstractBaseUser, trust_version: str) -> bool:
    """Whether this browser is trusted for this user, password and trust version; stores the use of it."""
    token = request.COOKIES.get(cookie_name(user.pk), "")
    if not is_enabled() or not token or len(token) > _MAX_TOKEN_LENGTH:
        return False
    now, auth_hash = timezone.now(), auth_hash_of(user)
    found = TrustedBrowser.objects.filter(
        digest=digest("browser", token),
        user_id=user.pk,
        trust_version=trust_version,
        auth_hash=auth_hash,
        expires_at__gt=now,
    )
    return bool(found.update(last_used_at=now, last_ip=client_address(request)))


def trusted_browsers(user: AbstractBaseUser) -> list[TrustedBrowser]:
    """Return the user's trusted browsers, the last used first."""
    return list(TrustedBrowser.objects.filter(user_id=user.pk, expires_at__gt=timezone.now()).order_by("-last_used_at"))


def revoke(user: AbstractBaseUser, pk: str | None = None) -> int:
    """Delete one trusted browser of the user, or all; return how many there were.

    Args:
        pk: primary key, as a form posts it; None for all.
    """
    found = TrustedBrowser.objects.filter(user_id=user.pk)
    if pk is not None:
        found = found.filter(pk=pk) if pk.isdecimal() and pk.isascii() and len(pk) < 19 else found.none()
    return found.delete()[0]


def carry_over(user: AbstractBaseUser, trust_version: str, new_trust_version: str) -> None:
    """Move the user's trusted browsers from one trust version to the next."""
    TrustedBrowser.objects.filter(user_id=user.pk, trust_version=trust_version).update(trust_version=new_trust_version)
