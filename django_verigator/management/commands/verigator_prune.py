from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand

from django_verigator.flows import support


class Command(BaseCommand):
    help = "Delete old challenges (PRUNE_DAYS), counters whose window is over, ended browsers and codes. Run it daily."

    def handle(self, *args: Any, **options: Any) -> None:
        for kind, count in support.prune().items():
            self.stdout.write(f"{kind}: {count}")
