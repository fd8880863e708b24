from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from django_verigator.sandbox import __main__ as sandbox


class Command(BaseCommand):
    help = "Run the sandbox: the provider's API and its phones, on this machine. For development only."
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: CommandParser) -> None:
        sandbox.add_arguments(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        raise SystemExit(sandbox.run(options))
