from __future__ import annotations

import sys
from typing import Any

from django.core.management.base import CommandError, CommandParser

from django_verigator import shown
from django_verigator.management.saying import SayingCommand
from django_verigator.management.users import agree, find_user

from ...records import erasure


class Command(SayingCommand):
    help = (
        "Erase everything stored about one user whose row stays (anonymised), here and at the provider; on a terminal "
        "after a question. Take the number away from the user first. Exit code 0 only if nothing is left."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("username", help="as it is now")
        parser.add_argument("--noinput", "--no-input", action="store_false", dest="interactive", help="ask nothing")

    def handle(self, *args: Any, username: str, interactive: bool, **options: Any) -> None:
        user = find_user(username)
        name = shown.user(user)
        if interactive and sys.stdin.isatty():
            self.stderr.write(f"Phone, recovery codes, trusted browsers and the log of PINs of {name} will be gone.")
            if not agree(self.stderr, f"Erase what is stored about {name}?"):
                raise CommandError("Nothing was erased.")
        try:
            erased = erasure.erase(user, by="command")
        except erasure.StillSuppliedError:
            raise CommandError(
                f"The site still has a number for {name}, or PHONE failed (see the log). Take it away first, else it "
                "would be registered again. Nothing was erased."
            ) from None
        self.say(f"Nothing is stored about {name} any more. Deleted at the provider: {erased.deleted}.")
        if erased.left:
            raise CommandError(f"Still to be deleted at the provider: {erased.left}. Run verigator_sync.", returncode=1)
