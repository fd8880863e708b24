"""Confirming a phone by the widget: one state for each opening, one proof for each state and for each number."""

from __future__ import annotations

import logging
from datetime import timedelta
from typing import Any

from django.http import HttpRequest
from django.urls import reverse
from django.utils import timezone

from ... import conf, events, rate_limits
from ...client import widget
from ...constants import METHOD_SMS
from ...digests import digest, digests
from ...exceptions import Reason, Refused
from ...flows import completion, login, pending, phone_changes
from ...flows.delivery import Delivery
from ...hidden import HiddenText
from ...models import Challenge, Counter
from ...rate_limits import DAY, RateLimit
from . import options
from .answers import CANCELLED, Answer

METHOD_WIDGET = "widget"
BACKEND = "contrib.widget"
"""In the place of a backend's alias: no backend checks a PIN for such a challenge."""

_NUMBER = "widget/number"
_FOREVER = 3650 * DAY


class NotConfirmed(Exception):  # noqa: N818 - the user may cancel
    """The answer confirms nothing; ``problem`` says why in a word."""

    def __init__(self, problem: str) -> None:
        super().__init__(problem)
        self.problem = problem


def open_widget(request: HttpRequest, challenge: Challenge) -> str:
    """Return the address to send the browser to, for a pending confirmation of a phone.

    It counts as a code that is sent, since Messente sends one.

    Raises:
        Refused: a rate limit or a rule refuses another code, or the login has ended.
    """
    change = phone_changes.pending(challenge)
    if challenge.purpose != Challenge.Purpose.PHONE or change is None:
        raise Refused(Reason.ENDED)
    # Whether the widget has confirmed the number before is asked when it comes back: only its owner may learn that.
    number = HiddenText(change.phone_number)
    account, state = options.current(), pending.new_nonce()
    back = request.build_absolute_uri(reverse("verigator_widget:answer", args=[state]))
    url = widget.request_url(account.username, account.password, back, phone=number, endpoint=account.endpoint)

    def hand_over(delivery: Delivery) -> None:
        now = timezone.now()
        delivery.challenge.record(
            {
                # Whether a code goes out, Messente alone knows. Without a reference no PIN can be tried.
                "outcome": Challenge.Outcome.UNCLEAR,
                "backend": BACKEND,
                "method": METHOD_WIDGET,
                "reference_digest": digest("widget.state", state),
                "sent_at": now,
                "expires_at": now + timedelta(seconds=conf.current().LIMITS.CHALLENGE_SECONDS),
            }
        )

    following = login.send(request, challenge, method=METHOD_SMS, deliver=hand_over)
    events.record("widget_opened", challenge.user, challenge=following)
    return url


def complete(request: HttpRequest, challenge: Challenge, answer: Answer) -> str:
    """Complete the confirmation by an answer; return the URL to go to ("" for the site's default).

    Args:
        challenge: the one in force of this browser's pending login.

    Raises:
        NotConfirmed: the answer is not of this challenge, came before, or confirms nothing.
        Refused: as for a right PIN, see ``completion.confirm``.
    """
    try:
        if not _take_state(challenge, answer.state):
            raise NotConfirmed("state")
        if answer.problem:
            raise NotConfirmed(answer.problem)
        return completion.confirm(request, challenge, answer.state, lambda: _take_number(challenge, answer))
    except NotConfirmed as refusal:
        if refusal.problem == CANCELLED:
            events.record("widget_cancelled", challenge.user, challenge=challenge)
        else:
            details: dict[str, Any] = {"reason": refusal.problem, "challenge": challenge}
            events.record("widget_refused", challenge.user, level=logging.WARNING, **details)
        raise


def _take_state(challenge: Challenge, state: str) -> bool:
    """Use up the state, whatever the answer says; of parallel answers one gets it."""
    waiting = Challenge.objects.open().filter(pk=challenge.pk, expires_at__gt=timezone.now())
    return waiting.filter(reference_digest__in=digests("widget.state", state)).update(reference_digest=None) == 1


def _take_number(challenge: Challenge, answer: Answer) -> None:
    """Use up the widget's answer for the number, or raise NotConfirmed.

    An answer for a number is the same whenever it is given, and whoever once had the number may have kept it. So it
    counts once for each number; later, a PIN of ours confirms it.
    """
    change = phone_changes.pending(challenge)
    expected = digests("phone", change.phone_number) if change else []
    if change is None or answer.number not in expected or challenge.phone_digest not in expected:
        raise NotConfirmed("number")
    once = RateLimit(_NUMBER, change.phone_number, 1, _FOREVER, Reason.REPEATED)
    # Under a key of before a rotation; the reservation, which parallel answers cannot pass, asks for the one in force.
    known = digests(f"counter.{_NUMBER}", change.phone_number)
    if Counter.objects.filter(pk__in=known, expires_at__gt=timezone.now(), count__gt=0).exists():
        raise NotConfirmed("number_again")
    try:
        rate_limits.reserve(lambda: rate_limits.consume([once]))
    except Refused as refused:
        if refused.reason != Reason.REPEATED:
            raise
        raise NotConfirmed("number_again") from None
