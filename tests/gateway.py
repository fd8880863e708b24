"""A gateway that only sends texts, and the backend for it: the provider of the tests in which the PINs are our own.

The gateway has the names of the sandbox that tests use, and is their witness in its place: a start is a text that it
was given, a try is a PIN that the backend has checked.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any

from django_verigator.backends import Checked, Recipient, Started
from django_verigator.backends.texts import TextBackend
from django_verigator.client import http
from django_verigator.exceptions import VerigatorError

BACKEND = f"{__name__}.GatewayBackend"


@dataclass(frozen=True)
class Record:
    """Who has a phone, as the sandbox's directory says it of its users."""

    id: str
    id_in_service: str
    phone_number: str


class Gateway:
    """Keeps what was sent, and to which phone; the PIN is read from the text, as its owner does."""

    def __init__(self) -> None:
        self.directory = self
        self.owners: Callable[[], dict[str, str]] = dict
        """Returns who has which phone: names by numbers."""
        self.behave: Callable[[str], Any] = lambda text: None
        """Called with each text before it is sent; what it returns is the gateway's answer, and it may raise."""
        self.latency = 0.0
        self.delivers = 1
        """How often each text arrives."""
        self._messages: list[dict[str, Any]] = []
        self._calls: list[dict[str, Any]] = []
        self._lock = threading.Lock()

    # --- what the backend says ----------------------------------------------------------------------------------------

    def send(self, to: str, text: str) -> Any:
        self._note("POST", "auth.start", to)
        time.sleep(self.latency)
        answer = self.behave(text)
        pin = re.search(r"[0-9]{4,}", text)
        assert pin is not None
        with self._lock:
            for _ in range(self.delivers):
                message = {"id": len(self._messages) + 1, "to": to, "text": text, "pin": pin[0], "user_id": to}
                self._messages.append({**message, "sent": _now()})
        return answer

    def tried(self, phone: str, pin: str, verified: bool) -> None:
        # Believed only for a PIN that did go to this phone.
        right = verified and pin in {message["pin"] for message in self.messages(phone)}
        self._note("PUT", "auth.verify", phone, verified=right)

    def _note(self, method: str, operation: str, phone: str, verified: bool = False) -> None:
        path = "/auth/text"
        for hook in list(http.before_request):
            hook(method, path)
        call = {"method": method, "path": path, "operation": operation, "user_id": phone, "time": _now()}
        with self._lock:
            self._calls.append({**call, "verified": verified, "status": 200})

    # --- what tests ask, as of a sandbox ------------------------------------------------------------------------------

    def messages(self, to: str | None = None, *, limit: int = 0) -> list[dict[str, Any]]:
        with self._lock:
            return [message for message in self._messages if to is None or message["to"] == to][-limit:]

    def last_pin(self, to: str) -> str:
        messages = self.messages(to)
        if not messages:
            raise LookupError("no message was sent to this number")
        return str(messages[-1]["pin"])

    def calls(self, *, operation: str | None = None) -> list[dict[str, Any]]:
        with self._lock:
            return [call for call in self._calls if operation in (None, call["operation"])]

    def clear_calls(self) -> None:
        with self._lock:
            self._calls.clear()

    def users(self, service_id: str) -> list[Record]:
        owners = self.owners()
        return [Record(phone, f"{name}-gateway", phone) for phone, name in owners.items()]

    def advance(self, seconds: float) -> None:
        """Texts know no time."""


class GatewayBackend(TextBackend):
    """A gateway's backend as sites write it, and beside it what the witness must know."""

    is_stand_in = True

    def __init__(self, alias: str, *, gateway: Gateway, **options: Any) -> None:
        super().__init__(alias, **options)
        self.gateway = gateway

    def send_text(self, phone_number: str, text: str, *, timeout: float) -> Any:
        return self.gateway.send(phone_number, text)

    def start(self, recipient: Recipient, method: str, *, timeout: float | None = None) -> Started:
        try:
            started = super().start(recipient, method, timeout=timeout)
        except VerigatorError as error:
            _sent_to[error.reference] = recipient.phone_number
            raise
        _sent_to[started.reference] = recipient.phone_number
        return started

    def check(self, recipient: Recipient, pin: str, reference: str, *, timeout: float | None = None) -> Checked:
        time.sleep(self.gateway.latency)
        checked = super().check(recipient, pin, reference, timeout=timeout)
        self.gateway.tried(_sent_to[reference], pin, checked.verified)
        return checked


_sent_to: dict[str, str] = {}
"""The phone of each reference."""


def _now() -> str:
    return datetime.fromtimestamp(time.time(), timezone.utc).isoformat()
