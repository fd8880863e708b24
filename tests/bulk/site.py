"""A site with many users and a database of its own, whose every piece of work runs in a process of its own.

Such a process is ``python -m tests.bulk.site WORK``, where WORK is one of the functions below; which site it is for
stands in the environment. What it finds out it prints as one line of JSON.
"""

from __future__ import annotations

import io
import json
import logging
import os
import resource
import subprocess
import sys
from dataclasses import dataclass, field
from datetime import timedelta
from importlib import import_module
from pathlib import Path
from typing import Any

import django
from django.apps import apps
from django.conf import settings
from django.core.management import CommandError, call_command

ROOT = Path(__file__).parent.parent.parent
PHONES_FROM = 55_000_000


@dataclass
class Site:
    """Attributes:
    database: name of a PostgreSQL database, or the path of an SQLite file.
    verigator: the setting VERIGATOR.
    settings: others to set; MORE_APPS is added to INSTALLED_APPS.
    lease: seconds that a registration is leased, where a site has 60: who kills a run twenty times does not want to
        wait so long for each. A call must not take longer than half of it.
    """

    database: str
    verigator: dict[str, Any]
    settings: dict[str, Any] = field(default_factory=dict)
    lease: float = 4

    @property
    def run_lease(self) -> float:
        return 1.5 * self.lease

    def start(self, work: str, *arguments: object, **more: Any) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "tests.bulk.site", work, *map(str, arguments)]
        return subprocess.Popen(command, cwd=ROOT, env=self.environment(), stdout=subprocess.PIPE, text=True, **more)

    def environment(self) -> dict[str, str]:
        return {**os.environ, "DJANGO_SETTINGS_MODULE": "tests.settings", "VERIGATOR_BULK": json.dumps(vars(self))}

    def do(self, work: str, *arguments: object) -> Any:
        process = self.start(work, *arguments)
        printed, _ = process.communicate(timeout=7200)
        if process.returncode:
            raise RuntimeError(f"{work} ended with {process.returncode}")
        return json.loads(printed.splitlines()[-1])


def configure() -> None:
    """Set Django up in this process, for the site that the environment describes."""
    if apps.ready:
        return
    site = Site(**json.loads(os.environ["VERIGATOR_BULK"]))
    is_file = "/" in site.database
    engine = "sqlite3" if is_file else "postgresql"
    options: dict[str, Any] = {"OPTIONS": {"timeout": 20}} if is_file else {"USER": "postgres", "HOST": "127.0.0.1"}
    options["NAME"] = site.database
    settings.DATABASES["default"] = {"ENGINE": f"django.db.backends.{engine}", **options}
    settings.VERIGATOR = site.verigator
    settings.LOGGING_CONFIG = None
    more = dict(site.settings)
    settings.INSTALLED_APPS = [*settings.INSTALLED_APPS, *more.pop("MORE_APPS", [])]
    for name, value in more.items():
        setattr(settings, name, value)
    # A line for each failure would be thousands.
    logging.getLogger("django_verigator").addHandler(logging.NullHandler())
    logging.getLogger("django_verigator").propagate = False
    django.setup()

    from django_verigator.records import registration
    from django_verigator.records.sync import run, stages

    registration.LEASE_SECONDS, run.LEASE_SECONDS, run.BEAT_SECONDS = site.lease, site.run_lease, 0.3
    stages._LEAST_LEASE = timedelta(seconds=site.lease / 2)


# --- works ------------------------------------------------------------------------------------------------------------


def make_users(count: int, start: int = 0) -> None:
    """Write users as bulk_create leaves them: no signal, no link; and the tables first, where they are missing."""
    from django.contrib.auth import get_user_model

    call_command("migrate", verbosity=0)
    user_model = get_user_model()
    for first in range(start, start + count, 5000):
        user_model.objects.bulk_create(
            user_model(username=f"u{number}", phone_number=f"+372{PHONES_FROM + number}")
            for number in range(first, min(first + 5000, start + count))
        )
    answer({})


def sync(*arguments: str) -> None:
    """Run ``verigator_sync`` and say how it ended, with the peak of its memory in MB."""
    out, code = io.StringIO(), 0
    try:
        call_command("verigator_sync", *arguments, "--json", stdout=out)
    except CommandError as error:
        code = error.returncode
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    answer({"code": code, "peak": round(peak, 1), "report": json.loads(out.getvalue() or "{}")})


def enqueue(app: str = "") -> None:
    """Run ``verigator_sync --enqueue``; ``app`` is the module of a Celery app."""
    if app:
        import_module(app)
    sync("--enqueue")


def db_worker() -> None:
    """What ``manage.py db_worker`` does."""
    call_command("db_worker", "--interval", "0.1", "--no-startup-delay")


def check() -> None:
    """Compare what is stored here with what is stored there, row by row."""
    from django.db.models import Count

    from django_verigator.backends import backends
    from django_verigator.models import RemoteDeletion, VerigatorUser

    links = {
        user_id: (name, username)
        for user_id, name, username in VerigatorUser.objects.exclude(verigator_id=None).values_list(
            "verigator_id", "id_in_service", "user__username"
        )
    }
    there = {}
    twice = 0
    users_there: set[str] = set()
    for record in backends.default.users():
        there[record.user_id] = record.id_in_service
        username = record.id_in_service.rpartition("-")[0]
        twice += username in users_there
        users_there.add(username)
    states = dict(VerigatorUser.objects.values_list("state").annotate(Count("pk")).order_by())
    answer(
        {
            "states": states,
            "links": VerigatorUser.objects.count(),
            "there": len(there),
            "twice": twice,
            "lost": len(links.keys() - there.keys()),
            "left_over": len(there.keys() - links.keys()),
            "different": sum(there.get(user_id) != name for user_id, (name, _) in links.items()),
            "somebody_elses": sum(name.rpartition("-")[0] != username for name, username in links.values()),
            "leased": VerigatorUser.objects.exclude(leased_until=None).count(),
            "deletions": RemoteDeletion.objects.count(),
        }
    )


def answer(found: dict[str, Any]) -> None:
    print(json.dumps(found), flush=True)


if __name__ == "__main__":
    configure()
    name, *given = sys.argv[1:]
    {
        "make_users": lambda *a: make_users(*map(int, a)),
        "sync": sync,
        "enqueue": enqueue,
        "db_worker": db_worker,
        "check": check,
    }[name](*given)
