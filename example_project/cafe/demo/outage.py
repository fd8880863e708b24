"""Two providers that fail one after the other, and what a user sees of it; told step by step as ``walk`` does."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

from django.conf import settings

from django_verigator.flows import support
from django_verigator.models import Challenge
from django_verigator.sandbox import Sandbox

from ..models import User
from .people import PASSWORD
from .provider import KINDS
from .walk import PROTECTED, Visitor

VERIFY, RESEND = "/accounts/verify/", "/accounts/verify/resend/"
RECOVERY = "/accounts/verify/recovery/"
NAMES = {"default": "Verigator", "reserve": "Number Verification"}
PAUSE = 1
"""Seconds between two PINs; the site's own pause would be a long one for a demo."""


def open_reserve() -> Sandbox:
    """Return the sandbox that plays Number Verification, not started yet; in memory, on any free port."""
    options = settings.SANDBOX_OPTIONS
    return Sandbox(username=options["username"], password=options["password"], port=0)


def two_providers(sandbox: Sandbox, reserve: Sandbox, site: str) -> dict[str, Any]:
    """Return the setting VERIGATOR with Verigator first and Number Verification behind it."""
    setting = KINDS["verigator"].setting(sandbox, site)
    behind = KINDS["number-verification"].setting(reserve, site)
    setting["BACKENDS"]["reserve"] = behind["BACKENDS"]["default"]
    setting["LIMITS"]["RESEND_PAUSE"] = PAUSE
    return setting


def steps(site: str, verigator: Sandbox, reserve: Sandbox, restart: Callable[[], Sandbox], user: User) -> Iterator[str]:
    """Yield a sentence for each step that went as it should (StepFailedError: at the first one that did not).

    Args:
        verigator, reserve: the two providers; both are stopped on the way.
        restart: starts the first one again, at its address.
    """
    phone = user.phone_number
    visitor = Visitor(site)
    give_password(visitor, user)
    visitor.expect(sent_by(user) == "Verigator", "Verigator sends")
    yield f"password accepted, and Verigator has sent a PIN to {phone}"

    old_pin = verigator.last_pin(phone)
    verigator.stop()
    visitor.open(VERIFY)
    visitor.send(VERIFY, pin=old_pin)
    visitor.expect(visitor.sees(VERIFY) and bool(visitor.alert), "the PIN cannot be checked")
    yield f'Verigator goes down before the PIN {old_pin} is typed: "{visitor.alert}"'

    time.sleep(PAUSE)
    visitor.send(RESEND, way="other")
    visitor.expect(visitor.sees(VERIFY, f"<b>{phone[-2:]}</b>"), "another way")
    visitor.expect(sent_by(user) == "Number Verification", "Number Verification sends")
    visitor.send(VERIFY, pin=reserve.last_pin(phone))
    visitor.expect(visitor.sees(PROTECTED), "the PIN of Number Verification is accepted")
    yield f'"Send it another way": Number Verification sends, and its PIN {reserve.last_pin(phone)} is accepted'

    visitor = Visitor(site)
    give_password(visitor, user)
    visitor.expect(sent_by(user) == "Number Verification", "Number Verification takes over")
    visitor.send(VERIFY, pin=reserve.last_pin(phone))
    visitor.expect(visitor.sees(PROTECTED), "the PIN of Number Verification is accepted")
    yield "the next login: Number Verification has taken over by itself, and its PIN is accepted"

    reserve.stop()
    visitor = Visitor(site)
    give_password(visitor, user)
    refusal = visitor.alert
    visitor.expect(bool(refusal), "nothing can send")
    visitor.expect(visitor.is_kept_out(), "the password alone opens nothing")
    yield f'both are down: "{refusal}" The protected page stays closed'

    code = support.issue_code(user, by="demo")
    visitor.open(RECOVERY)
    visitor.send(RECOVERY, code=code)
    visitor.expect(visitor.sees(PROTECTED), f"recovery code {code} accepted")
    yield f"a recovery code from support, {code}, opens it"

    with restart() as back:
        visitor = Visitor(site)
        give_password(visitor, user)
        visitor.expect(sent_by(user) == "Verigator", "Verigator sends again")
        visitor.send(VERIFY, pin=back.last_pin(phone))
        visitor.expect(visitor.sees(PROTECTED), "the PIN of Verigator is accepted")
        yield "Verigator is back: it sends the next PIN, without a restart of the site"


def give_password(visitor: Visitor, user: User) -> None:
    visitor.open(PROTECTED)
    visitor.send(f"/accounts/login/?next={PROTECTED}", username=user.username, password=PASSWORD, next=PROTECTED)
    visitor.expect(visitor.sees(VERIFY), "password accepted")


def sent_by(user: User) -> str:
    challenge = Challenge.objects.filter(user_id=user.pk).latest("created_at")
    return NAMES[challenge.backend] if challenge.sent_at else "nobody"
