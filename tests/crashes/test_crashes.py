"""A few of the kills that ``python -m tests.crashes`` makes by the thousand."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from django.contrib.auth import get_user_model

from django_verigator.records.sync import comparing
from django_verigator.sandbox import Sandbox

from .driver import ACCOUNT, LATENCY, Driver, TroubleError, configuration

SEED = 19
KILLS = 20


@pytest.fixture
def driver(transactional_db: None, settings: Any) -> Iterator[Driver]:
    with Sandbox(**ACCOUNT) as sandbox:
        settings.VERIGATOR = configuration(sandbox)
        sandbox.add_fault("latency", seconds=LATENCY)
        with Driver(sandbox, SEED) as driver:
            yield driver


@pytest.mark.threat("R19", "R20")
def test_kills__leave_nothing_that_one_sync_does_not_put_right(driver: Driver) -> None:
    for _ in range(KILLS):
        driver.kill()
    assert driver.hit.total() == KILLS
    assert driver.found["nothing"] < KILLS  # some came in the middle of something


@pytest.mark.threat("R19")
@pytest.mark.parametrize("adopts", [True, False])
def test_sync_that_adopts_nothing__is_found_out(driver: Driver, monkeypatch: pytest.MonkeyPatch, adopts: bool) -> None:
    """The control, on what a kill between the provider's answer and our commit leaves: a record that no link names."""
    driver.sandbox.add_fault("reset", operation="users.create", when="after", times=1)
    get_user_model().objects.create_user("alice", phone_number="+37255500001")
    if adopts:
        driver.settle()
    else:
        monkeypatch.setattr(comparing, "adopt", lambda batch: None)
        with pytest.raises(TroubleError):
            driver.settle()
    assert driver.found["a record whose UserID never arrived"] == 1
