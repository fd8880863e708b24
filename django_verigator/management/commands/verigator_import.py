from __future__ import annotations

from functools import partial
from typing import Any

from django.core.management.base import CommandError, CommandParser

from django_verigator.exceptions import VerigatorError
from django_verigator.management import import_csv
from django_verigator.management.saying import SayingCommand

from ...records import import_rows, importing


class Command(SayingCommand):
    help = (
        "Take over users from another system: a CSV file with the columns username and phone, and user_id where they "
        "are users of Verigator already. Every row is checked before one is written. Exit code 0 only if all are in."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("file", help="the CSV file")
        parser.add_argument("--dry-run", action="store_true", help="check only; write nothing")
        parser.add_argument(
            "--skip-refused", action="store_true", help="write the other rows although some are refused"
        )
        parser.add_argument("--confirmed", action="store_true", help="the users have confirmed these phones elsewhere")
        parser.add_argument("--verify", action="store_true", help="refuse a user_id that the provider does not have")
        parser.add_argument(
            "--encoding", default="utf-8-sig", help="of the file (default: UTF-8, with or without a BOM)"
        )

    def handle(self, *args: Any, file: str, encoding: str, dry_run: bool, **options: Any) -> None:
        chosen = {name: options[name] for name in ("confirmed", "verify", "skip_refused")}
        try:
            with open(file, encoding=encoding, errors="surrogateescape", newline="") as source:
                report = importing.import_users(
                    partial(import_csv.read, source), refuse=self._refuse, dry_run=dry_run, **chosen
                )
        except (OSError, LookupError, UnicodeError) as error:
            raise CommandError(f"The file cannot be read: {type(error).__name__}.") from None
        except VerigatorError as error:
            raise CommandError(f"The provider's list could not be read: {error.cause}. Nothing was written.") from None
        for verdict in (import_rows.Verdict.NEW, import_rows.Verdict.CHANGED, import_rows.Verdict.UNCHANGED):
            self.say(f"{verdict.value}: {report.counts[verdict]}")
        self.say(f"refused: {report.refused}")
        if report.refused:
            left = "The other rows are in." if report.is_written else "Nothing was written."
            raise CommandError(f"{report.refused} rows were refused. {left}", returncode=1)
        if not report.is_written:
            self.say("Nothing was written; every row would be.")
            return
        self.say(self.style.SUCCESS("All rows are in. Run verigator_sync now."))

    def _refuse(self, row: import_rows.Row, verdict: import_rows.Verdict) -> None:
        self.stderr.write(f"line {row.line}: {row.shown_name or '(no name)'}: {verdict.value}")
