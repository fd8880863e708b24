"""A gateway that only sends texts, and the backend for it: the provider of the tests in which the PINs are our own.

The gateway has the names of the sandbox that tests use, and is their witness in its place: a start is a text that it
was given, a try is a PIN that the backend has checked.
"""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from django_verigator.backends import Checked, Recipient, Started, locmem
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
        self._kept: list[tuple[str, Any]] = []
        self._lock = threading.Lock()

    # --- where it is kept ---------------------------------------------------------------------------------------------

    def keep(self, kind: str, *things: Any) -> None:
        with self._lock:
            self._kept += [(kind, thing) for thing in things]

    def kept(self, kind: str) -> list[Any]:
        with self._lock:
            return [thing for each, thing in self._kept if each == kind]

    # --- what the backend says ----------------------------------------------------------------------------------------

    def send(self, to: str, text: str) -> Any:
        self._note("POST", "auth.start", to)
        time.sleep(self.latency)
        answer = self.behave(text)
        pin = re.search(r"[0-9]{4,}", text)
        assert pin is not None
        message = {"to": to, "text": text, "pin": pin[0], "user_id": to, "sent": _now()}
        self.keep("message", *[message] * self.delivers)
        return answer

    def tried(self, reference: str, pin: str, verified: bool) -> None:
        # Believed only for a PIN that did go to the phone of this reference.
        phone = next(to for each, to in self.kept("reference") if each == reference)
        right = verified and pin in {message["pin"] for message in self.messages(phone)}
        self._note("PUT", "auth.verify", phone, verified=right)

    def _note(self, method: str, operation: str, phone: str, verified: bool = False) -> None:
        path = "/auth/text"
        for hook in list(http.before_request):
            hook(method, path)
        call = {"method": method, "path": path, "operation": operation, "user_id": phone, "time": _now()}
        self.keep("call", {**call, "verified": verified, "status": 200})

    # --- what tests ask, as of a sandbox ------------------------------------------------------------------------------

    def messages(self, to: str | None = None, *, limit: int = 0) -> list[dict[str, Any]]:
        numbered = ({**message, "id": number} for number, message in enumerate(self.kept("message"), 1))
        return [message for message in numbered if to is None or message["to"] == to][-limit:]

    def last_pin(self, to: str) -> str:
        messages = self.messages(to)
        if not messages:
            raise LookupError("no message was sent to this number")
        return str(messages[-1]["pin"])

    def calls(self, *, operation: str | None = None) -> list[dict[str, Any]]:
        return [call for call in self.kept("call") if operation in (None, call["operation"])]

    def clear_calls(self) -> None:
        with self._lock:
            self._kept = [(kind, thing) for kind, thing in self._kept if kind != "call"]

    def users(self, service_id: str) -> list[Record]:
        owners = self.owners()
        return [Record(phone, f"{name}-gateway", phone) for phone, name in owners.items()]

    def advance(self, seconds: float) -> None:
        """Texts know no time."""


class SharedGateway(Gateway):
    """One for several processes, by a file: each line of it is a text, a call, or a reference with its phone.

    A process is told of it as JSON, by ``options``.
    """

    def __init__(self, file: str, *, latency: float = 0.0) -> None:
        super().__init__()
        self.file = Path(file)
        self.latency = latency

    def keep(self, kind: str, *things: Any) -> None:
        lines = "".join(f"{json.dumps([kind, thing])}\n" for thing in things)
        # Appended in one write, so that lines of several processes do not mix.
        with self._lock, self.file.open("ab", buffering=0) as file:
            assert file.write(lines.encode()) == len(lines)

    def kept(self, kind: str) -> list[Any]:
        lines = self.file.read_text().splitlines() if self.file.exists() else []
        return [thing for each, thing in map(json.loads, lines) if each == kind]

    def clear_calls(self) -> None:
        raise NotImplementedError("what other processes may be writing to is not cleared")

    @property
    def options(self) -> dict[str, Any]:
        return {"file": str(self.file), "latency": self.latency}


class GatewayBackend(TextBackend):
    """A gateway's backend as sites write it, and beside it what the witness must know.

    Args:
        gateway: the gateway, or in another process than the test's the ``options`` of one that is shared.
    """

    is_stand_in = True

    def __init__(self, alias: str, *, gateway: Gateway | dict[str, Any], **options: Any) -> None:
        super().__init__(alias, **options)
        self.gateway = SharedGateway(**gateway) if isinstance(gateway, dict) else gateway

    def send_text(self, phone_number: str, text: str, *, timeout: float) -> Any:
        return self.gateway.send(phone_number, text)

    def start(self, recipient: Recipient, method: str, *, timeout: float | None = None) -> Started:
        try:
            started = super().start(recipient, method, timeout=timeout)
        except VerigatorError as error:
            self.gateway.keep("reference", (error.reference, recipient.phone_number))
            raise
        self.gateway.keep("reference", (started.reference, recipient.phone_number))
        return started

    def check(self, recipient: Recipient, pin: str, reference: str, *, timeout: float | None = None) -> Checked:
        time.sleep(self.gateway.latency)
        checked = super().check(recipient, pin, reference, timeout=timeout)
        self.gateway.tried(reference, pin, checked.verified)
        return checked


class OutboxBackend(TextBackend):
    """PINs of our own in the texts of locmem's outbox, and locmem's faults.

    The PINs are so long that a wrong one is never right by chance, nor one the same as an earlier one.
    """

    is_stand_in = True

    def __init__(self, alias: str) -> None:
        super().__init__(alias, pin_length=12)
        self._locmem = locmem.LocMemBackend(alias, keeps_users=False)

    def send_text(self, phone_number: str, text: str, *, timeout: float) -> None:
        with self._locmem._perform("start"):
            locmem.outbox.append(locmem.Message(phone_number, text, text.split()[-1], ""))

    def check(self, recipient: Recipient, pin: str, reference: str, *, timeout: float | None = None) -> Checked:
        with self._locmem._perform("check"):
            return super().check(recipient, pin, reference, timeout=timeout)


def _now() -> str:
    return datetime.fromtimestamp(time.time(), timezone.utc).isoformat()
