"""A site in a temporary folder, and the sandbox in a process of its own."""

from __future__ import annotations

import contextlib
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

CREDENTIALS = ("bench", "bench")

RAISED_LIMITS = (
    "SENDS_PER_USER_HOUR",
    "SENDS_PER_PHONE_10_MINUTES",
    "SENDS_PER_PHONE_DAY",
    "SENDS_PER_ADDRESS_HOUR",
    "SENDS_PER_PREFIX_HOUR",
    "SENDS_PER_SITE_HOUR",
    "SENDS_PER_SITE_DAY",
    "STARTS_PER_USER_HOUR",
    "STARTS_PER_ADDRESS_HOUR",
)


def django(database: str = "sqlite3", **more: Any) -> None:
    """Configure Django with an SQLite file, or a database "verigator_bench" made anew on a local PostgreSQL; with the
    fastest hasher and the locmem provider. ``more`` are other settings."""
    folder = Path(tempfile.mkdtemp(prefix="verigator-bench-"))
    where = {"ENGINE": "django.db.backends.sqlite3", "NAME": str(folder / "bench.sqlite3")}
    if database == "postgresql":
        where = {"ENGINE": "django.db.backends.postgresql", "NAME": "verigator_bench"}
        where |= {"USER": "postgres", "HOST": "127.0.0.1"}
        for command in (["dropdb", "--if-exists"], ["createdb"]):
            subprocess.run([*command, "-h", "127.0.0.1", "-U", "postgres", where["NAME"]], check=True)
    from django.conf import settings

    defaults: dict[str, Any] = {
        "SECRET_KEY": "benchmarks only",
        "USE_TZ": True,
        "ALLOWED_HOSTS": ["*"],
        "ROOT_URLCONF": "benchmarks.urls",
        "DATABASES": {"default": where},
        "DEFAULT_AUTO_FIELD": "django.db.models.BigAutoField",
        "INSTALLED_APPS": [
            "django.contrib.auth",
            "django.contrib.contenttypes",
            "django.contrib.sessions",
            "django_verigator",
        ],
        "MIDDLEWARE": [
            "django.contrib.sessions.middleware.SessionMiddleware",
            "django.middleware.csrf.CsrfViewMiddleware",
            "django.contrib.auth.middleware.AuthenticationMiddleware",
            "django_verigator.middleware.VerigatorMiddleware",
        ],
        "TEMPLATES": [{"BACKEND": "django.template.backends.django.DjangoTemplates", "APP_DIRS": True}],
        "PASSWORD_HASHERS": ["django.contrib.auth.hashers.MD5PasswordHasher"],
        "LOGIN_URL": "verigator:login",
        "LOGIN_REDIRECT_URL": "/guarded/",
        "STATIC_URL": "static/",
        "LOGGING_CONFIG": None,
        "VERIGATOR": {
            "BACKENDS": {"default": {"BACKEND": "django_verigator.backends.locmem.LocMemBackend"}},
            "PHONE": "first_name",
            "STAND_IN": True,
            # The caps stay on and are counted; they are only wider than a thousand logins in a row.
            "LIMITS": dict.fromkeys(RAISED_LIMITS, 10**6),
        },
    }
    settings.configure(**{**defaults, **more})
    import django as package
    from django.core.management import call_command

    package.setup()
    call_command("migrate", verbosity=0)


@contextlib.contextmanager
def sandbox() -> Iterator[str]:
    """Run the sandbox in a process of its own, so that its work is not counted as the site's; yield its address."""
    username, password = CREDENTIALS
    command = [sys.executable, "-m", "django_verigator.sandbox", "--port", "0"]
    process = subprocess.Popen(
        [*command, "--username", username, "--password", password], stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        yield process.stdout.readline().split()[-1].rstrip("/")
    finally:
        process.terminate()
        process.wait(10)


def in_turn(rounds: int, *candidates: Callable[[], Any]) -> list[float]:
    """Run the candidates one after the other, many times; return the median seconds of each."""
    times: list[list[float]] = [[] for _ in candidates]
    for candidate in candidates:
        candidate()
    for _ in range(rounds):
        for place, candidate in enumerate(candidates):
            began = time.perf_counter()
            candidate()
            times[place].append(time.perf_counter() - began)
    return [statistics.median(column) for column in times]


def table(title: str, head: list[str], rows: list[list[str]]) -> None:
    print(title)
    widths = [max(len(row[place]) for row in [head, *rows]) for place in range(len(head))]
    for row in [head, ["-" * width for width in widths], *rows]:
        print("  " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    print()
