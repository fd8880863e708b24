"""Counters that all users share are raised and given back by many at once."""

from __future__ import annotations

import random
from typing import Any

import pytest
from django.db import connection

from django_verigator.flows import limits
from django_verigator.flows.refusals import Reason
from django_verigator.models import Counter

from .crowd import crowd

ROUNDS = 15


def caps(number: int) -> list[limits.Cap]:
    """Those of one user among the site's, in an order of their own."""
    shared = [limits.Cap(f"shared/{name}", "", 10_000, limits.HOUR, Reason.SEND_LIMIT) for name in range(6)]
    own = limits.Cap("own", str(number), 10_000, limits.HOUR, Reason.SEND_LIMIT)
    return random.Random(number).sample([own, *shared], 7)


@pytest.mark.threat("R28")
def test_shared_counters_are_exact_and_nobody_deadlocks(provider):
    before = _deadlocks()

    def use(number: int) -> None:
        mine = caps(number)
        for _ in range(ROUNDS):
            limits.reserve(lambda: limits.take(mine))
            limits.give_back(mine)
        limits.reserve(lambda: limits.take(mine))

    crowd(use, range(12))

    assert sorted(Counter.objects.values_list("count", flat=True)) == [1] * 12 + [12] * 6
    assert _deadlocks() == before


def _deadlocks() -> Any:
    """How many there were in this database so far; None where the server does not say."""
    if connection.vendor != "postgresql":
        return None
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_stat_force_next_flush(), pg_stat_clear_snapshot()")
        cursor.execute("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()")
        return cursor.fetchone()[0]
