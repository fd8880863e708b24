"""The messages for users, in their language."""

from __future__ import annotations

import math
from datetime import datetime
from typing import Any

from django.utils import timezone
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext

from .exceptions import Reason, Refused
from .models import Challenge

_TEXTS: dict[Reason, str | Promise] = {
    Reason.WRONG: _("The PIN is not right."),
    Reason.UNCLEAR: _("The PIN could not be checked just now. Try it again, or ask for a new one."),
    Reason.UNAVAILABLE: _("We cannot send or check PINs at the moment. Try again in a little while."),
    Reason.EXPIRED: _("This PIN is too old. Ask for a new one."),
    Reason.USED: _("This PIN has been used already. Ask for a new one."),
    Reason.SUPERSEDED: _("A newer PIN was sent. Use that one where you asked for it, or ask for a new one here."),
    Reason.TOO_MANY_TRIES: _("Too many tries with this PIN. Ask for a new one."),
    Reason.LOCKED: _("Too many wrong PINs. Signing in is locked for a while."),
    Reason.NOTHING_SENT: _("No PIN was sent yet. Ask for one first."),
    Reason.LOST: _("We could not find out whether a PIN was sent. Ask for a new one."),
    Reason.PAUSE: _("A PIN was sent a moment ago. Wait a little before you ask for another one."),
    Reason.SEND_LIMIT: _("Too many PINs were asked for. Wait before you ask for another one."),
    Reason.SITE_BUDGET: _("We cannot send PINs at the moment. If you have a recovery code, use that."),
    Reason.WRONG_PASSWORDS: _("Too many wrong passwords."),
    Reason.SAME_PHONE: _("This is your number already."),
    Reason.CHANGE_LIMIT: _("Too many new numbers were tried. Wait before you try another one."),
    Reason.STOPPED: _("Too many wrong PINs. Set a new password, or ask our support to unlock your account."),
    Reason.NUMBER_REFUSED: _("No PIN can be sent to this kind of number, or to this country."),
    Reason.WRONG_CODE: _("This is not one of your unused recovery codes."),
    Reason.SMS_FORBIDDEN: _("Signing in needs the Verigator app, and it is not linked to your number."),
    Reason.WAY_FORBIDDEN: _("PINs are not sent this way here. Choose another one."),
    Reason.NO_PHONE: _("No PIN can be sent to this number."),
    Reason.BUSY: _("Your phone is just being registered. Try again in a moment."),
    Reason.REPEATED: _("You have sent this form already."),
    Reason.ENDED: _("This sign-in has ended. Start again with your password."),
}

# For a pause whose end is known, and follows.
_UNAVAILABLE = _("We cannot send or check PINs at the moment.")


def explain(refused: Refused) -> str:
    """Return why a flow refused, and when to try again; the same text for a right PIN and a wrong one."""
    waits = refused.until is not None and refused.until > timezone.now() and refused.reason != Reason.REPEATED
    parts = [str(_UNAVAILABLE if waits and refused.reason == Reason.UNAVAILABLE else _TEXTS[refused.reason])]
    if refused.reason in (Reason.WRONG, Reason.REPEATED) and refused.tries_left:
        parts.append(
            ngettext("You can try once more.", "You can try %(count)d more times.", refused.tries_left)
            % {"count": refused.tries_left}
        )
    if refused.until is not None and waits:
        parts.append(_in_words(refused.until))
    return " ".join(parts)


def _in_words(until: datetime) -> str:
    # A duration, not a time: the user's time zone may be another one than the server's.
    seconds = math.ceil((until - timezone.now()).total_seconds())
    if seconds < 2 * 60:
        return ngettext("Try again in %(count)d second.", "Try again in %(count)d seconds.", seconds) % {
            "count": seconds
        }
    minutes = math.ceil(seconds / 60)
    if minutes < 2 * 60:
        return ngettext("Try again in %(count)d minute.", "Try again in %(count)d minutes.", minutes) % {
            "count": minutes
        }
    hours = math.ceil(minutes / 60)
    return ngettext("Try again in %(count)d hour.", "Try again in %(count)d hours.", hours) % {"count": hours}


def mask_name(username: Any) -> str:
    """Return a username that its owner recognises and nobody else learns."""
    name = str(username or "")
    return f"{name[:1]}•••{name[-1:]}" if len(name) > 2 else "•••"


def explain_closed(reason: Reason | None, challenge: Challenge) -> str:
    """Return why a challenge takes no PIN; "" if it does, or if the page itself says why.

    Args:
        reason: what ``challenge.closed_reason()`` returned.
    """
    if reason is None:
        return ""
    if reason == Reason.NOTHING_SENT:
        if challenge.outcome == Challenge.Outcome.UNAVAILABLE:
            reason = Reason.UNAVAILABLE
        elif challenge.outcome == Challenge.Outcome.REFUSED:
            reason = Reason(challenge.refusal or "send_limit")
        else:
            return ""
    limited = reason in (Reason.SEND_LIMIT, Reason.SITE_BUDGET)
    return explain(Refused(reason, until=challenge.resend_at if limited else None))
