from __future__ import annotations

import sys
from typing import Any

from django.core.management.base import CommandError, CommandParser

from django_verigator import shown
from django_verigator.management.saying import SayingCommand
from django_verigator.management.users import agree, find_user

from ...flows import recovery, support

BY = "command"


class Command(SayingCommand):
    help = (
        "Reset a user's second factor: phone, recovery codes, trusted browsers and sessions end; on a terminal after a "
        "question. Or, with an option, only unlock the user, or issue a recovery code."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("username")
        what = parser.add_mutually_exclusive_group()
        what.add_argument("--unlock", action="store_true", help="only let a locked user try again")
        what.add_argument(
            "--recovery-code",
            action="store_true",
            help=f"only print a code that works once within {recovery.SUPPORT_MINUTES} minutes",
        )
        parser.add_argument("--noinput", "--no-input", action="store_false", dest="interactive", help="ask nothing")

    def handle(
        self, *args: Any, username: str, unlock: bool, recovery_code: bool, interactive: bool, **options: Any
    ) -> None:
        user = find_user(username)
        if unlock:
            support.unlock(user, by=BY)
            self.say(f"{shown.user(user)} may try again.")
        elif recovery_code:
            self.stdout.write(support.issue_code(user, by=BY))
        else:
            if interactive and sys.stdin.isatty():
                self._ask(shown.user(user))
            support.reset(user, by=BY)
            self.say(f"The second factor of {shown.user(user)} is reset; every session that relied on it has ended.")

    def _ask(self, name: str) -> None:
        self.stderr.write(f"Phone, recovery codes, trusted browsers and sessions of {name} will end.")
        if not agree(self.stderr, f"Reset the second factor of {name}?"):
            raise CommandError("Nothing was reset.")
