from __future__ import annotations

import json
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from django_verigator.exceptions import VerigatorError
from django_verigator.management.users import find_user

from ...records import exporting


class Command(BaseCommand):
    help = (
        "Print everything stored about one user as JSON, the phone in full: for that user alone. Or, with --deleted, "
        "what is left of a user who was deleted; exit code 0 only if nothing is."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        whom = parser.add_mutually_exclusive_group(required=True)
        whom.add_argument("username", nargs="?")
        whom.add_argument("--deleted", metavar="USERID", help="show what is left of this record, here and there")

    def handle(self, *args: Any, username: str | None, deleted: str | None, **options: Any) -> None:
        if deleted is None:
            self._print(exporting.data_of(find_user(username or "")))
            return
        try:
            left = exporting.left_of(deleted)
        except VerigatorError as error:
            raise CommandError(f"The provider could not be asked: {error.cause}", returncode=1) from None
        self._print(left)
        if left["at_the_provider"] or any(left["here"].values()):
            raise CommandError("Something is left; verigator_sync deletes what waits for it.", returncode=1)

    def _print(self, data: dict[str, Any]) -> None:
        text = json.dumps(data, indent=2, ensure_ascii=False)
        # A terminal may act on characters that JSON leaves as they are.
        self.stdout.write("".join(c if c.isprintable() or c == "\n" else json.dumps(c)[1:-1] for c in text))
