"""The pending login: a nonce in a signed cookie, everything else in Challenge rows, which are single-use.

Not in the session: that stays untouched until the PIN is right, with an anonymous visitor's cart, and a session that is
copied or rolled back with its cookie restores neither tries nor pending logins.
"""

from __future__ import annotations

import secrets
from datetime import timedelta
from typing import Any

from django.contrib.auth.base_user import AbstractBaseUser
from django.db import IntegrityError
from django.http import HttpRequest
from django.utils import timezone

from .. import conf, db
from ..addresses import client_address
from ..compiled import numbered
from ..db import retry_on_deadlock
from ..digests import auth_hash_of, digest, digests, is_auth_hash_of
from ..models import Challenge, VerigatorUser, statements
from . import cookies, lockout
from .session import session_guard


def find(nonce: str) -> Challenge | None:
    """Return the challenge in force for a pending login, with its user and link; None if the login has ended."""
    challenge = _last_challenge(nonce)
    return None if challenge is None or _has_ended(challenge) else challenge


def find_ended(nonce: str) -> Challenge | None:
    """Return the last challenge of a pending login unless that has ended with a proof; None for an unknown nonce."""
    challenge = _last_challenge(nonce)
    return None if challenge is None or challenge.outcome == Challenge.Outcome.VERIFIED else challenge


def _last_challenge(nonce: str) -> Challenge | None:
    return statements.last_challenge.first(**numbered("digest", digests("nonce", nonce)))


def _has_ended(challenge: Challenge) -> bool:
    age = timezone.now() - challenge.started_at
    if age > timedelta(seconds=conf.current().LIMITS.PENDING_SECONDS):
        return True
    return challenge.consumed_at is not None and challenge.outcome not in Challenge.CODE_ENDED


def new_nonce() -> str:
    """Return 128 random bits."""
    return secrets.token_urlsafe(16)


def new(user: Any, *, ip: str | None, form: str = "", **fields: Any) -> tuple[Challenge, str]:
    """Return the unsaved first challenge of a new pending login, and the nonce for the browser.

    Args:
        ip: the client's IP address.
        form: as ``cookies.form_digest`` returns it; the nonce is derived from it, so that the same form posted twice
            begins one login.
    """
    nonce = digest("nonce.form", f"{user.pk}.{form}")[:32] if form else new_nonce()
    challenge = Challenge(user=user, nonce_digest=digest("nonce", nonce), ip=ip, created_at=timezone.now(), **fields)
    challenge.started_at = challenge.created_at
    return challenge, nonce


_CARRIED_FIELDS = (
    "nonce_digest",
    "auth_backend",
    "auth_hash",
    "trust_version",
    "next_url",
    "password_given",
    "started_at",
    "purpose",
)


def following(challenge: Challenge, *, ip: str | None) -> Challenge:
    """Return the unsaved next challenge of the same pending login.

    Args:
        ip: the client's IP address.
    """
    carried = {name: getattr(challenge, name) for name in _CARRIED_FIELDS}
    sends = challenge.sends + (challenge.sent_at is not None)
    return Challenge(
        user=challenge.user, step=challenge.step + 1, sends=sends, ip=ip, created_at=timezone.now(), **carried
    )


def current(request: HttpRequest) -> Challenge | None:
    """Return the challenge in force of this browser's pending login, or None if there is no pending login."""
    nonce = cookies.read_nonce(request)
    return find(nonce) if nonce else None


def take_ended(request: HttpRequest) -> Challenge | None:
    """Return the last challenge of a pending login that has ended, else None, and make the browser forget it."""
    nonce = cookies.read_nonce(request)
    if nonce is None or find(nonce) is not None:
        return None
    drop(request)
    return find_ended(nonce)


def begin(request: HttpRequest, user: AbstractBaseUser, link: VerigatorUser | None, **fields: Any) -> Challenge:
    """Return the unsaved first challenge of a new pending login, and give the browser its nonce.

    Args:
        fields: further fields of the challenge.
    """
    lockout.end_after_new_password(user, link)
    challenge, nonce = new(
        user,
        ip=client_address(request),
        form=cookies.form_digest(request),
        auth_hash=auth_hash_of(user),
        trust_version=link.trust_version if link else "",
        **fields,
    )
    session_guard(request).cookies.nonce = nonce
    return challenge


def store(request: HttpRequest, challenge: Challenge) -> None:
    """Save the first challenge of a pending login without a code; the same form posted twice saves one."""

    def insert() -> None:
        with db.atomic():
            challenge.save(force_insert=True)

    try:
        retry_on_deadlock(insert)
    except IntegrityError:
        if not still_waits(request, challenge):
            retry_on_deadlock(insert)


def still_waits(request: HttpRequest, challenge: Challenge) -> bool:
    """Whether the login that the same form began still waits; if it has ended, renew the nonce of ``challenge``."""
    jar = session_guard(request).cookies
    if find(jar.nonce or "") is not None:
        return True
    jar.nonce = new_nonce()
    challenge.nonce_digest = digest("nonce", jar.nonce)
    return False


def is_same_login(challenge: Challenge, user: AbstractBaseUser, auth_backend: str) -> bool:
    """Whether a pending login has this user, password and authentication backend."""
    return (
        challenge.user_id == user.pk
        and challenge.auth_backend == auth_backend
        and is_auth_hash_of(user, challenge.auth_hash)
    )


def abandon(request: HttpRequest) -> None:
    """Cancel this browser's pending login, if it has one."""
    drop(request)
    running = current(request)
    if running is not None:
        running.close(Challenge.Outcome.CANCELLED)


def drop(request: HttpRequest) -> None:
    """Delete the cookie of a pending login that has ended."""
    session_guard(request).cookies.forget_pending(request)
