from __future__ import annotations

import json
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any

from django.core.management.base import CommandError, CommandParser

from django_verigator import conf
from django_verigator.exceptions import NoSuchServiceError, WrongCredentialsError
from django_verigator.management.saying import SayingCommand
from django_verigator.management.users import agree

from ...models import VerigatorUser
from ...records import sync
from ...records.sync import planning, report
from ...records.sync.run import AlreadyRunningError, Progress

WIDTH = 30
PLAIN_SECONDS = 10.0
"""How often a line says how far the run is where there is no terminal."""
TERMINAL_SECONDS = 0.2
TO_MEND = {
    WrongCredentialsError.reason: 'the provider refuses the credentials: mend "username" and "password" in BACKENDS.',
    NoSuchServiceError.reason: 'the provider has no such service: mend "service_id" in BACKENDS.',
}
LIST_IT = "for that, list the entry of BACKENDS whose provider keeps user records, as the last one"
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

    def handle(
        self,
        *args: Any,
        dry_run: bool,
        due: bool,
        workers: int | None,
        as_json: bool,
        fix_unknown: bool,
        interactive: bool,
        enqueue: bool,
        **options: Any,
    ) -> None:
        self._as_json = as_json
        if dry_run:
            self._show_plan(planning.plan())
            return
        if workers is not None and not 1 <= workers <= conf.MOST_WORKERS:
            raise CommandError(f"--workers takes a number from 1 to {conf.MOST_WORKERS}.")
        if fix_unknown and due:
            raise CommandError("--fix-unknown needs the provider's list, which --due does not read.")
        if fix_unknown and interactive and not sys.stdin.isatty():
            raise CommandError("--fix-unknown asks before it deletes; without a terminal it takes --noinput.")
        began = time.monotonic()
        try:
            with _signals() as stop, _ProgressLines(self) as progress:
                report = sync.sync_all(
                    progress.show,
                    due_only=due,
                    workers=workers,
                    stop=stop,
                    enqueue=self._batches() if enqueue else None,
                )
            if fix_unknown and report.unknown and not (report.error or report.stopped or report.down):
                self._delete_unknown(report, workers, interactive)
        except AlreadyRunningError as error:
            self._already_running(error)
        self._show(report, time.monotonic() - began)
        if not report.is_complete:
            advice = next(
                (TO_MEND[error] for error in (report.error, report.down, *report.errors) if error in TO_MEND),
                "run this again.",
            )
            raise CommandError(f"Something is left to do; {advice}", returncode=SOMETHING_LEFT)
        unusable = 0 if due else VerigatorUser.objects.without_usable_number().count()
        if unusable:
            raise CommandError(
                f"Nothing is left to do here, but {unusable} users have a number that cannot be used: they are asked "
                "for another one at their next login. Mend it where the site keeps it.",
                returncode=UNUSABLE_NUMBERS,
            )
        if not as_json:
            self.say(self.style.SUCCESS("Everything is in order."))

    def _batches(self) -> Callable[[list[int]], object]:
        batch = getattr(conf.resolve(conf.current().DISPATCHER), "batch", None)
        if batch is None:
            raise CommandError("The DISPATCHER takes no batches; django_verigator.contrib has two that do.")
        return batch  # type: ignore[no-any-return]

    def _delete_unknown(self, report: report.SyncReport, workers: int | None, interactive: bool) -> None:
        if interactive:
            self.stderr.write(
                f"The provider has {report.unknown} records that nothing here knows. If another site uses the same "
                "service, they are its users."
            )
            if not agree(self.stderr, f"Delete these {report.unknown} records at the provider?"):
                self.stderr.write("Nothing of that was deleted.")
                return
        with _signals() as stop, _ProgressLines(self) as progress:
            more = sync.delete_unknown(report.unknown, progress.show, workers=workers, stop=stop)
        report.unknown_deleted = more.unknown_deleted
        report.deleted += more.deleted
        report.deletions_left = more.deletions_left
        report.error, report.down, report.stopped = more.error, more.down, more.stopped
        report.why = report.why or more.why

    def _already_running(self, error: AlreadyRunningError) -> None:
        run = error.run
        if self._as_json:
            self.stdout.write(json.dumps({"outcome": "already_running", "started": run.started_at.isoformat()}))
        raise CommandError(
            f"Another run is under way since {_shown(run.started_at, '%Y-%m-%d %H:%M:%S')} ({run.phase}: {run.done} "
            f"done). If it was killed, its place is free at {_shown(run.lease_until, '%H:%M:%S')}.",
            returncode=ALREADY_RUNNING,
        ) from None

    def _show(self, report: report.SyncReport, seconds: float) -> None:
        if self._as_json:
            self._show_json(report, seconds)
            return
        for outcome, count in report.counts.items():
            if count:
                self.say(f"{outcome.value}: {count}")
        if report.handed_over:
            self.say(f"handed to the task queue: {report.handed_over}")
        if report.deleted:
            self.say(f"deleted at the provider: {report.deleted}")
        if report.deletions_left:
            self.say(f"still to be deleted at the provider: {report.deletions_left}")
        if report.deletions_parked:
            self.say(f"to be deleted at a provider that is not listed: {report.deletions_parked} ({LIST_IT})")
        if report.unknown:
            self.say(f"known to the provider, unknown here: {report.unknown}")
        if report.unknown_deleted:
            self.say(f"of these to be deleted: {report.unknown_deleted}")
        if report.proposals:
            self.say(f"numbers changed on the site, not confirmed by their users: {report.proposals}")
        for name, error in report.failures:
            self.stderr.write(f"not registered: {name} ({error})")
        if report.failed > len(report.failures):
            self.stderr.write(f"not registered: {report.failed - len(report.failures)} more")
            for error, count in report.errors.most_common():
                self.stderr.write(f"  {error}: {count}")
        if report.unchecked:
            self.stderr.write(f"not in the provider's list, and not to be asked for: {report.unchecked}")
        if report.error:
            self.stderr.write(f"the provider's list could not be read: {report.error}")
        if report.why:
            self.stderr.write(f"the provider could not be reached ({report.why})")
        if report.down:
            self.stderr.write(f"the provider does not answer ({report.down}): the rest is left to a later run")
        elif report.stopped:
            self.stderr.write("stopped; what was under way is done, the rest is left to a later run")

    def _show_json(self, report: report.SyncReport, seconds: float) -> None:
        data = {
            "outcome": report.outcome.value,
            "counts": report.as_counts(),
            "errors": dict(report.errors),
            "failures": [{"username": name, "error": error} for name, error in report.failures],
            "list_error": report.error,
            "provider_down": report.down,
            "why": report.why,
            "seconds": round(seconds, 1),
        }
        self.stdout.write(json.dumps(data))

    def _show_plan(self, plan: planning.Plan) -> None:
        counts = {
            "users without a link": plan.missing_links,
            "numbers of the site not taken over yet": plan.not_taken_over,
            "waiting to be registered": plan.waiting,
            "lost by the provider": plan.lost,
            "to be deleted at the provider": plan.deletions,
            f"to be deleted at a provider that is not listed ({LIST_IT})": plan.deletions_parked,
            "known to the provider, unknown here": plan.unknown,
        }
        if self._as_json:
            plain = {"missing_links": plan.missing_links, "not_taken_over": plan.not_taken_over}
            plain |= {"waiting": plan.waiting, "lost": plan.lost, "deletions": plan.deletions, "unknown": plan.unknown}
            plain |= {"deletions_parked": plan.deletions_parked}
            self.stdout.write(json.dumps({"dry_run": plain, "list_error": plan.error}))
        else:
            for name, count in counts.items():
                self.stdout.write(f"{name}: {count}")
        if plan.error:
            advice = f"; {TO_MEND[plan.error]}" if plan.error in TO_MEND else ""
            raise CommandError(
                f"The provider's list could not be read: {plan.error}{advice}", returncode=SOMETHING_LEFT
            )
        if not plan.is_empty:
            raise CommandError("Something is left to do.", returncode=SOMETHING_LEFT)


def _shown(moment: datetime, form: str) -> str:
    # With USE_TZ off it is the server's time, which goes without a name.
    return f"{moment:{form} %Z}".rstrip()


@contextmanager
def _signals() -> Iterator[threading.Event]:
    """An event that the first SIGINT or SIGTERM sets; a second one ends the process."""
    stop = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def handle(number: int, frame: Any) -> None:
        stop.set()
        # Not what was there before: a shell has SIGINT ignored by what it starts in the background.
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)

    for number in before:
        signal.signal(number, handle)
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class _ProgressLines:
    """A line that moves on a terminal; elsewhere one now and then. On stderr, so that stdout is the report's."""

    def __init__(self, command: Command) -> None:
        self._err = command.stderr
        self._quiet = command._quiet
        self._is_terminal = self._err.isatty()
        self._shown_at = time.monotonic()
        self._is_open = False

    def __enter__(self) -> _ProgressLines:
        return self

    def __exit__(self, *error: object) -> None:
        if self._is_open:
            self._err.write("")

    def show(self, progress: Progress) -> None:
        now = time.monotonic()
        if self._quiet or now - self._shown_at < (TERMINAL_SECONDS if self._is_terminal else PLAIN_SECONDS):
            return
        self._shown_at = now
        text = _describe(progress)
        if self._is_terminal:
            self._err.write(f"\r{_bar(progress)}{text}\x1b[K", style_func=str, ending="")
            self._err.flush()
            self._is_open = True
        else:
            self._err.write(text, style_func=str)


def _bar(progress: Progress) -> str:
    if not progress.total:
        return ""
    filled = min(WIDTH, WIDTH * progress.done // progress.total)
    return f"[{'#' * filled}{'.' * (WIDTH - filled)}] "


def _describe(progress: Progress) -> str:
    of = f" of {progress.total}" if progress.total else ""
    text = f"{progress.phase.label}: {progress.done}{of}, {progress.rate:.0f}/s"
    if progress.seconds_left is not None and progress.total:
        minutes, seconds = divmod(int(progress.seconds_left), 60)
        text += f", {minutes}:{seconds:02} left"
    return text
