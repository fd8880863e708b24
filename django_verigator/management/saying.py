"""Commands that run from cron."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand


class SayingCommand(BaseCommand):
    """Says what it did, unless told ``-v 0``: cron mails whatever is printed. What is wrong is said all the same."""

    def execute(self, *args: Any, **options: Any) -> str | None:
        self._quiet = options["verbosity"] == 0
        return super().execute(*args, **options)

    def say(self, text: str) -> None:
        if not self._quiet:
            self.stdout.write(text)
