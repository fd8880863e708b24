"""A provider in this process's memory, with an outbox and scripted faults: for tests."""

from __future__ import annotations

import copy
import secrets
import threading
import uuid
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from django.utils.crypto import constant_time_compare

from ..client.number_verification import PIN_PLACE
from ..constants import METHOD_SMS, METHOD_TOTP
from ..exceptions import ConnectionFailedError, NoSuchResourceError, ResourceAlreadyExistsError, VerigatorError
from .base import BaseBackend, Checked, Recipient, RemoteUser, Started
from .pin_options import TEMPLATE

PIN_DIGITS = 4


@dataclass(frozen=True, slots=True)
class Message:
    """One message or call. ``user_id`` is the provider's UserID, ``method`` how it was sent."""

    to: str
    text: str
    pin: str
    user_id: str
    method: str = METHOD_SMS


@dataclass
class _Memory:
    phones: dict[str, str] = field(default_factory=dict)
    names: dict[str, str] = field(default_factory=dict)
    pins: dict[str, str] = field(default_factory=dict)


@dataclass
class _Fault:
    error: VerigatorError
    operation: str
    alias: str | None
    after: bool
    times: int | None


OPERATIONS = ("start", "check", "register", "unregister", "exists")

outbox: list[Message] = []
"""Every message "sent", newest last; tests clear it with ``reset()``."""

_lock = threading.Lock()
_memories: dict[str, _Memory] = {}
_faults: list[_Fault] = []
_latest_pins: deque[str] = deque(maxlen=100)


def _new_pin() -> str:
    """Return a PIN that differs from the last hundred, since one that was accepted a moment ago is refused; a test that
    logs in twice would fail by chance. It is never all zeros, which the provider's clients refuse to send.
    """
    most = 10**PIN_DIGITS - 1
    number = secrets.randbelow(most)
    while (pin := f"{number % most + 1:0{PIN_DIGITS}}") in _latest_pins:
        number += 1
    _latest_pins.append(pin)
    return pin


def reset() -> None:
    """Forget every message, every user record and every fault that was ordered."""
    with _lock:
        outbox.clear()
        _memories.clear()
        _faults.clear()


def fail_next(
    error: VerigatorError | None = None,
    *,
    operation: str = "start",
    times: int | None = 1,
    after: bool = False,
    alias: str | None = None,
) -> None:
    """Make the next calls of the locmem (or console) backend fail.

    Args:
        error: what they raise. Default: the connection is refused, so that nothing was sent.
        operation: one of OPERATIONS.
        times: number of calls; None: all, until ``reset()``.
        after: the call does its work first, and its answer is lost: a text is out, a record made.
        alias: this entry of BACKENDS alone; None: any.

    Raises:
        ValueError: there is no such operation.
    """
    if operation not in OPERATIONS:
        raise ValueError(f"operation must be one of {OPERATIONS}")
    if error is None:
        error = ConnectionFailedError("the connection broke" if after else "no connection", sent=after)
    with _lock:
        _faults.append(_Fault(error, operation, alias, after, times))


class LocMemBackend(BaseBackend):
    """Sends every code as a text message to ``outbox``; a right PIN works once.

    Args:
        keeps_users: True: keep user records, as Verigator does. False: send codes to numbers, and find them again by
            their reference, as Number Verification does.
        methods: how it can send; default: by text message. No phone has the app.
    """

    is_stand_in = True

    def __init__(self, alias: str, *, keeps_users: bool = True, methods: Sequence[str] = ()) -> None:
        super().__init__(alias)
        self.keeps_users = keeps_users
        if methods:
            self.methods = tuple(methods)
        elif not keeps_users:
            self.methods = (METHOD_SMS,)

    @property
    def _memory(self) -> _Memory:
        return _memories.setdefault(self.alias, _Memory())

    @contextmanager
    def _perform(self, operation: str) -> Iterator[None]:
        """Hold the lock while ``operation`` does its work, and fail as ``fail_next`` has ordered."""
        with _lock:
            fault = next((f for f in _faults if f.operation == operation and f.alias in (None, self.alias)), None)
            if fault is not None and fault.times is not None:
                fault.times -= 1
                if not fault.times:
                    _faults.remove(fault)
            if fault is not None and not fault.after:
                raise copy.copy(fault.error)
            yield
            if fault is not None:
                raise copy.copy(fault.error)

    def _require_records(self) -> None:
        if not self.keeps_users:
            raise NotImplementedError

    def start(self, recipient: Recipient, method: str, *, timeout: float | None = None) -> Started:
        with self._perform("start"):
            reference = "" if self.keeps_users else str(uuid.uuid4())
            to = self._memory.phones.get(recipient.user_id) if self.keeps_users else recipient.phone_number
            if not to:
                raise NoSuchResourceError("no such user", status=404)
            pin = _new_pin()
            self._memory.pins[reference or recipient.user_id] = pin
            used = method if method in self.methods and method != METHOD_TOTP else METHOD_SMS
            message = Message(to, TEMPLATE.replace(PIN_PLACE, pin), pin, recipient.user_id, used)
            outbox.append(message)
            self.deliver(message)
        return Started(used, reference)

    def deliver(self, message: Message) -> None:
        """Show the message to somebody, beside the outbox."""

    def check(self, recipient: Recipient, pin: str, reference: str, *, timeout: float | None = None) -> Checked:
        with self._perform("check"):
            name = recipient.user_id if self.keeps_users else reference
            right = self._memory.pins.get(name)
            if right is None:
                raise NoSuchResourceError("no authentication is running", status=404)
            verified = constant_time_compare(right, pin)
            if verified:
                del self._memory.pins[name]
        return Checked(verified)

    def register(self, phone_number: str, id_in_service: str, *, timeout: float | None = None) -> str:
        self._require_records()
        with self._perform("register"):
            if id_in_service in self._memory.names.values():
                raise ResourceAlreadyExistsError("id_in_service is taken", status=409)
            user_id = str(uuid.uuid4())
            self._memory.phones[user_id] = phone_number
            self._memory.names[user_id] = id_in_service
        return user_id

    def unregister(self, user_id: str, *, timeout: float | None = None) -> None:
        self._require_records()
        with self._perform("unregister"):
            for table in (self._memory.phones, self._memory.names, self._memory.pins):
                table.pop(user_id, None)

    def exists(self, user_id: str, *, timeout: float | None = None) -> bool:
        self._require_records()
        with self._perform("exists"):
            return user_id in self._memory.phones

    def users(self) -> Iterator[RemoteUser]:
        self._require_records()
        with _lock:
            found = list(self._memory.names.items())
        for user_id, name in found:
            yield RemoteUser(user_id, name)
