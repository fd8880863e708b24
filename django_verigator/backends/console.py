"""A provider that prints its text messages to standard output: for development."""

from __future__ import annotations

import sys

from ..constants import METHOD_CALL, METHOD_SMS, METHOD_WHATSAPP
from .locmem import LocMemBackend, Message

LABELS = {METHOD_SMS: "SMS", METHOD_CALL: "Call", METHOD_WHATSAPP: "WhatsApp"}


class ConsoleBackend(LocMemBackend):
    """Prints every message. Its user records end with the process; the next login then registers the user anew."""

    def deliver(self, message: Message) -> None:
        sys.stdout.write(f"{LABELS.get(message.method, message.method)} to {message.to}: {message.text}\n")
        sys.stdout.flush()
