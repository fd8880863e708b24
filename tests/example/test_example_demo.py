"""``manage.py demo``: one command shows the whole thing working, again and again."""

from __future__ import annotations

import os
import re
import socket
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import requests

from .running import ROOT, manage, serving

STEPS = [
    r"ok +demo-walk-\w+ registered as [0-9a-f-]{36}",
    r"ok +password accepted: a PIN is asked for, and the protected page stays closed",
    r'ok +SMS says: ".*(?P<pin>\d{4}).*" \(to \+4477009\d+\)',
    r'ok +wrong PIN refused: (?!(?P=pin))\d{4}, "The PIN is not right\..*"',
    r"ok +right PIN accepted: (?P=pin)",
    r"ok +protected page open: /orders/",
    r"ok +logged out: the protected page is closed again",
]
WHOLE_WALK = re.compile(r"\n".join(rf" +{step}" for step in STEPS) + r"\n\Z")


def walk(folder: Path) -> str:
    ended = manage(folder, "demo", "--no-serve")
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert WHOLE_WALK.search(ended.stdout), ended.stdout
    return ended.stderr


OUTAGE = [
    r"ok +password accepted, and Verigator has sent a PIN to \+4477009\d+",
    r'ok +Verigator goes down before the PIN \d{4} is typed: "We cannot send or check PINs .*"',
    r'ok +"Send it another way": Number Verification sends, and its PIN \d{4} is accepted',
    r"ok +the next login: Number Verification has taken over by itself, and its PIN is accepted",
    r'ok +both are down: "We cannot send or check PINs .*" The protected page stays closed',
    r"ok +a recovery code from support, [0-9A-Z-]{19}, opens it",
    r"ok +Verigator is back: it sends the next PIN, without a restart of the site",
]
WHOLE_OUTAGE = re.compile(r"\n".join(rf" +{step}" for step in OUTAGE) + r"\n\Z")


@pytest.mark.parametrize("name", ["number-verification", "omnichannel", "twilio-verify"])
def test_demo__with_each_provider(tmp_path: Path, name: str) -> None:
    """All the steps but the registration, which only Verigator has."""
    ended = manage(tmp_path, "demo", "--no-serve", "--provider", name)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert re.search(r"\n".join(rf" +{step}" for step in STEPS[1:]) + r"\n\Z", ended.stdout), ended.stdout
    assert ended.stderr == ""


def usernames(folder: Path) -> list[str]:
    with closing(sqlite3.connect(folder / "db.sqlite3")) as database:
        return [name for (name,) in database.execute("SELECT username FROM cafe_user ORDER BY username")]


def known_to_provider(folder: Path) -> list[str]:
    with closing(sqlite3.connect(folder / "sandbox.sqlite3")) as database:
        found = database.execute("SELECT id_in_service FROM user ORDER BY id_in_service").fetchall()
    return [name.partition("-")[0] for (name,) in found]


def test_demo__walks_again_and_again(tmp_path: Path) -> None:
    """Every start walks every step and leaves nothing of it: the first, one on its data, one that lost the sandbox."""
    assert walk(tmp_path) == ""
    assert walk(tmp_path) == ""
    for file in tmp_path.glob("sandbox.sqlite3*"):
        file.unlink()
    assert "record_lost" in walk(tmp_path)
    assert usernames(tmp_path) == ["admin", "demo", "nophone"]
    assert known_to_provider(tmp_path) == ["admin", "demo"]


PROVIDER_DOWN = [
    r'ok +the provider answers 503: the password is accepted, no SMS comes, and the page says: "We cannot send .*"',
    r"ok +the password alone opens nothing: the protected page stays closed",
    r'ok +the provider is back: "Try again" sends the PIN \d{4}, and it is accepted',
]
WHOLE_DOWN = re.compile(r"\n".join(rf" +{step}" for step in PROVIDER_DOWN) + r"\n\Z")


def test_demo__provider_down(tmp_path: Path) -> None:
    """What holds while the provider answers 503 is shown, and that it goes on afterwards."""
    ended = manage(tmp_path, "demo", "--no-serve", "--provider-down")
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert WHOLE_DOWN.search(ended.stdout), ended.stdout
    assert usernames(tmp_path) == ["admin", "demo", "nophone"]


def test_demo__provider_down_stays_so_while_the_site_is_served(tmp_path: Path) -> None:
    """The faults are on order again, and the line that is printed ends them."""
    with serving(tmp_path, "--provider-down") as demo:
        assert len(requests.get(f"{demo.phone}/_sandbox/faults", timeout=20).json()["faults"]) == 1
        said = re.search(r"curl -X DELETE (\S+)", demo.said)
        assert said is not None
        requests.delete(said[1], timeout=20)
        assert requests.get(f"{demo.phone}/_sandbox/faults", timeout=20).json()["faults"] == []


def test_demo__step_that_does_not_hold(tmp_path: Path) -> None:
    """It is marked, and the exit code says so."""
    settings = 'from cafe.settings import *\nVERIGATOR = {**VERIGATOR, "REQUIRED": "none"}\n'
    (tmp_path / "switched_off.py").write_text(settings, encoding="utf-8")
    path = os.pathsep.join([str(ROOT), str(tmp_path)])
    ended = manage(tmp_path, "demo", "--no-serve", DJANGO_SETTINGS_MODULE="switched_off", PYTHONPATH=path)
    assert ended.returncode == 1
    assert re.search(r"FAILED +password accepted: the site showed /orders/", ended.stdout)
    assert "CommandError: A step of the walk failed." in ended.stderr


def test_demo__outage(tmp_path: Path) -> None:
    """Verigator fails in the middle of a login, Number Verification takes over and fails too; a recovery code works."""
    ended = manage(tmp_path, "demo", "--outage")
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert WHOLE_OUTAGE.search(ended.stdout), ended.stdout
    assert usernames(tmp_path) == ["admin", "demo", "nophone"]


@pytest.mark.parametrize("option", ["--port", "--sandbox-port"])
def test_demo__port_in_use(tmp_path: Path, option: str) -> None:
    """A port that is taken is named, in one line and without a traceback."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        ended = manage(tmp_path, "demo", "--no-serve", option, port)
    assert ended.returncode == 1
    assert port in ended.stderr
    assert option in ended.stderr
    assert len(ended.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    ("more", "why"),
    [
        ({"VERIGATOR_USERNAME": "u", "VERIGATOR_PASSWORD": "p", "VERIGATOR_SERVICE_ID": "s"}, "real messages"),
        ({"DEBUG": "off", "SECRET_KEY": "s"}, "DEBUG is off"),
    ],
)
def test_demo__refuses_real_sites(tmp_path: Path, more: dict[str, Any], why: str) -> None:
    """Where a real provider or a real site is configured, the demo writes and sends nothing."""
    ended = manage(tmp_path, "demo", "--no-serve", **more)
    assert ended.returncode == 1
    assert why in ended.stderr
    assert list(tmp_path.iterdir()) == []
