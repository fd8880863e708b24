"""The locmem provider with a call log, and with the troubles a provider can have."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from django.db import connection

from django_verigator.backends import Checked, Recipient, Started
from django_verigator.backends.locmem import LocMemBackend, outbox
from django_verigator.exceptions import ConnectionFailedError, InternalError, NoSuchResourceError

# What may be wrong with it: nothing; no connection; a call is done but its reply is lost; an error of its own; it has
# lost its user records; it does not know that a PIN was used already.
TROUBLES = ("", "down", "lost", "error", "forgetful", "generous")


@dataclass
class Call:
    """One call that the app made; ``sent`` is False where the provider never saw it."""

    operation: str
    user_id: str
    at: float
    pin: str = ""
    phone: str = ""
    method: str = ""
    verified: bool = False
    sent: bool = True
    replied: bool = True


@dataclass
class Witness:
    """What the provider saw. There is one, since the app builds its backend anew with each change of its settings."""

    now: Callable[[], float] = float
    trouble: str = ""
    calls: list[Call] = field(default_factory=list)
    phones: dict[str, str] = field(default_factory=dict)
    owners: dict[str, str] = field(default_factory=dict)
    """The name in front of each record's id_in_service: whom the app made it for."""
    pins: set[str] = field(default_factory=set)
    newest_pin: dict[str, str] = field(default_factory=dict)
    with_app: set[str] = field(default_factory=set)
    in_transaction: list[str] = field(default_factory=list)

    def reset(self, now: Callable[[], float]) -> None:
        self.__init__(now)  # type: ignore[misc]


witness = Witness()


class WalkBackend(LocMemBackend):
    def _call(self, operation: str, user_id: str, work: Callable[[Call], Any], **known: Any) -> Any:
        if connection.in_atomic_block:
            witness.in_transaction.append(operation)
        call = Call(operation, user_id, witness.now(), **known)
        witness.calls.append(call)
        if witness.trouble == "down":
            call.sent = call.replied = False
            raise ConnectionFailedError("down", sent=False)
        if witness.trouble == "error":
            call.replied = False
            raise InternalError("down", status=500)
        result = work(call)
        if witness.trouble == "lost":
            call.replied = False
            raise ConnectionFailedError("lost", sent=True)
        return result

    def start(self, recipient: Recipient, method: str, *, timeout: float | None = None) -> Started:
        def work(call: Call) -> Started:
            if witness.trouble == "forgetful":
                self.forget(recipient.user_id)
                witness.trouble = ""
            try:
                super(WalkBackend, self).start(recipient, method)
            except NoSuchResourceError:
                call.sent = False  # it saw the call, and nothing went out
                raise
            message = outbox[-1]
            call.phone, call.pin = message.to, message.pin
            witness.pins.add(message.pin)
            witness.newest_pin[recipient.user_id] = message.pin
            call.method = "totp" if method == "totp" and message.to in witness.with_app else "sms"
            return Started(call.method)

        started: Started = self._call("start", recipient.user_id, work)
        return started

    def check(self, recipient: Recipient, pin: str, reference: str, *, timeout: float | None = None) -> Checked:
        def work(call: Call) -> Checked:
            checked = super(WalkBackend, self).check(recipient, pin, reference)
            call.verified = checked.verified
            if checked.verified and witness.trouble == "generous":
                self._memory.pins[recipient.user_id] = pin
            return checked

        checked: Checked = self._call("check", recipient.user_id, work, pin=pin)
        return checked

    def register(self, phone_number: str, id_in_service: str, *, timeout: float | None = None) -> str:
        def work(call: Call) -> str:
            call.user_id = super(WalkBackend, self).register(phone_number, id_in_service)
            witness.phones[call.user_id] = phone_number
            witness.owners[call.user_id] = id_in_service.rpartition("-")[0]
            return call.user_id

        user_id: str = self._call("register", "", work, phone=phone_number)
        return user_id

    def unregister(self, user_id: str, *, timeout: float | None = None) -> None:
        self._call("unregister", user_id, lambda call: super(WalkBackend, self).unregister(user_id))

    def forget(self, user_id: str) -> None:
        super().unregister(user_id)
