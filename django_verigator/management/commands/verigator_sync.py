from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from typing import Any, NoReturn

from django.core.management.base import CommandError, CommandParser

from django_verigator import conf
from django_verigator.management import sync_output
from django_verigator.management.progress import ProgressLines, stop_on_signal
from django_verigator.management.saying import SayingCommand
from django_verigator.management.users import agree

from ...models import VerigatorUser
from ...records import sync
from ...records.sync import planning
from ...records.sync.report import SyncReport
from ...records.sync.run import AlreadyRunningError

SOMETHING_LEFT = 1
ALREADY_RUNNING = 3
UNUSABLE_NUMBERS = 4


class Command(SayingCommand):
    help = (
        "Register every user whose registration is missing, repair what the provider has lost, delete there what is "
        "deleted here. Exit code 0 if nothing is left to do, 1 if something is, 3 if another run is under way, 4 if "
        "nothing is left but users whose number cannot be used."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--dry-run", action="store_true", help="compare only; write nothing, here or there")
        parser.add_argument(
            "--due",
            action="store_true",
            help="only what waits and whose turn has come, without reading the provider's list: for every few minutes",
        )
        parser.add_argument("--workers", type=int, help="calls at a time; default: SYNC_WORKERS")
        parser.add_argument("--json", action="store_true", dest="as_json", help="write the report as JSON to stdout")
        parser.add_argument(
            "--fix-unknown",
            action="store_true",
            help="delete records at the provider that nothing here knows, after a question; "
            "another site that uses the same service loses its users",
        )
        parser.add_argument("--noinput", "--no-input", action="store_false", dest="interactive", help="ask nothing")
        parser.add_argument(
            "--enqueue", action="store_true", help="have the DISPATCHER's workers register, in batches of 500"
        )

    def handle(self, *args: Any, dry_run: bool, due: bool, as_json: bool, enqueue: bool, **options: Any) -> None:
        if dry_run:
            self._show_plan(planning.plan(), as_json)
            return
        self._check_options(due, **options)
        began = time.monotonic()
        try:
            report = self._sync(due, enqueue, **options)
        except AlreadyRunningError as error:
            self._fail_while_running(error, as_json)
        if as_json:
            self.stdout.write(json.dumps(sync_output.report_data(report, time.monotonic() - began)))
        else:
            for line in sync_output.report_lines(report):
                self.say(line)
            for line in sync_output.failure_lines(report):
                self.stderr.write(line)
        self._fail_if_incomplete(report, due)
        if not as_json:
            self.say(self.style.SUCCESS("Everything is in order."))

    def _check_options(
        self, due: bool, *, workers: int | None, fix_unknown: bool, interactive: bool, **options: Any
    ) -> None:
        if workers is not None and not 1 <= workers <= conf.MOST_WORKERS:
            raise CommandError(f"--workers takes a number from 1 to {conf.MOST_WORKERS}.")
        if fix_unknown and due:
            raise CommandError("--fix-unknown needs the provider's list, which --due does not read.")
        if fix_unknown and interactive and not sys.stdin.isatty():
            raise CommandError("--fix-unknown asks before it deletes; without a terminal it takes --noinput.")

    def _sync(
        self, due: bool, enqueue: bool, *, workers: int | None, fix_unknown: bool, interactive: bool, **options: Any
    ) -> SyncReport:
        with stop_on_signal() as stop, self._progress() as progress:
            report = sync.sync_all(
                progress.show, due_only=due, workers=workers, stop=stop, enqueue=self._batches() if enqueue else None
            )
        if fix_unknown and report.unknown and not (report.error or report.stopped or report.down):
            self._delete_unknown(report, workers, interactive)
        return report

    def _progress(self) -> ProgressLines:
        return ProgressLines(self.stderr, is_quiet=self._quiet)

    def _batches(self) -> Callable[[list[int]], object]:
        batch = getattr(conf.resolve(conf.current().DISPATCHER), "batch", None)
        if batch is None:
            raise CommandError("The DISPATCHER takes no batches; django_verigator.contrib has two that do.")
        return batch  # type: ignore[no-any-return]

    def _delete_unknown(self, report: SyncReport, workers: int | None, interactive: bool) -> None:
        if interactive:
            self.stderr.write(
                f"The provider has {report.unknown} records that nothing here knows. If another site uses the same "
                "service, they are its users."
            )
            if not agree(self.stderr, f"Delete these {report.unknown} records at the provider?"):
                self.stderr.write("Nothing of that was deleted.")
                return
        with stop_on_signal() as stop, self._progress() as progress:
            more = sync.delete_unknown(report.unknown, progress.show, workers=workers, stop=stop)
        report.unknown_deleted = more.unknown_deleted
        report.deleted += more.deleted
        report.deletions_left = more.deletions_left
        report.error, report.down, report.stopped = more.error, more.down, more.stopped
        report.why = report.why or more.why

    def _fail_while_running(self, error: AlreadyRunningError, as_json: bool) -> NoReturn:
        run = error.run
        if as_json:
            self.stdout.write(json.dumps({"outcome": "already_running", "started": run.started_at.isoformat()}))
        raise CommandError(
            f"Another run is under way since {sync_output.shown_time(run.started_at, '%Y-%m-%d %H:%M:%S')} "
            f"({run.phase}: {run.done} done). If it was killed, its place is free at "
            f"{sync_output.shown_time(run.lease_until, '%H:%M:%S')}.",
            returncode=ALREADY_RUNNING,
        ) from None

    def _fail_if_incomplete(self, report: SyncReport, due: bool) -> None:
        if not report.is_complete:
            advice = sync_output.advice((report.error, report.down, *report.errors)) or "run this again."
            raise CommandError(f"Something is left to do; {advice}", returncode=SOMETHING_LEFT)
        unusable = 0 if due else VerigatorUser.objects.without_usable_number().count()
        if unusable:
            raise CommandError(
                f"Nothing is left to do here, but {unusable} users have a number that cannot be used: they are asked "
                "for another one at their next login. Mend it where the site keeps it.",
                returncode=UNUSABLE_NUMBERS,
            )

    def _show_plan(self, plan: planning.Plan, as_json: bool) -> None:
        if as_json:
            self.stdout.write(json.dumps(sync_output.plan_data(plan)))
        else:
            for line in sync_output.plan_lines(plan):
                self.stdout.write(line)
        if plan.error:
            advice = sync_output.advice([plan.error])
            raise CommandError(
                f"The provider's list could not be read: {plan.error}{advice and f'; {advice}'}",
                returncode=SOMETHING_LEFT,
            )
        if not plan.is_empty:
            raise CommandError("Something is left to do.", returncode=SOMETHING_LEFT)
