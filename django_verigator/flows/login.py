"""Beginning a pending login: after the right password, by intercepting any other login, or for a step-up."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any

from django.contrib import auth
from django.contrib.auth.base_user import AbstractBaseUser
from django.http import HttpRequest
from django.middleware.csrf import rotate_token

from ..addresses import client_address
from ..constants import METHOD_BROWSER, METHOD_TOTP
from ..exceptions import Reason, Refused
from ..models import Challenge, VerigatorUser
from ..records import links, site_phones
from . import browsers, completion, lockout, pending, phone_changes, policy, sending
from .delivery import Delivery, deliver
from .session import session_guard


def begin(request: HttpRequest, user: Any, auth_backend: str, next_url: str) -> bool:
    """Log the user in after the right password, or begin a pending login and send its PIN.

    Args:
        auth_backend: dotted path of the authentication backend that accepted the password.
        next_url: where to go after the login, already checked to be safe; it is checked again then.

    Returns:
        True if the user is logged in; False if the login waits for the second factor.

    Raises:
        Refused: UNAVAILABLE; the database failed.
    """
    guard = session_guard(request)
    link = links.ensure(user)
    requirement = policy.evaluate(user, link)
    if not requirement.is_required:
        auth.login(request, user, backend=auth_backend)
        guard.resolve_user(user)
        pending.abandon(request)
        return True
    if link is not None and browsers.is_trusted(request, user, link.trust_version):
        auth.login(request, user, backend=auth_backend)
        guard.write_proof(user, link.trust_version, METHOD_BROWSER)
        pending.abandon(request)
        return True
    _renew_session(request)
    running = pending.current(request)
    if running is not None and pending.is_same_login(running, user, auth_backend) and running.closed_reason() is None:
        # The password was given a second time: the code is on its way.
        running.record({"next_url": next_url, "password_given": True})
        return False
    _replace_pending(request, user, link, sends=True, auth_backend=auth_backend, next_url=next_url, password_given=True)
    return False


def _replace_pending(
    request: HttpRequest, user: AbstractBaseUser, link: VerigatorUser | None, *, sends: bool, **fields: Any
) -> None:
    """Replace this browser's pending login by a new one.

    Args:
        sends: send the first code at once, if the user has a phone.
    """
    pending.abandon(request)
    challenge = pending.begin(request, user, link, **fields)
    if sends and link is not None and link.has_usable_phone:
        _send_first(request, challenge, link)
    else:
        pending.store(request, challenge)


def intercept(request: HttpRequest, user: Any, auth_backend: str, next_url: str, *, sends: bool) -> bool:
    """Begin a pending login in place of a login that was made without the second factor.

    Args:
        auth_backend: dotted path of the authentication backend that accepted the user.
        next_url: where to go after the login, already checked to be safe.
        sends: send the PIN at once, since a form posted in this request has logged the user in; else the PIN page has a
            button for that.

    Returns:
        True if this browser's pending login has the same user and backend, and is kept.
    """
    running = pending.current(request)
    is_same = running is not None and pending.is_same_login(running, user, auth_backend)
    if running is not None and is_same and not (sends and running.closed_reason()):
        return True
    link = links.ensure(user)
    _replace_pending(request, user, link, sends=sends, auth_backend=auth_backend, next_url=next_url)
    return False


def step_up(request: HttpRequest, user: AbstractBaseUser, next_url: str) -> None:
    """Begin a pending login for a new proof of a logged-in user; its completion only renews the proof.

    Args:
        next_url: where to go after the PIN, already checked to be safe.
    """
    running = pending.current(request)
    if running is not None and pending.is_same_login(running, user, ""):
        return
    link = links.ensure(user)
    pending.store(request, pending.begin(request, user, link, next_url=next_url, purpose=Challenge.Purpose.STEP_UP))


def _renew_session(request: HttpRequest) -> None:
    # A logged-in user is logged out; an anonymous visitor keeps the session's data, under a new key.
    if auth.SESSION_KEY in request.session:
        request.session.flush()
    elif request.session.session_key is not None:
        request.session.cycle_key()
    rotate_token(request)


def cancel(request: HttpRequest) -> None:
    """End this browser's pending login with its code, and drop an interception made in this request."""
    session_guard(request).intercepted = None
    pending.abandon(request)


def _send_first(request: HttpRequest, challenge: Challenge, link: VerigatorUser, *, again: bool = False) -> None:
    """Send the first code of a login; if that is refused, the login waits, and the PIN page shows why."""
    try:
        delivery = sending.reserve(challenge, link, sending.default_method())
    except Refused as refused:
        if refused.reason == Reason.PAUSE and not again:  # the same form, posted twice
            if not pending.still_waits(request, challenge):
                _send_first(request, challenge, link, again=True)
            return
        if refused.reason not in (Reason.LOCKED, Reason.STOPPED):  # the page reads a lockout by itself
            challenge.outcome = Challenge.Outcome.REFUSED
            challenge.refusal = refused.reason.value
            challenge.resend_at = refused.until
        pending.store(request, challenge)
        return
    with suppress(Refused):  # stored with the challenge
        deliver(delivery)


def send(
    request: HttpRequest,
    challenge: Challenge,
    *,
    method: str | None = None,
    another_way: bool = False,
    deliver: Callable[[Delivery], None] = deliver,
) -> Challenge:
    """Send another code for a pending login, or the first one of an intercepted login.

    Args:
        method: how to send it; in the place of the app's code at once. None for the same method again.
        another_way: begin with the provider after the one that sent the last code.
        deliver: what becomes of the reserved code, where no backend is to send it.

    Returns:
        The challenge of the new code.

    Raises:
        Refused: nothing was sent; with the reason, and when to try again.
    """
    completion.require_current(request, challenge)
    leaves_app = method not in (None, METHOD_TOTP) and challenge.method == METHOD_TOTP
    # After a refusal by a rate limit, the rate limit decides again.
    was_refused = challenge.outcome == Challenge.Outcome.REFUSED
    if not leaves_app and not was_refused and challenge.superseded_at is None:
        sending.respect_pause(challenge)
    link = links.find(challenge.user)
    change = phone_changes.pending(challenge)
    if link is None or not (change if challenge.purpose == Challenge.Purpose.PHONE else link.has_usable_phone):
        raise Refused(Reason.NO_PHONE)
    if change is not None and change.replaces != link.phone_in_force:
        raise Refused(Reason.ENDED)
    following = pending.following(challenge, ip=client_address(request))
    # A provider that fails slowly may have left no time to ask those behind it.
    has_failed = challenge.outcome in (Challenge.Outcome.UNAVAILABLE, Challenge.Outcome.UNCLEAR)
    delivery = sending.reserve(
        following,
        link,
        method or challenge.requested_method or sending.default_method(),
        change=change,
        previous=challenge,
        after=challenge.backend if another_way or has_failed else "",
    )
    deliver(delivery)
    return following


def has_changed_number(challenge: Challenge) -> bool:
    """Whether the site has a changed number for this user, while PINs go to the confirmed one."""
    if challenge.purpose == Challenge.Purpose.PHONE:
        return False
    return bool(site_phones.changed_number(challenge.user, lockout.link_of(challenge)))
