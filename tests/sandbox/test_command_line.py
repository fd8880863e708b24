"""Test the command line, the database file, the options and HTTPS."""

from __future__ import annotations

import http.client
import re
import signal
import socket
import sqlite3
import ssl
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from http import HTTPStatus
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from django_verigator.sandbox import Sandbox, SandboxError
from django_verigator.sandbox.__main__ import run

from .http_client import PASSWORD, PHONE, USERNAME, Shop, send

ROOT = Path(__file__).parents[2]
COMMAND = [
    sys.executable,
    "-W",
    "error",
    "-m",
    "django_verigator.sandbox",
    "--username",
    USERNAME,
    "--password",
    PASSWORD,
]


@contextmanager
def program(*arguments: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Run the program; yield it and its URL."""
    with subprocess.Popen(
        [*COMMAND, "--port", "0", *arguments], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout
        try:
            line = process.stdout.readline()
            match = re.fullmatch(r"Sandbox ready at (http://127\.0\.0\.1:\d+)/\n", line)
            assert match, line
            yield process, match[1]
        finally:
            process.kill()


def run_to_end(*arguments: str) -> tuple[int, str, str]:
    """Run a program that ends by itself; return its exit code, stdout and stderr."""
    completed = subprocess.run(
        [*COMMAND, *arguments], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )
    return completed.returncode, completed.stdout, completed.stderr


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_program__serves_and_ends_cleanly_after_a_signal(number: signal.Signals) -> None:
    with program() as (process, url):
        assert send(url, "GET", "/_sandbox/messages").json() == {"messages": []}
        process.send_signal(number)

        rest, errors = process.communicate(timeout=30)

    assert (process.returncode, rest, errors) == (0, "", "")


def test_program__imports_neither_django_nor_the_rest_of_the_package() -> None:
    code = (
        "import sys, django_verigator.sandbox.__main__ as m;"
        "print(sorted(n for n in sys.modules if n.partition('.')[0] in ('django', 'requests')"
        " or n.startswith('django_verigator.') and not n.startswith('django_verigator.sandbox')))"
    )

    completed = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)

    assert completed.stdout == "[]\n"


def test_program__with_a_file_keeps_its_state_when_killed(tmp_path: Path) -> None:
    file = str(tmp_path / "sandbox.sqlite3")
    with program("--db", file) as (process, url):
        service = send(url, "POST", "/v1/service/service", {"fqdn": "x.com", "name": "Shop"}).json()
        users = f"/v1/service/service/{service['id']}/users"
        user = send(url, "POST", users, {"id_in_service": "john", "phone_number": PHONE}).json()
        auth = f"{users}/{user['id']}/auth"
        send(url, "POST", auth, {"method": "sms"})
        secret = send(url, "POST", "/_sandbox/devices", {"phone_number": PHONE}).json()["secret"]
        process.kill()
        process.wait()

    with Sandbox(username=USERNAME, password=PASSWORD, db=file) as sandbox:
        verified = send(sandbox.url, "PUT", auth, {"token": sandbox.last_pin(PHONE)}).json()["verified"]
        assert verified is True
        assert sandbox.attach_device(PHONE)["secret"] == secret


def test_program__refuses_a_taken_port_in_one_line() -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        port = taken.getsockname()[1]

        code, out, errors = run_to_end("--port", str(port))

    assert (code, out) == (1, "")
    assert re.fullmatch(rf"verigator sandbox: cannot listen on 127\.0\.0\.1 port {port}: .+\n", errors)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "", "example.com"])  # noqa: S104 - refused
def test_program__refuses_a_remote_address_without_allow_remote(host: str) -> None:
    code, out, errors = run_to_end("--port", "0", f"--host={host}")

    assert (code, out) == (1, "")
    assert "--allow-remote" in errors
    assert errors.count("\n") == 1


def test_allow_remote__binds_every_address_and_still_checks_the_host(start_sandbox: Callable[..., Sandbox]) -> None:
    sandbox = start_sandbox(host="0.0.0.0", allow_remote=True)  # noqa: S104 - what is tested
    url = f"http://127.0.0.1:{urlsplit(sandbox.url).port}"

    assert send(url, "GET", "/").status == HTTPStatus.OK
    assert send(url, "GET", "/", headers={"Host": "evil.example"}).status == HTTPStatus.FORBIDDEN


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("pin_length", 3),
        ("pin_length", 17),
        ("max_tries", 0),
        ("pin_validity", 0),
        ("create_status", "202"),
        ("username", ""),
        ("username", "a:b"),
        ("password", ""),
        ("port", 70_000),
        ("certfile", "/nowhere/cert.pem"),
    ],
)
def test_sandbox__refuses_an_invalid_option(option: str, value: object) -> None:
    options: dict[str, object] = {"username": "u", "password": "p", option: value}

    with pytest.raises(SandboxError):
        Sandbox(**options)  # type: ignore[arg-type]


def test_run__serves_every_given_account() -> None:
    with program("--account", "other:sec:ret") as (_, url):
        response = send(url, "GET", "/v1/service/service/x", headers={"X-Service-Auth": "other:sec:ret"})

    assert response.status == HTTPStatus.NOT_FOUND


def test_run__refuses_an_account_without_password() -> None:
    code, _, errors = run_to_end("--port", "0", "--account", "other")

    assert (code, errors) == (1, "verigator sandbox: --account takes USER:PASSWORD\n")


def test_db__of_another_program_is_not_changed(tmp_path: Path) -> None:
    file = tmp_path / "site.sqlite3"
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("CREATE TABLE auth_user (id INTEGER)")
    before = file.read_bytes()

    with pytest.raises(SandboxError, match="another program"):
        Sandbox(username="u", password="p", db=str(file))

    assert file.read_bytes() == before


@pytest.mark.parametrize("name", ["missing/sandbox.sqlite3", "text.txt", "."])
def test_db__that_is_unusable_is_a_clear_error(tmp_path: Path, name: str) -> None:
    (tmp_path / "text.txt").write_text("no database at all, but long enough to be read as a header, surely" * 20)

    with pytest.raises(SandboxError, match="cannot"):
        Sandbox(username="u", password="p", db=str(tmp_path / name))


def test_port__is_free_again_after_a_stop() -> None:
    with Sandbox(username=USERNAME, password=PASSWORD) as first:
        port = urlsplit(first.url).port
        Shop(first)
    assert port

    with Sandbox(username=USERNAME, password=PASSWORD, port=port) as second:
        assert send(second.url, "GET", "/_sandbox/calls").json() == {"calls": []}


def test_tls__serves_https_while_another_client_is_silent(
    start_sandbox: Callable[..., Sandbox], tmp_path: Path
) -> None:
    certfile = tmp_path / "cert.pem"
    openssl = subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"),
            *("-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost", "-days", "2"),
            *("-keyout", str(tmp_path / "key.pem"), "-out", str(certfile)),
        ],
        capture_output=True,
        check=False,
    )
    if openssl.returncode:
        pytest.skip("openssl cannot make a certificate here")
    sandbox = start_sandbox(certfile=str(certfile), keyfile=str(tmp_path / "key.pem"))
    address = urlsplit(sandbox.url)
    assert address.scheme == "https"
    context = ssl.create_default_context(cafile=str(certfile))

    with (
        socket.create_connection(("127.0.0.1", address.port or 0)),
        closing(http.client.HTTPSConnection("localhost", address.port, context=context, timeout=5)) as connection,
    ):
        connection.request("GET", "/", headers={"Origin": f"https://localhost:{address.port}"})
        assert connection.getresponse().read().startswith(b"<!doctype html>")


def test_run__returns_1_for_an_invalid_option(capsys: pytest.CaptureFixture[str]) -> None:
    options = dict.fromkeys(
        ("db", "certfile", "keyfile", "legacy_auth_id", "strict", "allow_remote", "create_status", "path_prefix")
    )
    numbers = {"port": 0, "pin_length": 2, "pin_validity": 300, "max_tries": 5}
    lists: dict[str, list[str]] = {"account": [], "allow_host": [], "sender": []}

    code = run(
        {**options, **numbers, **lists, "username": "u", "password": "p", "host": "127.0.0.1", "create_status": "auto"}
    )

    assert code == 1
    assert capsys.readouterr().err == "verigator sandbox: pin_length must be 4 to 16\n"
