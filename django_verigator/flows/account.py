"""The second factor of a logged-in user: phone, recovery codes, trusted browsers."""

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
"""How old the last proof may be when the second factor is changed."""


def confirm_password(request: HttpRequest, user: Any, password: str) -> bool:
    """Whether this is the user's password, which a change of the second factor asks for again.

    Raises:
        Refused: too many wrong passwords within an hour.
    """
    consumed = limits.password_limits(user.pk)
    try:
        rate_limits.reserve(lambda: rate_limits.consume(consumed))
    except Refused as refused:
        events.record("password_refused", user, level=logging.WARNING, scope=refused.scope, until=refused.until)
        raise
    # Through the authentication backends: where users live in a directory, the stored password may be an old one.
    found = auth.authenticate(request, username=user.get_username(), password=password)
    if found is None or found.pk != user.pk:
        return False
    user.password = found.password
    rate_limits.refund(consumed)
    if request.user.is_authenticated and not is_auth_hash_of(user, request.session.get(auth.HASH_SESSION_KEY, "")):
        # A newer hasher has just rehashed the same password: the session stays valid.
        auth.update_session_auth_hash(request, user)
    return True


def change_phone(request: HttpRequest, user: AbstractBaseUser, phone_number: str, next_url: str) -> None:
    """Send a PIN to a user's new phone; the old one stays in force until that PIN is confirmed.

    Args:
        phone_number: E.164.
        next_url: where to go after the PIN, already checked to be safe.

    Raises:
        Refused: the last proof is too old, or nothing was sent; with the reason, and when to try again.
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
    """Replace the user's recovery codes, and return the new ones.

    Raises:
        Refused: the last proof is too old.
    """
    if not session_guard(request).proved_within(user, PROOF_MAX_AGE):
        raise Refused(Reason.ENDED)
    codes = recovery.renew(user)
    events.record("recovery_codes_renewed", user)
    send_notice(user, notices.Notice.RECOVERY_CODES_RENEWED)
    return codes


def proposed_phone(user: AbstractBaseUser) -> str:
    """Return the changed number (E.164): the site's, where the user confirmed another one; else ""."""
    return site_phones.changed_number(user, links.ensure(user))


def keep_phone(user: AbstractBaseUser) -> None:
    """Decline the changed number; the phone in force stays."""
    site_phones.dismiss_change(user)
    events.record("proposal_declined", user)


def overview(user: AbstractBaseUser) -> dict[str, Any]:
    """Return what the security page shows a user: phone, recovery codes, trusted browsers, the last challenges."""
    link = links.ensure(user)
    # Without the rest, so that an attacker who knows the password cannot flood the list.
    relevant = Q(sent_at__isnull=False) | Q(outcome=Challenge.Outcome.VERIFIED)
    return {
        "link": link,
        "proposed_ending": site_phones.changed_number(user, link)[-2:],
        "codes_left": recovery.count_unused(user),
        "browsers_on": browsers.is_enabled(),
        "browsers": browsers.trusted_browsers(user),
        "challenges": Challenge.objects.filter(relevant, user_id=user.pk).order_by("-created_at")[:SHOWN_CHALLENGES],
    }


def end_browser(request: HttpRequest, user: AbstractBaseUser, pk: str | None) -> None:
    """Revoke trusted browsers of the user, and every other session, since the browser may have opened one.

    Args:
        pk: primary key of the TrustedBrowser, as the form posts it; None for all of the user's.
    """

    @db.atomic()
    def revoke_with_sessions() -> VerigatorUser | None:
        link = VerigatorUser.objects.select_for_update().filter(user_id=user.pk).first()
        if link is None or not browsers.revoke(user, pk):
            return None
        old, link.trust_version = link.trust_version, new_trust_version()
        link.save(update_fields=["trust_version"])
        browsers.carry_over(user, old, link.trust_version)
        return link

    link = retry_on_deadlock(revoke_with_sessions)
    if link is None:
        return
    session_guard(request).renew_proof(user, link.trust_version)
    policy.evaluate(user, link)
    events.record("browser_ended", user)
