"""A long random walk over the site. By hand, for as long as you like, and another way each time:

    VERIGATOR_WALK_STEPS=200000 python -m pytest tests/stateful -s

It prints its seed; with VERIGATOR_WALK_SEED it goes the same way again.
"""

from __future__ import annotations

import logging
import os
import random
import time
from collections.abc import Iterator

import pytest
from django.db import connection
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis.stateful import run_state_machine_as_test

from django_verigator.backends import locmem

from .clock import Clock
from .machine import PIN_DIGITS, Walk

PHASES = (Phase.generate, Phase.shrink) if "VERIGATOR_WALK_NO_SHRINK" not in os.environ else (Phase.generate,)
ACTIONS_OF_A_WALK = 50
STEPS_OF_A_WALK = 100  # requests and other events: an action makes up to six
STEPS = 2_000  # for each change; tests/README.md has the long form


class Listener(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        Walk.log.append(record.getMessage())


@pytest.fixture
def _site(transactional_db: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    if connection.vendor == "sqlite":
        with connection.cursor() as cursor:  # nobody pulls the plug here
            cursor.execute("PRAGMA synchronous = OFF")
            cursor.execute("PRAGMA journal_mode = MEMORY")
    # So long that a PIN found anywhere, or sent twice, is no coincidence.
    monkeypatch.setattr(locmem, "PIN_DIGITS", PIN_DIGITS)
    Walk.clock, Walk.log, Walk.steps = Clock(monkeypatch), [], 0
    Walk.seen.clear()
    logger, listener = logging.getLogger("django_verigator"), Listener()
    logger.addHandler(listener)
    level = logger.level
    logger.setLevel(logging.DEBUG)
    monkeypatch.setattr(logger, "propagate", False)  # thousands of lines that pytest would keep
    yield
    logger.removeHandler(listener)
    logger.setLevel(level)


@pytest.mark.usefixtures("_site")
def test_random_walk__lets_nobody_in_without_proof() -> None:
    wanted = int(os.environ.get("VERIGATOR_WALK_STEPS", 0))
    steps = wanted or STEPS
    started = random.randrange(2**32) if wanted else None
    if "VERIGATOR_WALK_SEED" in os.environ:
        started = int(os.environ["VERIGATOR_WALK_SEED"])
    print(f"\nseed: {started if started is not None else 'none, always the same way'}")
    began = time.perf_counter()
    machine = seed(started)(Walk) if started is not None else Walk
    try:
        run_state_machine_as_test(
            machine,
            settings=settings(
                max_examples=-(-steps // STEPS_OF_A_WALK),
                stateful_step_count=ACTIONS_OF_A_WALK,
                derandomize=started is None,
                deadline=None,
                database=None,
                phases=PHASES,
                suppress_health_check=list(HealthCheck),
            ),
        )
    finally:
        print(f"{Walk.steps} steps in {time.perf_counter() - began:.0f} s: {dict(Walk.seen.most_common())}")
