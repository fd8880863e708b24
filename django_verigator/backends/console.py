"""A provider that prints its text messages to standard output: for development."""

from __future__ import annotations

import sys

from .locmem import LocMemBackend, Message


class ConsoleBackend(LocMemBackend):
    """User records are gone with the process; the link is then repaired at the next login."""

    def deliver(self, message: Message) -> None:
        sys.stdout.write(f"SMS to {message.to}: {message.text}\n")
        sys.stdout.flush()
