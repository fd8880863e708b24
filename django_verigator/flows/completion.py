"""Completing a pending login: the PIN or recovery code is checked, then the user logged in."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NoReturn

from django.conf import settings as django_settings
from django.contrib import auth
from django.core.exceptions import ImproperlyConfigured
from django.http import HttpRequest

from .. import events, rate_limits, signals
from ..addresses import client_address
from ..digests import is_auth_hash_of
from ..exceptions import Reason, Refused
from ..models import Challenge
from ..records import site_phones
from . import acceptance, browsers, checking, cookies, limits, lockout, pending, policy, recovery
from .session import session_guard


def verify(request: HttpRequest, challenge: Challenge, pin: str, *, trust_browser: bool = False) -> str:
    """Check a PIN and complete the pending login; return the URL to go to ("" for the site's default).

    Args:
        pin: 4 to 16 ASCII digits, as PinForm cleans it.
        trust_browser: the user asks to trust this browser, and gets that where the site allows it.

    Raises:
        Refused: the PIN was not accepted, or the login has ended.
    """
    address = client_address(request)
    require_current(request, challenge)
    consumed = checking.check(challenge, pin, address, form=cookies.form_digest(request))
    user = reload_user_or_end(request, challenge)
    trust_version = acceptance.accept(challenge, pin, consumed)
    if challenge.purpose == Challenge.Purpose.PHONE:
        site_phones.dismiss_change(user)
    _complete(request, user, challenge, trust_version)
    if trust_browser and browsers.may_be_trusted(challenge):
        token = browsers.trust(request, user, trust_version=trust_version, auth_hash=challenge.auth_hash, ip=address)
        session_guard(request).cookies.browser = (browsers.cookie_name(user.pk), token)
    return challenge.next_url


def confirm(request: HttpRequest, challenge: Challenge, token: str, check: Callable[[], None]) -> str:
    """Complete the confirmation of a phone that was proved in another way than by a PIN; return the URL to go to.

    The proof counts as a right PIN does: under lockouts and the rate limits of tries, once, and only while the
    challenge is the newest one and has not expired.

    Args:
        token: what the proof came with; never accepted twice.
        check: raises unless the proof is right, and of this challenge. Called last, since it may use the proof up.

    Raises:
        Refused: the proof was not accepted, or the login has ended.
    """
    if challenge.purpose != Challenge.Purpose.PHONE:
        raise Refused(Reason.ENDED)
    require_current(request, challenge)
    try:
        lockout.require_none(challenge)
        consumed = limits.try_limits(challenge.user_id, client_address(request))
        rate_limits.reserve(lambda: rate_limits.consume(consumed))
    except Refused as refused:
        checking.record_not_tried(challenge, refused)
        raise
    user = reload_user_or_end(request, challenge)
    check()
    trust_version = acceptance.accept(challenge, token, consumed)
    site_phones.dismiss_change(user)
    _complete(request, user, challenge, trust_version)
    return challenge.next_url


def recover(request: HttpRequest, challenge: Challenge, code: str) -> str:
    """Complete the pending login with a recovery code; return the URL to go to ("" for the site's default).

    Args:
        code: as the user typed it.

    Raises:
        Refused: the code was not accepted, or the login has ended.
    """
    # Only a PIN proves that a new number is the user's.
    if challenge.purpose == Challenge.Purpose.PHONE:
        raise Refused(Reason.ENDED)
    user = reload_user_or_end(request, challenge)
    address = client_address(request)
    trust_version = acceptance.recover(challenge, recovery.normalise(code), address, form=cookies.form_digest(request))
    _complete(request, user, challenge, trust_version)
    return challenge.next_url


def reload_user_or_end(request: HttpRequest, challenge: Challenge) -> Any:
    """Return the user, read again through the authentication backend that accepted the password.

    Raises:
        Refused: ENDED; the user is gone or inactive, or has a new password.
    """
    user = _reload_user(request, challenge)
    if (
        user is None
        or not user.is_active
        or user.pk != challenge.user_id
        or not is_auth_hash_of(user, challenge.auth_hash)
    ):
        _cancel_and_refuse(challenge)
    return user


def require_current(request: HttpRequest, challenge: Challenge) -> None:
    """Refuse a pending login of an old password or an inactive user, before it costs a try or a call.

    Raises:
        Refused: ENDED.
    """
    if not (challenge.user.is_active and pending.is_same_login(challenge, challenge.user, challenge.auth_backend)):
        _cancel_and_refuse(challenge)


def _cancel_and_refuse(challenge: Challenge) -> NoReturn:
    challenge.close(Challenge.Outcome.CANCELLED)
    raise Refused(Reason.ENDED)


def _reload_user(request: HttpRequest, challenge: Challenge) -> Any:
    if not challenge.auth_backend:  # a step-up or a new phone: the user is logged in already
        return request.user if request.user.is_authenticated else None
    if challenge.auth_backend not in django_settings.AUTHENTICATION_BACKENDS:
        return None
    try:
        return auth.load_backend(challenge.auth_backend).get_user(challenge.user_id)
    except (ImportError, ImproperlyConfigured):
        return None


def _complete(request: HttpRequest, user: Any, challenge: Challenge, trust_version: str) -> None:
    guard = session_guard(request)
    if challenge.auth_backend:
        auth.login(request, user, backend=challenge.auth_backend)
    else:
        request.session.cycle_key()
    guard.write_proof(user, trust_version, challenge.method)
    guard.cookies.forget_pending(request)
    # Saves the next page a query; a session whose proof does not match makes the guard read the row anyway.
    policy.remember(user, policy.Requirement(is_required=True, trust_version=trust_version, has_phone=True))
    events.record(
        "verified", user, signal=signals.verified, request=request, method=challenge.method, challenge=challenge
    )
