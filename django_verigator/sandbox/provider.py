"""Simulate the provider without HTTP: answer API calls, and let tests inspect and control it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from . import totp
from .authentications import Authentications
from .call_log import CallLog
from .clock import Clock, format_time
from .config import ProviderConfig
from .directory import Directory
from .fault_registry import FaultRegistry
from .http_messages import Request, Response
from .number_verification_api import NumberVerificationApi
from .number_verifications import NumberVerifications
from .omnichannel_api import OmnichannelApi
from .omnimessages import Omnimessages
from .ordered_deliveries import delivery_json, parse_delivery
from .phone_numbers import parse_phone_number
from .phones import MAX_LISTED_MESSAGES, Device, Phones
from .routing import (
    NUMBER_VERIFICATION,
    OMNICHANNEL,
    OPERATIONS,
    SMS_API,
    TWILIO_VERIFY,
    VERIFICATION,
    Route,
    Router,
)
from .sms_api import SmsApi
from .store import Store
from .twilio_verifications import TwilioVerifications
from .twilio_verify_api import TwilioVerifyApi
from .verification_api import VerificationApi
from .widget import Widget

DEFAULT_ISSUER = "Verigator"
MAX_PAGE_MESSAGES = 100


class Api(Protocol):
    def handle(self, request: Request, route: Route) -> Response: ...


class Provider:
    """Hold the state of one simulated provider.

    Args:
        post_report: is given the address and the JSON of each delivery report that a caller wants posted; the default
            posts none.

    Methods take phone numbers in any usual form, and raise ValueError for a text that is not a phone number.
    """

    def __init__(
        self,
        store: Store,
        clock: Clock,
        config: ProviderConfig,
        post_report: Callable[[str, dict[str, Any]], None] = lambda url, data: None,
    ) -> None:
        self.store = store
        self.clock = clock
        self.phones = Phones(store, clock)
        self.directory = Directory(store, clock)
        self.fault_registry = FaultRegistry(OPERATIONS)
        self.call_log = CallLog()
        self.router = Router(strict=config.strict, path_prefix=config.path_prefix)
        authentications = Authentications(store, clock, self.phones, config)
        self._number_verifications = NumberVerifications(store, clock, self.phones, config)
        self._omnimessages = Omnimessages(store, clock, self.phones, post_report)
        self.widget = Widget(store, self._number_verifications, config)
        self._apis: dict[str, Api] = {
            VERIFICATION: VerificationApi(store, self.directory, authentications, config),
            NUMBER_VERIFICATION: NumberVerificationApi(store, self._number_verifications, config),
            OMNICHANNEL: OmnichannelApi(self._omnimessages, clock, config),
            SMS_API: SmsApi(self.phones, config),
            TWILIO_VERIFY: TwilioVerifyApi(store, TwilioVerifications(store, clock, self.phones, config), config),
        }

    def handle(self, request: Request, route: Route) -> Response:
        """Carry out a call of one of the APIs.

        Args:
            route: what ``router.resolve(request)`` returned.

        Raises:
            HTTPError: the response is an error.
        """
        return self._apis[route.api].handle(request, route)

    def messages(self, to: str | None = None, *, limit: int = MAX_LISTED_MESSAGES) -> list[dict[str, Any]]:
        """Return the newest ``limit`` messages to one number or to all, newest last."""
        number = parse_phone_number(to) if to is not None else None
        self._send_due_messages()
        messages = self.phones.messages(number, limit=limit)
        return [{**message._asdict(), "sent": format_time(message.sent)} for message in messages]

    def last_pin(self, to: str) -> str:
        """Return the PIN in the newest message to this number.

        Raises:
            LookupError: the number has received no message.
        """
        number = parse_phone_number(to)
        self._send_due_messages()
        messages = self.phones.messages(number, limit=1)
        if not messages:
            raise LookupError("no message was sent to this number")
        return messages[-1].pin

    def attach_device(self, phone_number: str) -> dict[str, Any]:
        """Install the app on this phone and return its ``secret`` and ``otpauth`` address. Idempotent."""
        device = self.phones.attach(parse_phone_number(phone_number))
        return {"secret": device.secret, "otpauth": self._otpauth_url(device)}

    def detach_device(self, phone_number: str) -> bool:
        """Remove the app from this phone; return whether it was there."""
        return self.phones.detach(parse_phone_number(phone_number))

    def code(self, phone_number: str) -> str:
        """Return the code that the app on this phone shows now.

        Raises:
            LookupError: the phone does not have the app.
        """
        device = self.phones.device(parse_phone_number(phone_number))
        if device is None:
            raise LookupError("the app is not on this phone")
        return totp.code_for(device.secret, totp.step_at(self.clock.now()))

    def devices(self) -> list[dict[str, Any]]:
        """Return every phone with the app: its code, how many seconds the code lasts, and its notifications."""
        return [self._device_json(device) for device in self.phones.devices()]

    def phone(self, to: str | None = None) -> dict[str, Any]:
        """Return what the phone page shows, for one number or for all."""
        number = parse_phone_number(to) if to else None
        return {
            "messages": self.messages(number, limit=MAX_PAGE_MESSAGES),
            "devices": [device for device in self.devices() if number in (None, device["phone_number"])],
            "numbers": self.phones.numbers(),
        }

    def add_fault(self, fault: str, **values: Any) -> dict[str, Any]:
        """Order a fault and return it as JSON.

        Args:
            fault: the kind: latency, status, body, reset, close, hang or drip.
            values: the other keys, which the docstring of ``faults.py`` lists.

        Raises:
            FaultError: a key or value is wrong.
        """
        return self.fault_registry.add({"fault": fault, **values})

    def faults(self) -> list[dict[str, Any]]:
        """Return the active faults, oldest first."""
        return self.fault_registry.faults()

    def clear_faults(self) -> None:
        """Cancel all faults."""
        self.fault_registry.clear()

    def order_delivery(self, /, to: str, status: str, **values: Any) -> dict[str, Any]:
        """Decide what becomes of the next messages of the Omnichannel API to a number, and return the order as JSON.

        Args:
            status: "UNDELIV", "SEEN", ...; without an order it is "DELIVRD", at once.
            values: ``err`` (0 to 10, or 999), ``channel`` (this one alone), ``times`` (for how many messages; 1).

        Raises:
            ValueError: a value is wrong.
        """
        delivery = parse_delivery({"to": to, "status": status, **values})
        self._omnimessages.order(delivery)
        return delivery_json(delivery)

    def ordered_deliveries(self) -> list[dict[str, Any]]:
        """Return the orders that still hold, oldest first."""
        return [delivery_json(delivery) for delivery in self._omnimessages.orders()]

    def clear_deliveries(self) -> None:
        """Cancel all of them."""
        self._omnimessages.clear_orders()

    def calls(self, *, operation: str | None = None, user_id: str | None = None) -> list[dict[str, Any]]:
        """Return the API calls so far, oldest first, of one operation or user if given."""
        return self.call_log.calls(operation=operation, user_id=user_id)

    def clear_calls(self) -> None:
        """Empty the log of API calls."""
        self.call_log.clear()

    def advance(self, seconds: float) -> None:
        """Move the sandbox's clock, so that a test need not wait.

        Raises:
            ValueError: the clock would be more than ten years off.
        """
        self.clock.advance(seconds)

    def reset(self) -> None:
        """Delete services, users, messages, devices, faults, orders and calls, and set the clock right."""
        self.clear_faults()
        self._omnimessages.clear()
        self.store.clear()
        self.clear_calls()
        self.clock.offset = 0.0

    def _send_due_messages(self) -> None:
        with self.store.transaction():
            self._number_verifications.send_due()
        self._omnimessages.send_due()

    def _device_json(self, device: Device) -> dict[str, Any]:
        now = self.clock.now()
        issuer, account = self._issuer_and_account(device)
        notices = self.phones.notices(device.phone_number)
        return {
            "phone_number": device.phone_number,
            "issuer": issuer,
            "account": account,
            "otpauth": self._otpauth_url(device),
            "code": totp.code_for(device.secret, totp.step_at(now)),
            "seconds_left": round(totp.seconds_left(now), 3),
            "period": totp.PERIOD,
            "notices": [{**notice._asdict(), "sent": format_time(notice.sent)} for notice in notices],
        }

    def _issuer_and_account(self, device: Device) -> tuple[str, str]:
        found = self.directory.newest_user_with(device.phone_number)
        return (found[1].name, found[0].id_in_service) if found else (DEFAULT_ISSUER, device.phone_number)

    def _otpauth_url(self, device: Device) -> str:
        issuer, account = self._issuer_and_account(device)
        return totp.otpauth_url(device.secret, issuer=issuer, account=account)
