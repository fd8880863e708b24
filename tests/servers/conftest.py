from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from http import HTTPStatus
from pathlib import Path
from typing import Any

import pytest
import requests

from django_verigator.client import Api
from django_verigator.sandbox import Sandbox

from .site import PASSWORD, USERS, Site, phone

ROOT = Path(__file__).parents[2]
CERTS = ROOT / "tests" / "client" / "certs"
ACCOUNT = {"username": "servers", "password": "servers"}
PATIENCE = 30  # seconds
BACKEND = "django_verigator.backends.verigator.VerigatorBackend"


@pytest.fixture(scope="session")
def sandbox() -> Iterator[Sandbox]:
    """Over TLS, and as slow as a provider that is quick."""
    files = {"certfile": str(CERTS / "good.pem"), "keyfile": str(CERTS / "server.key")}
    with Sandbox(**ACCOUNT, **files) as sandbox:
        assert sandbox.url.startswith("https:")
        sandbox.add_fault("latency", seconds=0.05)
        yield sandbox


@pytest.fixture(scope="session")
def verigator(sandbox: Sandbox) -> dict[str, Any]:
    options = {**ACCOUNT, "endpoint": sandbox.url, "ca_bundle": str(CERTS / "ca.pem")}
    api = Api(**options)
    options["service_id"] = api.services.create("servers.example", "Servers").id
    api.close()
    # As many calls at once as there are logins: the machine may be busy, and none is to be turned away.
    limits = {"PROVIDER_CALLS_AT_ONCE": USERS}
    return {
        "BACKENDS": {"default": {"BACKEND": BACKEND, "OPTIONS": options}},
        "PHONE": "phone_number",
        "STAND_IN": True,
        "LIMITS": limits,
    }


def prepare(site: Site) -> None:
    subprocess.run(
        [sys.executable, "-m", "tests.servers.site", "prepare"], cwd=ROOT, env=site.environment(), check=True
    )


@pytest.fixture(scope="session")
def prepared(verigator: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("servers") / "prepared.sqlite3"
    prepare(Site(_sqlite(path), verigator))
    return path


def _sqlite(path: Path) -> dict[str, Any]:
    return {"ENGINE": "django.db.backends.sqlite3", "NAME": str(path), "OPTIONS": {"timeout": 20}}


@pytest.fixture
def site(prepared: Path, verigator: dict[str, Any], tmp_path: Path) -> Site:
    """On a database file of its own, with twenty users who have a phone."""
    path = tmp_path / "site.sqlite3"
    shutil.copy(prepared, path)
    return Site(_sqlite(path), verigator)


@pytest.fixture
def site_on_postgresql(verigator: dict[str, Any]) -> Iterator[Site]:
    psycopg = pytest.importorskip("psycopg", reason="psycopg is not installed (extra servers)")
    server = {"host": "127.0.0.1", "user": os.environ.get("PGUSER", "postgres")}
    try:
        connection = psycopg.connect(**server, dbname="postgres", connect_timeout=5, autocommit=True)
    except psycopg.OperationalError:
        pytest.skip("no PostgreSQL at 127.0.0.1")
    name = f"verigator_servers_{uuid.uuid4().hex[:8]}"
    with connection:
        connection.execute(f"CREATE DATABASE {name}")
        try:
            database = {"ENGINE": "django.db.backends.postgresql", "NAME": name}
            site = Site(database | {"HOST": server["host"], "USER": server["user"]}, verigator)
            prepare(site)
            yield site
        finally:
            connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


# --- servers ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[..., Server]]:
    """``serve(site, "gunicorn", "-k", "gthread")`` starts a server and returns it when it answers."""
    with contextlib.ExitStack() as stack:

        def start(site: Site, program: str, *options: str) -> Server:
            for module in {program, *options} & {"gunicorn", "gevent", "uvicorn"}:
                pytest.importorskip(module, reason=f"{module} is not installed (extra servers)")
            return stack.enter_context(_running(site, program, options, tmp_path / "server.log"))

        yield start


class DidNotStart(Exception):  # noqa: N818 - a test may want it
    """The program has ended; what it said."""


class Server:
    def __init__(self, url: str, log: Path) -> None:
        self.url = url
        self._log = log

    @property
    def log(self) -> str:
        return self._log.read_text()


@contextlib.contextmanager
def _running(site: Site, program: str, options: tuple[str, ...], log: Path) -> Iterator[Server]:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    if program == "gunicorn":
        kind = "asgi" if "asgi" in options else "wsgi"
        address = ["--bind", f"127.0.0.1:{port}", f"tests.servers.site:{kind}"]
    else:
        address = ["--host", "127.0.0.1", "--port", str(port), "tests.servers.site:asgi"]
    with log.open("w") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", program, *options, *address],
            cwd=ROOT,
            env=site.environment(),
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    server = Server(f"http://127.0.0.1:{port}", log)
    try:
        _wait_for_answer(server, process)
        yield server
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait(10)


def _wait_for_answer(server: Server, process: subprocess.Popen[bytes]) -> None:
    ends = time.monotonic() + PATIENCE
    while time.monotonic() < ends:
        if process.poll() is not None:
            raise DidNotStart(server.log)
        with contextlib.suppress(requests.ConnectionError):
            requests.get(f"{server.url}/accounts/login/", timeout=PATIENCE)
            return
        time.sleep(0.1)
    raise AssertionError(f"no answer: {server.log}")


# --- visitors ---------------------------------------------------------------------------------------------------------


class Visitor:
    """A browser that remembers what it was answered."""

    def __init__(self, server: Server, sandbox: Sandbox, number: int) -> None:
        self._server = server
        self._sandbox = sandbox
        self._number = number
        self._session = requests.Session()
        self.answers: list[str] = []

    def log_in(self) -> str:
        """Password and PIN, each once; return where that led, or what went wrong."""
        with self._session:
            if self._get("/accounts/login/").status_code != HTTPStatus.OK:
                return str(self.answers)
            seen = len(self._sandbox.messages(phone(self._number)))
            self._post("/accounts/login/", username=f"user{self._number}", password=PASSWORD)
            messages = self._sandbox.messages(phone(self._number))[seen:]
            if len(messages) != 1:
                return f"{len(messages)} texts; {self.answers}"
            where = self._post("/accounts/verify/", pin=messages[0]["pin"]).headers.get("Location")
            if where != "/private/" or self._get(where).status_code != HTTPStatus.OK:
                return str(self.answers)
            return "in"

    def _get(self, path: str) -> requests.Response:
        return self._noted(self._session.get(self._server.url + path, allow_redirects=False, timeout=PATIENCE))

    def _post(self, path: str, **fields: str) -> requests.Response:
        fields["csrfmiddlewaretoken"] = self._session.cookies["csrftoken"]
        url = self._server.url + path
        return self._noted(self._session.post(url, fields, allow_redirects=False, timeout=PATIENCE))

    def _noted(self, response: requests.Response) -> requests.Response:
        self.answers.append(f"{response.request.method} {response.request.path_url}: {response.status_code}")
        return response


def log_all_in(server: Server, sandbox: Sandbox) -> list[str]:
    """Twenty logins at once; return what became of each."""
    with ThreadPoolExecutor(USERS) as pool:
        return list(pool.map(lambda number: Visitor(server, sandbox, number).log_in(), range(USERS)))
