"""The end of a pending login: a PIN or a recovery code is checked, and the session completed."""

from __future__ import annotations

from typing import Any, NoReturn

from django.conf import settings as django_settings
from django.contrib import auth
from django.core.exceptions import ImproperlyConfigured
from django.http import HttpRequest

from .. import events, signals
from ..addresses import client_address
from ..digests import is_auth_hash_of
from ..exceptions import Reason, Refused
from ..models import Challenge
from ..records import site_phones
from . import acceptance, browsers, checking, cookies, pending, policy, recovery
from .session import session_guard


def verify(request: HttpRequest, challenge: Challenge, pin: str, *, trust_browser: bool = False) -> str:
    """Check a PIN and complete what waits for it; return the URL to go to ("" for the site's default).

    Args:
        pin: 4 to 16 ASCII digits, as PinForm has cleaned it.
        trust_browser: the user wishes not to be asked again in this browser; heeded where the site allows it.

    Raises:
        Refused: the PIN was not accepted, or the login has ended.
    """
    address = client_address(request)
    require_current(request, challenge)  # before it costs a try and a call
    checking.check(challenge, pin, address, form=cookies.form_digest(request))
    user = reload_user_or_end(request, challenge)
    trust_version = acceptance.accept(challenge, pin, address)
    if challenge.purpose == Challenge.Purpose.PHONE:
        site_phones.dismiss_change(user)
    _complete(request, user, challenge, trust_version)
    if trust_browser and may_trust_browser(challenge):
        token = browsers.trust(request, user, trust_version=trust_version, auth_hash=challenge.auth_hash, ip=address)
        session_guard(request).cookies.browser = (browsers.cookie_name(user.pk), token)
    return challenge.next_url


def recover(request: HttpRequest, challenge: Challenge, code: str) -> str:
    """Complete what waits for a PIN with a recovery code instead; return the URL to go to.

    Args:
        code: as the user typed it.

    Raises:
        Refused: the code was not accepted, or the login has ended.
    """
    # Only a PIN sent to a new number proves that it is the user's.
    if challenge.purpose == Challenge.Purpose.PHONE:
        raise Refused(Reason.ENDED)
    user = reload_user_or_end(request, challenge)
    address = client_address(request)
    trust_version = acceptance.recover(challenge, recovery.normalise(code), address, form=cookies.form_digest(request))
    _complete(request, user, challenge, trust_version)
    return challenge.next_url


def may_trust_browser(challenge: Challenge) -> bool:
    """Whether this login may end with a trusted browser."""
    return browsers.is_enabled() and bool(challenge.auth_backend)


def reload_user_or_end(request: HttpRequest, challenge: Challenge) -> Any:
    """Read the user again, as the authentication backend that took the password sees it now."""
    user = _reload(request, challenge)
    if (
        user is None
        or not user.is_active
        or user.pk != challenge.user_id
        or not is_auth_hash_of(user, challenge.auth_hash)
    ):
        _end(challenge)
    return user


def require_current(request: HttpRequest, challenge: Challenge) -> None:
    # Whoever has the pending login of an old password, or of a user who was deactivated, is to send and try nothing.
    if not (challenge.user.is_active and pending.is_same_login(challenge, challenge.user, challenge.auth_backend)):
        _end(challenge)


def _end(challenge: Challenge) -> NoReturn:
    challenge.close(Challenge.Outcome.CANCELLED)
    raise Refused(Reason.ENDED)


def _reload(request: HttpRequest, challenge: Challenge) -> Any:
    if not challenge.auth_backend:  # a step-up: only for the session that asked for it
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
    pending.drop(request)
    # Just written, so the next page need not read it; another session without proof is looked up all the same.
    policy.remember(user, policy.Requirement(is_required=True, trust_version=trust_version, has_phone=True))
    events.record(
        "verified", user, signal=signals.verified, request=request, method=challenge.method, challenge=challenge
    )
