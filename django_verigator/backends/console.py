"""A provider that prints its text messages to standard output: for development."""

from __future__ import annotations

import sys

from .locmem import LocMemBackend, Message


class ConsoleBackend(LocMemBackend):
    """Prints every message. Its user records end with the process; the next login then registers the user anew."""

    def deliver(self, message: Message) -> None:
        sys.stdout.write(f"SMS to {message.to}: {message.text}\n")
        sys.stdout.flush()
