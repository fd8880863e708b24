"""What a developer or a test may do with the sandbox beside calling its API: look, attach, break, wait."""

from __future__ import annotations

from typing import Any

from django_verigator.sandbox import totp
from django_verigator.sandbox.authentications import Authentications
from django_verigator.sandbox.calls import CallLog
from django_verigator.sandbox.clock import Clock, as_text
from django_verigator.sandbox.directory import Directory
from django_verigator.sandbox.exchange import Reply, Request
from django_verigator.sandbox.fault_book import FaultBook
from django_verigator.sandbox.number_api import NumberApi
from django_verigator.sandbox.number_sessions import Sessions
from django_verigator.sandbox.phones import SHOWN_MESSAGES, Device, Phones, normalised
from django_verigator.sandbox.routes import OPERATIONS, Routes, Target
from django_verigator.sandbox.rules import Rules
from django_verigator.sandbox.store import Store
from django_verigator.sandbox.verification import VerificationApi

ISSUER = "Verigator"
PAGE_MESSAGES = 100


class Desk:
    """The state of one sandbox. Phone numbers are taken in any usual form; a bad one raises ValueError."""

    def __init__(self, store: Store, clock: Clock, rules: Rules) -> None:
        self.store = store
        self.clock = clock
        self.phones = Phones(store, clock)
        self.directory = Directory(store, clock)
        self.fault_book = FaultBook(OPERATIONS)
        self.call_log = CallLog()
        authentications = Authentications(store, clock, self.phones, rules)
        self.routes = Routes(strict=rules.strict, path_prefix=rules.path_prefix)
        self._api = VerificationApi(store, self.directory, authentications, rules)
        self._number_sessions = Sessions(store, clock, self.phones, rules)
        self._number_api = NumberApi(store, self._number_sessions, rules)

    def answer(self, request: Request, target: Target) -> Reply:
        """Carry out a call of either API."""
        return (self._number_api if target.is_number_api else self._api).answer(request, target)

    def messages(self, to: str | None = None, *, limit: int = SHOWN_MESSAGES) -> list[dict[str, Any]]:
        """The SMS sent, newest last, to one number or to all."""
        number = number_in(to) if to is not None else None
        self._send_due()
        found = self.phones.messages(number, limit=limit)
        return [{**message._asdict(), "sent": as_text(message.sent)} for message in found]

    def last_pin(self, to: str) -> str:
        """The PIN in the newest message to this number; raises LookupError where it got none."""
        number = number_in(to)
        self._send_due()
        found = self.phones.messages(number, limit=1)
        if not found:
            raise LookupError("no message was sent to this number")
        return found[-1].pin

    def attach_device(self, phone_number: str) -> dict[str, Any]:
        """Put the app on this phone. Done twice it answers the same secret."""
        device = self.phones.attach(number_in(phone_number))
        return {"secret": device.secret, "otpauth": self._otpauth(device)}

    def detach_device(self, phone_number: str) -> bool:
        """Take the app off this phone; False where it was not on it."""
        return self.phones.detach(number_in(phone_number))

    def code(self, phone_number: str) -> str:
        """The code the app shows now; raises LookupError where the phone has no app."""
        device = self.phones.device(number_in(phone_number))
        if device is None:
            raise LookupError("the app is not on this phone")
        return totp.code_for(device.secret, totp.step_at(self.clock.now()))

    def devices(self) -> list[dict[str, Any]]:
        """Every phone with the app, the code it shows and for how long, and what it was asked lately."""
        return [self._device_json(device) for device in self.phones.devices()]

    def phone(self, to: str | None = None) -> dict[str, Any]:
        """All that the phone page shows, for one number or for all."""
        number = number_in(to) if to else None
        return {
            "messages": self.messages(number, limit=PAGE_MESSAGES),
            "devices": [each for each in self.devices() if number in (None, each["phone_number"])],
            "numbers": self.phones.numbers(),
        }

    def add_fault(self, fault: str, **order: Any) -> dict[str, Any]:
        """Order a fault (faults.py says which there are); raises FaultError, a ValueError."""
        return self.fault_book.add({"fault": fault, **order})

    def faults(self) -> list[dict[str, Any]]:
        return self.fault_book.faults()

    def clear_faults(self) -> None:
        self.fault_book.clear()

    def calls(self, *, operation: str | None = None, user_id: str | None = None) -> list[dict[str, Any]]:
        """The API calls so far, oldest first."""
        return self.call_log.calls(operation=operation, user_id=user_id)

    def clear_calls(self) -> None:
        self.call_log.clear()

    def advance(self, seconds: float) -> None:
        """Let time pass without waiting."""
        self.clock.advance(seconds)

    def reset(self) -> None:
        """Forget everything: services, users, messages, devices, faults, calls, and the time put on top."""
        self.clear_faults()
        self.store.clear()
        self.clear_calls()
        self.clock.offset = 0.0

    def _send_due(self) -> None:
        with self.store.transaction():
            self._number_sessions.send_due()

    def _device_json(self, device: Device) -> dict[str, Any]:
        now = self.clock.now()
        issuer, account = self._label(device)
        return {
            "phone_number": device.phone_number,
            "issuer": issuer,
            "account": account,
            "otpauth": self._otpauth(device),
            "code": totp.code_for(device.secret, totp.step_at(now)),
            "seconds_left": round(totp.seconds_left(now), 3),
            "period": totp.PERIOD,
            "notices": [
                {**notice._asdict(), "sent": as_text(notice.sent)}
                for notice in self.phones.notices(device.phone_number)
            ],
        }

    def _label(self, device: Device) -> tuple[str, str]:
        found = self.directory.newest_user_with(device.phone_number)
        return (found[1].name, found[0].id_in_service) if found else (ISSUER, device.phone_number)

    def _otpauth(self, device: Device) -> str:
        issuer, account = self._label(device)
        return totp.otpauth_address(device.secret, issuer=issuer, account=account)


def number_in(text: str) -> str:
    """The normalised number; raises ValueError."""
    number = normalised(text)
    if number is None:
        raise ValueError("this is no phone number: 7 to 15 digits, with the country prefix")
    return number
