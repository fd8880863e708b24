"""What CI runs, and anybody by hand. ``nox -l`` lists it, ``nox`` runs all that is marked with a star there.

    nox -s lint
    nox -s "tests(py311-django52)" -- tests/client    # words behind "--" go to pytest

What is not here (a Python, a database server, a browser) is left out, with the reason; where CI is set, as hosted CI
has it, that is an error. PYTEST_XDIST_AUTO_NUM_WORKERS says over how many processes a suite is spread.
"""

from __future__ import annotations

import os
import re
import secrets
import shutil
import subprocess
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import nox
from nox.command import CommandFailed

nox.options.default_venv_backend = "virtualenv"
nox.options.download_python = "never"
nox.options.reuse_existing_virtualenvs = True

PROJECT = nox.project.load_toml("pyproject.toml")["project"]


def is_here(python: str) -> bool:
    """Whether it can be run: a stand-in of pyenv on PATH may be of a version that is switched off."""
    program = shutil.which(f"python{python}")
    return program is not None and subprocess.run([program, "-V"], capture_output=True, check=False).returncode == 0


def pair(python: str, django: str) -> nox.param:
    return nox.param(python, django, id=f"py{python.replace('.', '')}-django{django.replace('.', '')}")


# Every Python that Django itself supports with it.
SUPPORTED = {"5.2": ("3.10", "3.11", "3.12", "3.13"), "6.0": ("3.12", "3.13", "3.14"), "6.1": ("3.12", "3.13", "3.14")}
ALL = [pair(python, django) for django, pythons in SUPPORTED.items() for python in pythons]
OLD = ("3.11", "5.2")  # the LTS
NEW = (next((python for python in reversed(SUPPORTED["6.1"]) if is_here(python)), "3.14"), "6.1")
BOTH = [pair(*OLD), pair(*NEW)]
BETWEEN = [pair("3.10", "5.2"), pair("3.12", "6.0")]
COVERED = 97  # percent of lines and branches that the whole suite reaches on OLD and SQLite, rounded down
# What is tried on one of them alone.
PYTHON, DJANGO = OLD if is_here(OLD[0]) else NEW

# Both servers on both where there are machines enough; elsewhere each on one, which keeps .ci/run at half an hour.
ON_SERVERS = [f"{server}({both.id})" for both in BOTH for server in ("postgresql", "mariadb")]
if "CI" not in os.environ:
    ON_SERVERS = [f"postgresql({BOTH[is_here(NEW[0])].id})", f"mariadb({BOTH[0].id})"]
# What is not here runs by its name alone. All run in the order in which they stand below, long ones first.
nox.options.sessions = [
    *(f"tests({both.id})" for both in BOTH),
    *ON_SERVERS,
    *("short", "neighbours", "readme_test", "servers", "browser", "official", "lint", "readme_run"),
]


# --- what the sessions share ------------------------------------------------------------------------------------------


def leave_out(session: nox.Session, reason: str) -> None:
    (session.error if "CI" in os.environ else session.skip)(reason)


def install(session: nox.Session, django: str, *extras: str, optional: tuple[str, ...] = ()) -> None:
    """Install what the project needs and not itself: the tests run from its folder, and sessions beside each other.

    An ``optional`` extra may be missing, as a driver is that cannot be built here; its tests leave themselves out.
    """
    named = PROJECT["optional-dependencies"]
    wanted = [f"Django~={django}.0", *PROJECT["dependencies"], *(line for extra in extras for line in named[extra])]
    session.install(*wanted)
    for extra in optional:
        try:
            session.install(*wanted, *named[extra])
        except CommandFailed:
            if "CI" in os.environ:
                raise
            print(f"LEFT OUT what needs the extra {extra}: it cannot be installed")
    # So that no session runs on something else than its name says.
    session.run("python", "-m", "tests.running_on", str(session.python), django)


def workers(django: str) -> tuple[str, ...]:
    """The extras of tests that start workers, or see the client wait in them; Celery and gevent on the LTS alone."""
    return ("celery", "tasks", "servers") if django == OLD[1] else ("tasks",)


def pytest(session: nox.Session, *arguments: str, **env: str) -> None:
    session.run("python", "-m", "pytest", "-q", *arguments, *session.posargs, env=env)


def pytest_without_skips(session: nox.Session, *arguments: str) -> None:
    """Run tests of which none may leave itself out, since all that they need is here."""
    report = Path(session.create_tmp(), "junit.xml")
    pytest(session, f"--junit-xml={report}", *arguments)
    (suite,) = ElementTree.parse(report).getroot()
    if suite.get("skipped") != "0":
        session.error("a test was skipped, and none may be")


def trouble_with(session: nox.Session, server: str) -> str:
    """Why the tests cannot use a database server; "" where they can."""
    command = [str(Path(session.bin, "python")), "-m", "tests.running_on", server]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    print(answer.stdout, end="", flush=True)
    return f"at 127.0.0.1, {answer.stderr.strip()}" if answer.returncode else ""


def readme_command(session: nox.Session, title: str) -> str:
    """The command line in the first console block of a section of the README (tests/docs holds that it is one)."""
    text = Path("README.md").read_text(encoding="utf-8")
    found = re.search(rf"^## {title}\n.*?^```console\n([^\n]+)\n```$", text, re.MULTILINE | re.DOTALL)
    if found is None:
        session.error(f"README.md has no single command line under {title!r}")
    return found[1]


def go_to_copy(session: nox.Session) -> None:
    """Go to a copy of the tree, as a fresh clone would be: the commands of the README make an environment in it."""
    copy = Path(session.create_tmp(), "clone")
    shutil.rmtree(copy, ignore_errors=True)
    made = ("__pycache__", "*.egg-info", "*.sqlite3*", "build", "dist", "staticfiles", "test-results", ".*_cache")
    shutil.copytree(".", copy, ignore=shutil.ignore_patterns(".git", ".nox", ".venv", ".hypothesis", *made))
    session.chdir(copy)


# --- sessions ---------------------------------------------------------------------------------------------------------


@nox.session
@nox.parametrize("python, django", ALL)
def tests(session: nox.Session, django: str) -> None:
    """The whole suite on SQLite."""
    install(session, django, "test", "lint", optional=workers(django))
    arguments = ["-n", "auto", "-m", "not browser", "--ignore=tests/servers"]
    # Coverage is measured on this one, and on all of it.
    if (session.python, django) == OLD and not session.posargs:
        arguments += ["--cov", "--cov-report=term:skip-covered", f"--cov-fail-under={COVERED}"]
    pytest(session, *arguments)


def suite_on(session: nox.Session, django: str, server: str) -> None:
    try:
        install(session, django, "test", server, optional=workers(django))
    except CommandFailed:
        if "CI" in os.environ:
            raise
        session.skip("its driver cannot be installed")
    if reason := trouble_with(session, server):
        leave_out(session, reason)
    # These hold no test that asks the site's database.
    elsewhere = ("browser", "client", "docs", "package", "sandbox", "servers")
    options = [f"--ignore=tests/{folder}" for folder in elsewhere]
    # Two suites on one server have a database each.
    name = f"verigator_py{session.python}_django{django}".replace(".", "")
    env = {"VERIGATOR_TEST_DATABASE": server, "VERIGATOR_TEST_NAME": name}
    pytest(session, "-n", "auto", "-m", "not browser", *options, **env)


@nox.session
@nox.parametrize("python, django", BOTH)
def postgresql(session: nox.Session, django: str) -> None:
    """The suite on the PostgreSQL at 127.0.0.1."""
    suite_on(session, django, "postgresql")


@nox.session
@nox.parametrize("python, django", BOTH)
def mariadb(session: nox.Session, django: str) -> None:
    """The suite on the MariaDB at 127.0.0.1."""
    suite_on(session, django, "mariadb")


@nox.session
@nox.parametrize("python, django", BETWEEN)
def short(session: nox.Session, django: str) -> None:
    """What a version of Python or Django breaks shows here; what takes long is left to the oldest and the newest."""
    install(session, django, "test")
    folders = ("client", "sandbox", "syncing", "faults", "package")
    paths = [*sorted(map(str, Path("tests").glob("test_*.py"))), *(f"tests/{folder}" for folder in folders)]
    pytest(session, "-n", "auto", "-m", "not browser", *paths)


@nox.session(python=NEW[0])
def neighbours(session: nox.Session) -> None:
    """Sites with other people's packages, at their newest versions, in environments of their own."""
    session.run("python", "-m", "tests.running_on", NEW[0])
    session.run("python", "-m", "tests.neighbours", "--install", session.create_tmp(), *session.posargs)


@nox.session(venv_backend="none")
def readme_test(session: nox.Session) -> None:
    """The command under "Test it" in the README, in a copy of the tree."""
    command = readme_command(session, "Test it")
    go_to_copy(session)
    said = session.run("bash", "-c", command, external=True, silent=True)
    print(said)
    if "\nLeft out" not in said:
        session.error("it does not say what it left out")


@nox.session(python=PYTHON)
def servers(session: nox.Session) -> None:
    """Twenty logins at once on gunicorn and uvicorn."""
    install(session, DJANGO, "test", "servers")
    only = []
    if reason := trouble_with(session, "postgresql"):
        if "CI" in os.environ:
            session.error(reason)
        print(f"LEFT OUT gunicorn on PostgreSQL: {reason}")
        only = ["-k", "not PostgreSQL"]
    pytest_without_skips(session, "tests/servers", *only)


@nox.session(python=PYTHON)
def browser(session: nox.Session) -> None:
    """The tests that drive Chromium."""
    if shutil.which("chromium") is None:
        leave_out(session, "there is no chromium on the PATH")
    install(session, DJANGO, "test", "browser")
    pytest_without_skips(session, "-m", "browser", "tests/browser", "tests/sandbox")


@nox.session(python=PYTHON)
def official(session: nox.Session) -> None:
    """The providers' own clients, unmodified, against the sandbox."""
    install(session, DJANGO, "test", "official")
    # A test file leaves itself out without its client.
    session.run("python", "-c", "import messente_api, messente.api.sms, twilio")
    pytest_without_skips(session, "tests/official")


@nox.session(python=PYTHON)
def lint(session: nox.Session) -> None:
    """Style, types, layers, migrations, and the example site as a real one would run it."""
    install(session, DJANGO, "test", "lint")
    # Everything from the environment, and nothing to complain about.
    deployed = {
        "SECRET_KEY": secrets.token_urlsafe(60),
        "ALLOWED_HOSTS": "cafe.example",
        "DATABASE_URL": "sqlite:////srv/cafe/db.sqlite3",
        "VERIGATOR_USERNAME": "cafe",
        "VERIGATOR_PASSWORD": "of-the-provider",
        "VERIGATOR_SERVICE_ID": "of-the-provider",
    }
    example = ("python", "example_project/manage.py")
    commands: list[tuple[tuple[str, ...], dict[str, str]]] = [
        (("ruff", "check", "."), {}),
        (("ruff", "format", "--check", "."), {}),
        (("mypy",), {}),
        (("lint-imports",), {}),
        (("python", "-m", "django", "makemigrations", "--check", "--dry-run", "--settings=tests.settings"), {}),
        ((*example, "makemigrations", "--check", "--dry-run"), {}),
        ((*example, "check", "--deploy", "--fail-level", "WARNING"), deployed),
    ]
    failed = []
    for command, env in commands:
        try:
            session.run(*command, env={"PYTHONPATH": os.getcwd(), **env})
        except CommandFailed:
            failed.append(" ".join(command))
    if failed:
        session.error("; ".join(failed))


@nox.session(venv_backend="none")
def readme_run(session: nox.Session) -> None:
    """The command under "Run it" in the README, in a copy of the tree, without serving at the end."""
    command = readme_command(session, "Run it")
    go_to_copy(session)
    session.run("bash", "-c", f"{command} --no-serve", external=True)
