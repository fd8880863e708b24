"""Commands that run from cron."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand


class SayingCommand(BaseCommand):
    """Prints what it did, unless ``-v 0`` is given: cron mails whatever is printed. Errors are printed all the same."""

    def execute(self, *args: Any, **options: Any) -> str | None:
        self._quiet = options["verbosity"] == 0
        return super().execute(*args, **options)

    def say(self, text: str) -> None:
        """Print to stdout, unless ``-v 0`` is given."""
        if not self._quiet:
            self.stdout.write(text)
