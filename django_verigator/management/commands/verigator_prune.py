from __future__ import annotations

from typing import Any

from django_verigator.management.saying import SayingCommand

from ...flows import support


class Command(SayingCommand):
    help = "Delete old challenges (PRUNE_DAYS), counters whose window is over, ended browsers and codes. Run it daily."

    def handle(self, *args: Any, **options: Any) -> None:
        for kind, count in support.prune().items():
            self.say(f"{kind}: {count}")
