"""What a logged-in user sees and changes: phone, recovery codes, trusted browsers."""

from __future__ import annotations

import logging
from datetime import timedelta
from typing import Any

from django.contrib import auth
from django.contrib.auth.base_user import AbstractBaseUser
from django.db.models import Q
from django.http import HttpRequest

from .. import db, events, rate_limits
from ..db import retry_on_deadlock
from ..digests import is_auth_hash_of
from ..exceptions import Reason, Refused
from ..models import Challenge, VerigatorUser, new_trust_version
from ..records import links, site_phones
from . import browsers, enrolment, limits, notices, pending, phone_changes, policy, recovery, sending
from .notices import send_notice
from .session import session_guard

SHOWN_CHALLENGES = 10

PROOF_MAX_AGE = timedelta(minutes=5)
"""How old the last proof may be when something is changed that protects the account."""


def confirm_password(request: HttpRequest, user: Any, password: str) -> bool:
    """Whether this is the user's password; asked once more before a change, so guessing it is bounded too.

    Raises:
        Refused: too many wrong ones within an hour.
    """
    consumed = limits.password_limits(user.pk)
    try:
        rate_limits.reserve(lambda: rate_limits.consume(consumed))
    except Refused as refused:
        events.record("password_refused", user, level=logging.WARNING, scope=refused.scope, until=refused.until)
        raise
    # As at a login: where the site's users are kept elsewhere, an old password may still be stored here.
    found = auth.authenticate(request, username=user.get_username(), password=password)
    if found is None or found.pk != user.pk:
        return False
    user.password = found.password
    rate_limits.refund(consumed)
    if request.user.is_authenticated and not is_auth_hash_of(user, request.session.get(auth.HASH_SESSION_KEY, "")):
        # A password that a newer hasher has just stored anew is not another one: the session goes on.
        auth.update_session_auth_hash(request, user)
    return True


def needs_password(user: AbstractBaseUser) -> bool:
    """Whether the password is asked for before something is changed that protects the account."""
    return enrolment.has_password(user)


def change_phone(request: HttpRequest, user: AbstractBaseUser, phone_number: str, next_url: str) -> None:
    """Send a PIN to a new phone of a user who has proved the old one; the old one is in force until the PIN is back.

    Args:
        phone_number: E.164.

    Raises:
        Refused: with the reason, and when to try again.
    """
    link = links.ensure(user)
    if link is None or not link.has_usable_phone or not session_guard(request).proved_within(user, PROOF_MAX_AGE):
        raise Refused(Reason.ENDED)
    if phone_number == link.phone_number:
        raise Refused(Reason.SAME_PHONE)
    sending.require_allowed_number(user, phone_number)
    try:
        change = phone_changes.start(link, phone_number, limits.phone_change_limits(user.pk))
    except Refused as refused:
        events.record("change_refused", user, level=logging.WARNING, scope=refused.scope, until=refused.until)
        raise
    following = pending.begin(request, user, link, next_url=next_url, purpose=Challenge.Purpose.PHONE)
    enrolment.start_or_forget(request, following, link, change)


def renew_recovery_codes(request: HttpRequest, user: AbstractBaseUser) -> list[str]:
    """Return a new set of recovery codes of a user who has proved the phone; the old set is worth nothing any more.

    Raises:
        Refused: the proof is too old.
    """
    if not session_guard(request).proved_within(user, PROOF_MAX_AGE):
        raise Refused(Reason.ENDED)
    codes = recovery.renew(user)
    events.record("recovery_codes_renewed", user)
    send_notice(user, notices.Notice.RECOVERY_CODES_RENEWED)
    return codes


def proposed_phone(user: AbstractBaseUser) -> str:
    """Return the number (E.164) that the site has by now in place of the one that the user confirmed, or ""."""
    return site_phones.changed_number(user, links.ensure(user))


def keep_phone(user: AbstractBaseUser) -> None:
    """Stop proposing the number that the site has now; the phone in force stays."""
    site_phones.dismiss_change(user)
    events.record("proposal_declined", user)


def overview(user: AbstractBaseUser) -> dict[str, Any]:
    """Return what a user may see of the own second step: phone, codes, browsers, the last sign-ins and failures."""
    link = links.ensure(user)
    # Of the others, a thief of the password could make as many as push what is worth reading off the list.
    telling = Q(sent_at__isnull=False) | Q(outcome=Challenge.Outcome.VERIFIED)
    return {
        "link": link,
        # The two last digits and no more.
        "proposed_ending": site_phones.changed_number(user, link)[-2:],
        "codes_left": recovery.count_unused(user),
        "browsers_on": browsers.is_enabled(),
        "browsers": browsers.trusted_browsers(user),
        "challenges": Challenge.objects.filter(telling, user_id=user.pk).order_by("-created_at")[:SHOWN_CHALLENGES],
    }


def end_browser(request: HttpRequest, user: AbstractBaseUser, pk: str | None) -> None:
    """End the trust in one of the user's browsers, or in all of them, and every session of the user but this one.

    Whoever has such a browser may be in already, in a session that the cookie has opened.
    """

    @db.atomic()
    def end() -> VerigatorUser | None:
        link = VerigatorUser.objects.select_for_update().filter(user_id=user.pk).first()
        if link is None or not browsers.revoke(user, pk):
            return None
        old, link.trust_version = link.trust_version, new_trust_version()
        link.save(update_fields=["trust_version"])
        browsers.carry_over(user, old, link.trust_version)
        return link

    link = retry_on_deadlock(end)
    if link is None:
        return
    session_guard(request).renew_proof(user, link.trust_version)
    policy.evaluate(user, link)
    events.record("browser_ended", user)
