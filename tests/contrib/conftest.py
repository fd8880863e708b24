from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.bulk import driver
from tests.bulk.site import ROOT, Site

PATIENCE = 40  # seconds


@pytest.fixture
def url() -> Iterator[str]:
    with driver.sandbox() as url:
        yield url


@pytest.fixture
def start() -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    """``start(site, "-m", "celery", ...)`` starts a worker; all of them are gone after the test."""
    started: list[subprocess.Popen[bytes]] = []

    def run(site: Site, *command: str, **environment: str) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(
            [sys.executable, *command],
            cwd=ROOT,
            env={**site.environment(), **environment},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        started.append(process)
        return process

    yield run
    for process in started:
        kill(process)


def kill(process: subprocess.Popen[Any]) -> None:
    """SIGKILL, for it and its children."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
    process.wait(10)


def wait_for(condition: Callable[[], bool]) -> None:
    ends = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < ends, "nothing came of it"
        time.sleep(0.1)


@pytest.fixture
def slow_site(url: str, tmp_path: Path) -> Callable[..., Site]:
    """A site at a sandbox that takes 0.1 seconds for each record, two at a time."""

    def make(dispatcher: str, **settings: Any) -> Site:
        driver.order(url, [{"fault": "latency", "seconds": 0.1, "operation": "users.create"}])
        verigator = driver.verigator(url, total_timeout=0.9, DISPATCHER=dispatcher, SYNC_WORKERS=2)
        return Site(str(tmp_path / "site.sqlite3"), verigator, settings, lease=2)

    return make
