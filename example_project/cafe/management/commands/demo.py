from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from io import StringIO
from itertools import chain
from typing import Any
from urllib.parse import urlsplit

import requests
from django.conf import settings
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.test.utils import override_settings

from django_verigator.backends import backends
from django_verigator.exceptions import VerigatorError
from django_verigator.sandbox import Sandbox, SandboxError

from ...demo import down, people, provider, walk
from ...demo import outage as outages
from ...demo.site import HOST, Site

PORT = 8000
SANDBOX_PORT = 8750


class Command(BaseCommand):
    help = (
        "Show the second step: prepare the database, start the sandbox as provider, walk one login over HTTP and tell "
        "each step; then serve the site and the phone until Ctrl-C."
    )
    # The service whose id the settings wait for is made here.
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--port", type=int, help=f"the site's port ({PORT}; with --no-serve any free one)")
        parser.add_argument(
            "--sandbox-port", type=int, help=f"the sandbox's port ({SANDBOX_PORT}; with --no-serve any free one)"
        )
        parser.add_argument(
            "--no-serve", action="store_true", help="end after the walk: exit code 0, or 1 if a step failed"
        )
        parser.add_argument(
            "--provider",
            choices=list(provider.KINDS),
            default="verigator",
            help="what the sandbox plays, with the backend for it (verigator)",
        )
        parser.add_argument(
            "--provider-down",
            action="store_true",
            help="see what holds while the provider answers 503; it does so again when the site is served",
        )
        parser.add_argument(
            "--outage", action="store_true", help="walk through an outage: one provider fails, then the other; then end"
        )

    def handle(self, *args: Any, no_serve: bool, provider_down: bool, outage: bool, **options: Any) -> None:
        kind = provider.KINDS["verigator" if outage else options["provider"]]
        _refuse_real_service()
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, signal.default_int_handler)  # ends as Ctrl-C does
        port, sandbox_port = options["port"], options["sandbox_port"]
        no_serve = no_serve or outage
        passed = True
        try:
            with ExitStack() as stack:
                site = _open_site(_default(port, 0 if no_serve else PORT))
                stack.callback(site.stop)
                sandbox = _open_sandbox(_default(sandbox_port, 0 if no_serve else SANDBOX_PORT))
                stack.enter_context(sandbox)
                self._prepare(kind, sandbox, site, stack)
                site.start()
                if outage:
                    passed = self._walk_through_outage(site, sandbox)
                elif provider_down:
                    passed = self._walk_while_down(site, sandbox)
                else:
                    passed = self._walk(site, sandbox)
                if not no_serve:
                    if provider_down:
                        self._put_down(sandbox)
                    self._serve(site, sandbox)
        except KeyboardInterrupt:
            self._say("\nStopped.")
        if not passed:
            raise CommandError("A step of the walk failed.")

    def _prepare(self, kind: provider.Kind, sandbox: Sandbox, site: Site, stack: ExitStack) -> None:
        """Make a login possible, whatever an earlier start has left."""
        call_command("migrate", verbosity=0, interactive=False)
        try:
            setting = kind.setting(sandbox, site.url)
        except VerigatorError as error:
            raise CommandError(f"The sandbox did not make a service: {error}") from None
        # The address and the service are known only now, so the setting is replaced as tests do it.
        stack.enter_context(override_settings(VERIGATOR=setting))
        people.prepare()
        self._sync()  # repairs whom a new sandbox file does not know
        self._say(f"The provider: {kind.title}, as the sandbox plays it\n")

    def _sync(self) -> None:
        try:
            call_command("verigator_sync", stdout=StringIO(), stderr=StringIO())
        except CommandError:
            self._say('Some users are not registered; "manage.py verigator_status" tells more.')

    def _walk(self, site: Site, sandbox: Sandbox) -> bool:
        self._say("One login over HTTP, step by step:\n")
        with people.walker() as user:
            steps = walk.steps(site.url, sandbox, user)
            if backends.default.keeps_users:
                steps = chain(walk.registration_steps(sandbox, user), steps)
            passed = self._tell(steps)
        if passed:
            self._sync()  # has the walker deleted at the provider too
        return passed

    def _walk_while_down(self, site: Site, sandbox: Sandbox) -> bool:
        self._say("A provider that answers 503 for a while, step by step:\n")
        with people.walker() as user:
            passed = self._tell(down.steps(site.url, sandbox, user))
        sandbox.clear_faults()  # those of a step that failed
        self._sync()
        return passed

    def _put_down(self, sandbox: Sandbox) -> None:
        down.put_down(sandbox)
        self._say(f"\nThe provider answers 503 again, until: curl -X DELETE {sandbox.url}/_sandbox/faults")

    def _walk_through_outage(self, site: Site, sandbox: Sandbox) -> bool:
        port = urlsplit(sandbox.url).port or 0
        with outages.open_reserve() as reserve, people.walker() as user:
            self._say("An outage, step by step:\n")
            with override_settings(VERIGATOR=outages.two_providers(sandbox, reserve, site.url)):
                return self._tell(outages.steps(site.url, sandbox, reserve, lambda: provider.open_sandbox(port), user))

    def _tell(self, steps: Iterator[str]) -> bool:
        try:
            for step in steps:
                self._say(f"  {self.style.SUCCESS('ok')}      {step}")
        except (walk.StepFailedError, requests.RequestException) as failure:
            self._say(f"  {self.style.ERROR('FAILED')}  {failure}")
            return False
        return True

    def _serve(self, site: Site, sandbox: Sandbox) -> None:
        self._say(f"\nThe site:   {site.url}/\nThe phone:  {sandbox.url}/  (its messages; nothing is really sent)\n")
        self._say(f'Sign in with the password "{people.PASSWORD}" as')
        for person in people.PEOPLE:
            self._say(f"  {person.username:8} {person.phone_number or 'no phone':14} {person.about}")
        self._say("\nStop with Ctrl-C.")
        site.wait()

    def _say(self, text: str) -> None:
        self.stdout.write(f"{text}\n")  # the wrapper would leave out a line's end behind another
        self.stdout.flush()


def _refuse_real_service() -> None:
    if not settings.USES_SANDBOX:
        raise CommandError(
            "The environment names a provider (VERIGATOR_...), and the demo would have it send real messages. Unset "
            "these variables to see the demo, or start this site with manage.py runserver."
        )
    if not settings.DEBUG:
        raise CommandError("The demo is for development, and DEBUG is off: its sandbox shows every PIN to everybody.")


def _default(given: int | None, default: int) -> int:
    return default if given is None else given


def _open_site(port: int) -> Site:
    try:
        return Site(port)
    except (OSError, OverflowError) as error:
        raise CommandError(f"Cannot use {HOST} port {port}: {_why(error)}. Choose another with --port.") from None


def _open_sandbox(port: int) -> Sandbox:
    try:
        return provider.open_sandbox(port)
    except SandboxError as error:
        raise CommandError(f"Sandbox: {error}. (--sandbox-port chooses another port.)") from None


def _why(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)
