"""The short version of ``python -m tests.bulk``."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from pathlib import Path

import pytest

from . import driver
from .site import Site

USERS = 200


@pytest.fixture
def url():
    with driver.sandbox() as url:
        yield url


@pytest.fixture
def site(url, tmp_path: Path) -> Site:
    return Site(str(tmp_path / "bulk.sqlite3"), driver.verigator(url, total_timeout=0.5), lease=1)


@pytest.mark.threat("R19", "R20", "R33", "R35")
def test_bulk_run_that_is_killed_twice__is_complete_and_nobody_is_there_twice(site, url):
    site.do("make_users", USERS)
    driver.order(url, [{**fault, "seconds": 0.05} if "seconds" in fault else fault for fault in driver.FAULTS])

    # Two workers need five seconds for all of them.
    result = driver.drive(site, kills=2, workers=2, shortest=1.2, longest=1.8, say=lambda text: None)

    assert result.kills == 2
    assert result.problems(USERS) == []
    assert 0 < result.found["states"]["failed"] < USERS / 10


@pytest.mark.threat("R33")
def test_first_SIGINT_finishes_what_is_under_way_and_reports(site, url):
    site.do("make_users", 60)
    driver.order(url, [{"fault": "latency", "seconds": 0.1}])
    process = site.start("sync", "--workers", 2)
    while not driver.calls(url, "users.create"):
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    printed, _ = process.communicate(timeout=20)

    ended = json.loads(printed)
    assert ended["code"] == 1
    assert ended["report"]["outcome"] == "stopped"
    found = site.do("check")
    # Each call that was made is written down, and no lease is left behind: the next run begins at once.
    assert found["there"] == found["states"]["registered"] == ended["report"]["counts"]["registered"] < 60
    assert (found["lost"], found["left_over"], found["leased"]) == (0, 0, 0)
    assert site.do("sync", "--workers", 8)["code"] == 0


@pytest.mark.threat("R33")
def test_second_SIGINT_ends_it_at_once(site, url):
    site.do("make_users", 20)
    driver.order(url, [{"fault": "hang", "seconds": 30, "operation": "users.create"}])
    site.verigator["BACKENDS"]["default"]["OPTIONS"] |= {"total_timeout": 30.0, "read_timeout": 30.0}
    process = site.start("sync", stderr=subprocess.DEVNULL)
    try:
        while not driver.calls(url, "users.create"):
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        time.sleep(0.5)
        assert process.poll() is None
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=10)
    finally:
        process.kill()
        process.communicate()
    assert process.returncode != 0
