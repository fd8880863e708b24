from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from django.core.cache import cache
from django.db import OperationalError, connection, models
from django.test import Client
from django.test.utils import isolate_apps

from django_verigator.backends import circuit, locmem

PASSWORD = "correct horse"
PHONE = "+37255500067"
WRONG_PIN = "0000"  # no stand-in sends it


@pytest.fixture(autouse=True)
def _clean() -> None:
    locmem.reset()
    circuit.reset()
    cache.clear()


@pytest.fixture
def alice(db: None, django_capture_on_commit_callbacks: Any, django_user_model: Any) -> Any:
    """A user with a phone, registered at the provider."""
    with django_capture_on_commit_callbacks(execute=True):
        return django_user_model.objects.create_user("alice", password=PASSWORD, phone_number=PHONE)


@pytest.fixture
def carol(db: None, django_user_model: Any) -> Any:
    """A user without a phone."""
    return django_user_model.objects.create_user("carol", password=PASSWORD)


@pytest.fixture
def plain_user() -> Any:
    """A user of the least model that Django allows: no groups, no is_staff, no email_user(). Stored nowhere."""
    # Here, since this file is a plugin that is read before the apps are.
    from django.contrib.auth.base_user import AbstractBaseUser

    with isolate_apps("tests.site"):

        class Plain(AbstractBaseUser):
            contact = models.EmailField(unique=True)
            USERNAME_FIELD = EMAIL_FIELD = "contact"

            class Meta:
                app_label = "site"

    return Plain(pk=1, contact="plain@example.com")


@pytest.fixture
def lose_table() -> Iterator[Callable[[type[models.Model]], None]]:
    """Has a model ask for a table that is not there, until the test is over."""
    with ExitStack() as undo:

        def lose(model: type[models.Model]) -> None:
            forget_columns(model)
            undo.callback(forget_columns, model)
            undo.callback(setattr, model._meta, "db_table", model._meta.db_table)
            model._meta.db_table = "not_migrated"

        yield lose


def forget_columns(model: type[models.Model]) -> None:
    # Each field keeps the name of its table.
    for field in model._meta.fields:
        field.__dict__.pop("cached_col", None)


@pytest.fixture
def browser() -> Client:
    return Client(enforce_csrf_checks=False)


def give_password(client: Client, username: str = "alice", **extra: Any) -> Any:
    return client.post("/accounts/login/", {"username": username, "password": PASSWORD, **extra})


def sent_pin() -> str:
    return locmem.outbox[-1].pin


def writes(sql: str, verb: str = r"INSERT INTO|UPDATE|DELETE FROM", table: str = r"\w+", setting: str = "") -> bool:
    """Whether a statement, or a step of one (PostgreSQL's WITH), writes to a table of the app.

    Args:
        setting: a column to which an UPDATE gives a value.
    """
    table = rf"""["`]django_verigator_{table}["`]"""
    value = rf"""\sSET\s(?:(?!\sWHERE\s).)*["`]{setting}["`]""" if setting else ""
    return re.search(rf"(?:^|\()(?:{verb}) {table}{value}", sql) is not None


def deadlock() -> OperationalError:
    """Return the error by which the database in use tells of a deadlock, or of what it has in its place."""
    if connection.vendor == "mysql":
        return OperationalError(1213, "Deadlock found when trying to get lock; try restarting transaction")
    if connection.vendor == "sqlite":
        return OperationalError("database is locked")
    error = OperationalError("deadlock detected")
    error.__cause__ = connection.Database.errors.DeadlockDetected()  # type: ignore[attr-defined]
    return error


@pytest.fixture
def aalice(transactional_db: None, django_user_model: Any) -> Any:
    """Alice, for tests that run in an event loop."""
    return django_user_model.objects.create_user("alice", password=PASSWORD, phone_number=PHONE)


@pytest.fixture
def pins(request: pytest.FixtureRequest, settings: Any) -> None:
    """Whose the PINs are: the provider's, or our own."""
    if getattr(request, "param", "") == "own_pins":
        settings.VERIGATOR = {
            **settings.VERIGATOR,
            "BACKENDS": {"default": {"BACKEND": "tests.gateway.OutboxBackend"}},
        }


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run what a file that uses ``pins`` tries of the rows about PINs, texts and leaks with PINs of our own too."""
    rows = {row for mark in metafunc.definition.iter_markers("threat") for row in mark.args if row[0] in "CDEF"}
    asked = metafunc.definition.get_closest_marker("asks_provider")
    if rows and asked is None and "pins" in metafunc.fixturenames:
        metafunc.parametrize("pins", ["provider", "own_pins"], indirect=True)


def pytest_itemcollected(item: pytest.Item) -> None:
    """Let ``-k C02`` choose the tests that carry this id in a marker."""
    for marker in ("threat", "fault"):
        for mark in item.iter_markers(marker):
            item.extra_keyword_matches.update(mark.args)


# --- fast and thorough ------------------------------------------------------------------------------------------------

# What takes long, or starts programs and servers of its own; a test's own marker goes before its folder's.
THOROUGH = (
    *("attacks", "browser", "bulk", "contract", "contrib", "example", "faults", "crashes", "neighbours", "network"),
    *("official", "package", "races", "scale", "servers", "stateful"),
    *(f"client/test_client_{name}.py" for name in ("limits", "patched", "reuse", "stream", "words")),
    *("docs/test_snippets.py", "sandbox/test_phone_page_in_browser.py", "test_provider_faults.py"),
)
_HERE = Path(__file__).parent


@pytest.hookimpl(tryfirst=True)  # before -m chooses
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    thorough = [_HERE / name for name in THOROUGH]
    for item in items:
        if not {"fast", "thorough"} & {mark.name for mark in item.iter_markers()}:
            item.add_marker("thorough" if any(item.path.is_relative_to(path) for path in thorough) else "fast")


# --- what a run did not try -------------------------------------------------------------------------------------------

SERVERS = {"postgresql": "PostgreSQL", "mariadb": "MariaDB"}
# What some tests need and the "test" extra does not bring: a module or a program, and what is left out without it.
OPTIONAL = {
    "playwright": "browser tests (no Playwright)",
    "chromium": "browser tests (no chromium on the PATH)",
    "celery": "registrations on Celery (no Celery)",
    "django_tasks_db": "registrations in a worker of Django's tasks (no django-tasks-db)",
    "gunicorn": "logins on gunicorn (extra servers)",
    "gevent": "logins on gunicorn's gevent workers (extra servers)",
    "uvicorn": "logins on uvicorn (extra servers)",
    "messente_api": "Messente's and Twilio's own clients against the sandbox (extra official)",
    "importlinter": "the layers of imports (no import-linter)",
    "msgfmt": "the translations (no gettext)",
}


def left_out() -> list[str]:
    chosen = os.environ.get("VERIGATOR_TEST_DATABASE", "sqlite")
    missing = [what for name, what in OPTIONAL.items() if not (find_spec(name) or shutil.which(name))]
    servers = [f"{title} (VERIGATOR_TEST_DATABASE={name})" for name, title in SERVERS.items() if name != chosen]
    others = "sites with other packages (python -m tests.neighbours)"
    return [*missing, *servers, others, "the provider's live service (only the sandbox was there to talk to)"]


def pytest_terminal_summary(terminalreporter: Any) -> None:
    terminalreporter.section("what this run did not try", sep="-")
    terminalreporter.line("Left out:")
    if chosen := terminalreporter.config.option.markexpr:
        terminalreporter.line(f'  tests that are not "{chosen}" (without -m all are run; tests/README.md)')
    for what in left_out():
        terminalreporter.line(f"  {what}")
