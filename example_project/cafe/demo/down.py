"""A provider that answers 503 for a while, and what holds meanwhile; told step by step as ``walk`` does."""

from __future__ import annotations

from collections.abc import Iterator

from django_verigator.sandbox import Sandbox

from ..models import User
from .outage import RESEND, VERIFY, give_password
from .walk import PROTECTED, Visitor


def put_down(sandbox: Sandbox) -> None:
    sandbox.add_fault("status", status=503)


def steps(site: str, sandbox: Sandbox, user: User) -> Iterator[str]:
    """Yield a sentence for each step that went as it should (StepFailedError: at the first one that did not)."""
    phone = user.phone_number
    put_down(sandbox)
    visitor = Visitor(site)
    give_password(visitor, user)
    refusal = visitor.alert
    visitor.expect(bool(refusal) and not sandbox.messages(phone), "nothing can be sent")
    yield f'the provider answers 503: the password is accepted, no SMS comes, and the page says: "{refusal}"'

    visitor.expect(visitor.is_kept_out(), "the password alone opens nothing")
    yield "the password alone opens nothing: the protected page stays closed"

    sandbox.clear_faults()
    visitor.open(VERIFY)
    visitor.send(RESEND)
    visitor.expect(visitor.sees(VERIFY, f"<b>{phone[-2:]}</b>"), "a PIN is sent")
    pin = sandbox.last_pin(phone)
    visitor.send(VERIFY, pin=pin)
    visitor.expect(visitor.sees(PROTECTED), f"PIN {pin} accepted")
    yield f'the provider is back: "Try again" sends the PIN {pin}, and it is accepted'
