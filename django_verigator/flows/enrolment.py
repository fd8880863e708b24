"""Enrolment: a user's first phone."""

from __future__ import annotations

from django.contrib.auth.base_user import AbstractBaseUser
from django.http import HttpRequest

from .. import conf
from ..addresses import client_address
from ..constants import METHOD_SMS, METHOD_TOTP
from ..exceptions import Reason, Refused
from ..models import Challenge, PhoneChange, VerigatorUser
from ..records import links
from . import completion, pending, phone_changes, sending
from .delivery import deliver
from .session import session_guard


def has_password(user: AbstractBaseUser) -> bool:
    """Whether the user can log in by a password; Django takes an empty one, of a social login, for usable."""
    return bool(user.password) and bool(user.has_usable_password())


def start_or_forget(request: HttpRequest, challenge: Challenge, link: VerigatorUser, change: PhoneChange) -> None:
    """Send a PIN to a new phone; if the first one of a pending login is refused, drop its cookie.

    Raises:
        Refused: nothing was sent.
    """
    method = sending.default_method()
    if method == METHOD_TOTP and METHOD_SMS in conf.current().WAYS:  # The app cannot be linked to a new number yet.
        method = METHOD_SMS
    try:
        delivery = sending.reserve(challenge, link, method, change=change)
    except Refused as refused:
        jar = session_guard(request).cookies
        if refused.reason == Reason.PAUSE and (challenge.step > 1 or pending.find(jar.nonce or "")):
            return  # the same form, posted twice: its code is on its way
        if challenge.step == 1:  # no row was stored for the cookie
            jar.nonce = None
        raise
    deliver(delivery)


def has_phone(user: AbstractBaseUser) -> bool:
    """Whether there is a number to send a code to."""
    link = links.ensure(user)
    return link is not None and link.has_usable_phone


def has_unusable_number(user: AbstractBaseUser) -> bool:
    """Whether the site has a number for this user to which no code can be sent."""
    link = links.find(user)
    return link is not None and link.state == VerigatorUser.State.FAILED and not link.has_usable_phone


def needs_phone(challenge: Challenge) -> bool:
    """Whether a pending login waits until its user enrols a phone."""
    return challenge.sent_at is None and challenge.phone_change_id is None and not has_phone(challenge.user)


def needs_password(user: AbstractBaseUser, challenge: Challenge | None) -> bool:
    """Whether enrolment asks for the password: if the user has one, and did not give it in this login."""
    return has_password(user) and not (challenge is not None and challenge.password_given)


def must_sign_in_anew(request: HttpRequest, user: AbstractBaseUser, challenge: Challenge | None) -> bool:
    """Whether a user without a password signed in longer ago than ENROL_SECONDS allows for enrolment."""
    seconds = conf.current().ENROL_SECONDS
    if not seconds or has_password(user) or (challenge is not None and challenge.password_given):
        return False
    return not session_guard(request).signed_in_within(user, seconds)


def enrol(
    request: HttpRequest, user: AbstractBaseUser, challenge: Challenge | None, phone_number: str, next_url: str = ""
) -> None:
    """Send a PIN to a user's first phone; the phone is enrolled once the PIN is confirmed.

    Args:
        challenge: the pending login; None for a user who is logged in.
        phone_number: E.164.
        next_url: where a logged-in user goes after the PIN, already checked to be safe.

    Raises:
        Refused: nothing was sent; with the reason, and when to try again.
    """
    if challenge is not None:
        completion.require_current(request, challenge)
    link = links.ensure(user)
    if link is None or link.has_usable_phone:
        raise Refused(Reason.ENDED)
    sending.require_allowed_number(user, phone_number)
    change = phone_changes.start(link, phone_number)
    if challenge is None:
        following = pending.begin(request, user, link, next_url=next_url)
    else:
        if challenge.phone_change_id == change.pk:
            try:
                sending.respect_pause(challenge)
            except Refused as refused:
                if refused.reason == Reason.PAUSE:  # the same number again: its code is on its way
                    return
                raise
        following = pending.following(challenge, ip=client_address(request))
    following.purpose = Challenge.Purpose.PHONE
    following.password_given = True
    start_or_forget(request, following, link, change)
