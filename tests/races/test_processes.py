"""The same limits with four worker processes, whose caches know nothing of one another."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from django.db import connection

from .conftest import (
    BOTH,
    LOGIN,
    PASSWORD,
    VERIFY,
    Provider,
    give_password,
    logged_in,
    make_user,
    phone_number,
    post_pin,
)

PROVIDERS = BOTH
ROOT = Path(__file__).parent.parent.parent
WORKERS = 4
PATIENCE = 60  # seconds
Post = tuple[str, dict[str, str]]


@pytest.fixture
def workers(provider: Provider, tmp_path: Path) -> Iterator[Callable[..., list[int]]]:
    """``workers(posts, cookies)`` spreads posts over four processes that start together; returns the statuses."""
    started: list[subprocess.Popen[str]] = []
    provider.share(tmp_path)

    def run(posts: list[Post], cookies: dict[str, str]) -> list[int]:
        order = {
            "database": str(connection.settings_dict["NAME"]),
            "verigator": provider.settings_as_json(),
            "cookies": cookies,
        }
        for number in range(WORKERS):
            mine = json.dumps({**order, "posts": posts[number::WORKERS]})
            started.append(
                subprocess.Popen(
                    [sys.executable, "-m", "tests.races.worker", mine],
                    cwd=ROOT,
                    env={**os.environ, "DJANGO_SETTINGS_MODULE": "tests.settings"},
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    text=True,
                )
            )
        for worker in started:
            assert worker.stdout is not None
            assert worker.stdout.readline() == "ready\n"
        for worker in started:
            assert worker.stdin is not None
            worker.stdin.write("go\n")
            worker.stdin.flush()
        return [status for worker in started for status in json.loads(worker.communicate(timeout=PATIENCE)[0])]

    yield run
    for worker in started:
        worker.kill()
        worker.communicate()


@pytest.mark.threat("C13")
def test_four_processes_share_the_tries_of_a_challenge(provider, workers):
    make_user()
    browser = give_password()
    provider.slow_down()
    phone = phone_number()
    posts = [(VERIFY, {"pin": pin}) for pin in provider.wrong_pins(phone)]

    statuses = workers(posts, {name: morsel.value for name, morsel in browser.cookies.items()})

    assert statuses == [200] * 20
    assert provider.tries == 5
    post_pin(browser, provider.pin(phone))
    assert provider.tries == 5
    assert logged_in() == []


@pytest.mark.threat("C13", "E02")
def test_four_processes_share_the_sends_of_a_user(provider, workers):
    make_user()
    provider.slow_down()

    statuses = workers([(LOGIN, {"username": "alice", "password": PASSWORD})] * 48, {})

    assert statuses == [302] * 48
    assert provider.sends == 5


@pytest.mark.threat("D02")
def test_four_processes_make_one_login_of_a_right_pin(provider, workers):
    alice = make_user()
    browser = give_password()
    provider.slow_down()
    provider.always_says_yes()
    posts = [(VERIFY, {"pin": provider.pin(phone_number())})] * 12

    workers(posts, {name: morsel.value for name, morsel in browser.cookies.items()})

    assert logged_in() == [str(alice.pk)]
