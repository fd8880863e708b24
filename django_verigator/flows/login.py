"""From the right password to a login that waits for its PIN, and every other way in that is intercepted."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from django.contrib import auth
from django.contrib.auth.base_user import AbstractBaseUser
from django.http import HttpRequest
from django.middleware.csrf import rotate_token

from ..addresses import client_address
from ..constants import METHOD_BROWSER, METHOD_SMS, METHOD_TOTP
from ..exceptions import Reason, Refused
from ..models import Challenge, VerigatorUser
from ..records import links, site_phones
from . import browsers, completion, lockout, pending, phone_changes, policy, sending
from .delivery import deliver
from .session import session_guard


def begin(request: HttpRequest, user: Any, auth_backend: str, next_url: str) -> bool:
    """Go on after the right password: log the user in, or make the login wait for its PIN and send that.

    Args:
        auth_backend: dotted path of the authentication backend that took the password.
        next_url: where to go afterwards, already found safe; it is checked again then.

    Returns:
        True if the user is logged in; False if the second step is owed.
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
    _clean_session(request)
    running = pending.current(request)
    if running is not None and pending.is_same_login(running, user, auth_backend) and running.closed_reason() is None:
        # A second right password goes on with the code that is on its way.
        running.record({"next_url": next_url, "password_given": True})
        return False
    _wait(request, user, link, sends=True, auth_backend=auth_backend, next_url=next_url, password_given=True)
    return False


def _wait(
    request: HttpRequest, user: AbstractBaseUser, link: VerigatorUser | None, *, sends: bool, **fields: Any
) -> None:
    """Begin a pending login, and end the one that this browser had."""
    pending.abandon(request)
    challenge = pending.begin(request, user, link, **fields)
    if sends and link is not None and link.has_usable_phone:
        _send_first(request, challenge, link)
    else:
        pending.store(request, challenge)


def intercept(request: HttpRequest, user: Any, auth_backend: str, next_url: str, *, sends: bool) -> bool:
    """Make a login that came another way wait for its PIN.

    Args:
        sends: the login was made in this very request, by a form that was posted; its PIN is sent at once, as after a
            password. Else nothing is sent, and the PIN page has a button for that.

    Returns:
        True if this browser's pending login is of the same user and backend, and goes on.
    """
    running = pending.current(request)
    goes_on = running is not None and pending.is_same_login(running, user, auth_backend)
    if running is not None and goes_on and not (sends and running.closed_reason()):
        return True
    link = links.ensure(user)
    _wait(request, user, link, sends=sends, auth_backend=auth_backend, next_url=next_url)
    return False


def step_up(request: HttpRequest, user: AbstractBaseUser, next_url: str) -> None:
    """Ask a logged-in user for a new proof; completing it logs nobody in."""
    running = pending.current(request)
    if running is not None and pending.is_same_login(running, user, ""):
        return
    link = links.ensure(user)
    pending.store(request, pending.begin(request, user, link, next_url=next_url, purpose=Challenge.Purpose.STEP_UP))


def _clean_session(request: HttpRequest) -> None:
    # Whoever was logged in here is not any more; an anonymous visitor keeps the site's data under a new key.
    if auth.SESSION_KEY in request.session:
        request.session.flush()
    elif request.session.session_key is not None:
        request.session.cycle_key()
    rotate_token(request)


def cancel(request: HttpRequest) -> None:
    """End the pending login; its code is worth nothing any more. Whoever was caught in this request is let go."""
    session_guard(request).intercepted = None
    pending.abandon(request)


def _send_first(request: HttpRequest, challenge: Challenge, link: VerigatorUser, *, again: bool = False) -> None:
    """Start the first code of a login; the login waits in any case, and the PIN page says what happened."""
    try:
        delivery = sending.reserve(challenge, link, sending.default_method())
    except Refused as refused:
        if refused.reason == Reason.PAUSE and not again:  # the same form, posted twice
            if not pending.still_waits(request, challenge):
                _send_first(request, challenge, link, again=True)
            return
        if refused.reason not in (Reason.LOCKED, Reason.STOPPED):  # the page shows a lockout as long as it lasts
            challenge.outcome = Challenge.Outcome.REFUSED
            challenge.refusal = refused.reason.value
            challenge.resend_at = refused.until
        pending.store(request, challenge)
        return
    with suppress(Refused):  # the stored challenge says why
        deliver(delivery)


def send(
    request: HttpRequest, challenge: Challenge, *, method: str | None = None, another_way: bool = False
) -> Challenge:
    """Send another code for a pending login (or the first one of a login that was caught).

    Args:
        method: "sms" to leave the app for a text message, which needs no pause; None for the site's method.
        another_way: begin with the provider behind the one that has sent last.

    Raises:
        Refused: with the reason, and when to try again.
    """
    completion.require_current(request, challenge)
    switch = method == METHOD_SMS and challenge.method == METHOD_TOTP
    # What a limit has refused is asked of the limits again.
    refused = challenge.outcome == Challenge.Outcome.REFUSED
    if not switch and not refused and challenge.superseded_at is None:
        sending.respect_pause(challenge)
    link = links.find(challenge.user)
    change = phone_changes.pending(challenge)
    if link is None or not (change if challenge.purpose == Challenge.Purpose.PHONE else link.has_usable_phone):
        raise Refused(Reason.NO_PHONE)
    if change is not None and change.replaces != link.phone_in_force:
        raise Refused(Reason.ENDED)
    following = pending.following(challenge, ip=client_address(request))
    sending.send(
        following,
        link,
        method or challenge.requested_method or sending.default_method(),
        change=change,
        previous=challenge,
        after=challenge.backend if another_way else "",
    )
    return following


def has_changed_number(challenge: Challenge) -> bool:
    """Whether the site has replaced the number to which this user's PIN goes."""
    if challenge.purpose == Challenge.Purpose.PHONE:
        return False
    return bool(site_phones.changed_number(challenge.user, lockout.link_of(challenge)))


def active_lockout(challenge: Challenge) -> Refused | None:
    """Return the lockout of the user to whom a PIN page is shown; None if there is none."""
    return lockout.active(lockout.link_of(challenge))
