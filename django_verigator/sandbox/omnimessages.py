"""Deliver the messages of the Omnichannel API, channel after channel, and remember what became of them."""

from __future__ import annotations

import threading
import uuid
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from .clock import Clock, format_time
from .phones import Phones, pin_in
from .store import Store

MAX_STORED = 10_000
MAX_ORDERS = 1_000
CHANNELS = ("sms", "viber", "whatsapp", "rcs")
# The statuses and numbers of Messente's OpenAPI file, each with the number that goes with it here.
ARRIVED = {"DELIVRD": 0, "SEEN": 10}
UNDER_WAY: dict[str, int | None] = {"ACK": None, "ACCEPTD": None, "UNKNOWN": None}
FAILED = {"UNDELIV": 1, "FAILED": 1, "REJECTD": 8, "DELETED": 1, "EXPIRED": 2, "NACK": 1}
STATUSES: dict[str, int | None] = {**ARRIVED, **UNDER_WAY, **FAILED}
ERRORS = {
    0: "No error",
    1: "Delivery failure",
    2: "Sending message expired",
    3: "Invalid number",
    4: "Error crediting account",
    5: "Invalid number format",
    6: "Too many identical messages",
    7: "Sender name not allowed",
    8: "Operator blacklisted",
    9: "Unroutable",
    10: "Seen",
    999: "General temporary error",
}
PART_PRICES = {"sms": "0.07", "viber": "0.02", "whatsapp": "0.05", "rcs": "0.04"}
DEFAULT_SENDER = "Messente"
GSM_PART, UNICODE_PART = 160, 70  # characters


@dataclass(slots=True)
class ChannelMessage:
    """Hold the message of one channel.

    Attributes:
        status: what has become of it; "" as long as it was not tried.
        err: the number for why, or None.
        tried: seconds since 1970.
    """

    channel: str
    text: str
    sender: str = DEFAULT_SENDER
    id: str = field(default_factory=lambda: str(uuid.uuid4()))
    status: str = ""
    err: int | None = None
    tried: float = 0.0

    def price_json(self) -> dict[str, Any]:
        """Return a made-up price."""
        length = GSM_PART if self.text.isascii() else UNICODE_PART
        parts = max(1, -(-len(self.text) // length)) if self.channel == "sms" else 1
        price = PART_PRICES[self.channel]
        return {"part_price": price, "parts_count": parts, "total_price": str(Decimal(price) * parts)}


@dataclass(slots=True)
class Omnimessage:
    """Hold a message to one phone on all its channels.

    Attributes:
        due: when it is to be sent, in seconds since 1970.
        dlr_url: where its statuses are posted to, or "".
        is_open: it was neither sent nor cancelled so far.
    """

    account: str
    to: str
    messages: list[ChannelMessage]
    due: float
    dlr_url: str = ""
    is_open: bool = True
    id: str = field(default_factory=lambda: str(uuid.uuid4()))

    def status_json(self, message: ChannelMessage) -> dict[str, Any]:
        """Return the status of one channel, as reports and callbacks have it (Messente docs, delivery report)."""
        return {
            "status": message.status,
            "sender": message.sender,
            "err": message.err,
            "message_id": message.id,
            "to": self.to,
            "channel": message.channel,
            "error": ERRORS[message.err] if message.err else None,
            "omnimessage_id": self.id,
            "timestamp": format_time(message.tried),
            "price_info": message.price_json(),
        }

    def report_json(self) -> dict[str, Any]:
        """Return the report on the channels that were tried."""
        statuses = [self.status_json(message) for message in self.messages if message.status]
        return {"omnimessage_id": self.id, "to": self.to, "statuses": statuses}


@dataclass(slots=True)
class Delivery:
    """Hold an ordered outcome for the next messages to a phone.

    Attributes:
        channel: on this channel alone, or "" for any.
        times: for how many channels, tried for messages, it still holds.
    """

    to: str
    status: str
    err: int | None
    channel: str
    times: int


class Omnimessages:
    """Deliver at once, or at the time that was asked for: the phone gets the text if the outcome is DELIVRD or SEEN.

    After an outcome that is a failure the next channel is tried. Time alone (``ttl``) makes no channel fail.

    Args:
        post: is given the address and the JSON of each status that a caller wants posted.
    """

    def __init__(self, store: Store, clock: Clock, phones: Phones, post: Callable[[str, dict[str, Any]], None]) -> None:
        self._store = store
        self._clock = clock
        self._phones = phones
        self._post = post
        self._lock = threading.RLock()
        self._messages: dict[str, Omnimessage] = {}
        self._deliveries: deque[Delivery] = deque(maxlen=MAX_ORDERS)

    def send(self, message: Omnimessage) -> None:
        """Take a message, and deliver it if it is due; only the newest 10,000 are kept."""
        with self._lock:
            self._messages[message.id] = message
            while len(self._messages) > MAX_STORED:
                del self._messages[next(iter(self._messages))]
            self.send_due()

    def send_due(self) -> None:
        """Deliver what is due by now."""
        with self._lock:
            now = self._clock.now()
            for message in list(self._messages.values()):
                if message.is_open and message.due <= now:
                    message.is_open = False
                    self._deliver(message)

    def _deliver(self, omnimessage: Omnimessage) -> None:
        for message in omnimessage.messages:
            message.status, message.err = self._outcome(omnimessage.to, message.channel)
            message.tried = omnimessage.due
            if message.status in ARRIVED:
                pin, channel = pin_in(message.text), message.channel
                with self._store.transaction():
                    self._phones.send(
                        omnimessage.to, message.text, pin=pin, user_id="", sent=message.tried, channel=channel
                    )
            if omnimessage.dlr_url:
                self._post(omnimessage.dlr_url, omnimessage.status_json(message))
            if message.status not in FAILED:
                return

    def _outcome(self, to: str, channel: str) -> tuple[str, int | None]:
        for delivery in self._deliveries:
            if delivery.to == to and delivery.channel in ("", channel) and delivery.times > 0:
                delivery.times -= 1
                return delivery.status, delivery.err
        return "DELIVRD", ARRIVED["DELIVRD"]

    def report(self, account: str, omnimessage_id: str) -> dict[str, Any] | None:
        """Return the report on the message of this account with this id, or None."""
        with self._lock:
            message = self._find(account, omnimessage_id)
            return message.report_json() if message is not None else None

    def cancel(self, account: str, omnimessage_id: str) -> bool:
        """Cancel a message that is still to be sent; return whether there was one."""
        with self._lock:
            message = self._find(account, omnimessage_id)
            if message is None or not message.is_open:
                return False
            message.is_open = False
            return True

    def _find(self, account: str, omnimessage_id: str) -> Omnimessage | None:
        self.send_due()
        message = self._messages.get(omnimessage_id)
        return message if message is not None and message.account == account else None

    def order(self, delivery: Delivery) -> None:
        """Decide what becomes of the next messages to a phone; the newest 1,000 orders are kept."""
        with self._lock:
            self._deliveries.append(delivery)

    def orders(self) -> list[Delivery]:
        """Return the orders that still hold, oldest first."""
        with self._lock:
            return [delivery for delivery in self._deliveries if delivery.times > 0]

    def clear_orders(self) -> None:
        """Cancel all orders."""
        with self._lock:
            self._deliveries.clear()

    def clear(self) -> None:
        """Forget all messages and orders."""
        with self._lock:
            self._messages.clear()
            self._deliveries.clear()
