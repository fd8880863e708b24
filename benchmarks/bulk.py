"""Registering many users with ``verigator_sync``, against users x latency / workers, and what memory that takes."""

from __future__ import annotations

import io
import itertools
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from .provider import LATENCY, TIMEOUT, far_away, phone, pooled_session
from .sites import Process, Site
from .table import Effort, Row, in_rounds, ratios

WORKERS = (8, 16, 32)
FIRST, FIRST_OF_MEMORY = 100_000, 500_000
"""Numbers of the first users; those before are of other measures."""
ROUNDS = 3
MEMORY = Path("/proc/self/status")


# --- in the site's process --------------------------------------------------------------------------------------------


def add_users(first: int, users: int) -> None:
    """Make users of whom nothing is known but their rows, as a site has them when it begins to use the package."""
    from django.contrib.auth.models import User

    for start in range(first, first + users, 500):
        numbers = range(start, min(start + 500, first + users))
        User.objects.bulk_create(User(username=f"bulk{number}", first_name=phone(number)) for number in numbers)


def sync(workers: int) -> float:
    """Return the seconds of a run, from the users' rows to their stored ids."""
    from django.core.management import call_command

    began = time.perf_counter()
    # It raises CommandError if a user is left.
    call_command("verigator_sync", "--due", "--workers", str(workers), stdout=io.StringIO(), stderr=io.StringIO())
    return time.perf_counter() - began


def peak(workers: int) -> float:
    """Return the most memory that this process has had once a run is over, in kB."""
    sync(workers)
    line = next(line for line in MEMORY.read_text().splitlines() if line.startswith("VmHWM:"))
    return float(line.split()[1])


# --- the rows ---------------------------------------------------------------------------------------------------------


def times(site: Site, process: Process, effort: Effort) -> list[Row]:
    users, rounds = effort.registrations, min(effort.rounds, ROUNDS)
    firsts = itertools.count(FIRST, users)
    rows = []
    for workers in WORKERS:
        limit = users * LATENCY / workers
        sides = {
            "by_hand": partial(create, site, firsts, users, workers),
            "ours": partial(register, process, firsts, users, workers),
        }
        with far_away(site.provider):
            figures = in_rounds(rounds, sides)
        by_hand, ours = (ratios(seconds, [limit] * rounds) for seconds in figures.values())
        measure = f"registering {users} users, {workers} workers, times users x latency / workers"
        rows.append(Row(measure, "1.00", by_hand, ours, f"at most {1.2 if workers > 16 else 1.1}"))
    return rows


def create(site: Site, firsts: Iterator[int], users: int, workers: int) -> float:
    """Return the seconds of the calls alone, by a pooled ``requests.Session``."""
    session = pooled_session(site.provider)
    path = f"{site.provider['endpoint']}/v1/service/service/{site.provider['service_id']}/users"

    def call(number: int) -> None:
        user = {"phone_number": phone(number), "id_in_service": f"by-hand-{number}"}
        session.post(path, json=user, timeout=TIMEOUT).raise_for_status()

    first = next(firsts)
    began = time.perf_counter()
    with session, ThreadPoolExecutor(workers) as pool:
        for _ in pool.map(call, range(first, first + users)):
            pass
    return time.perf_counter() - began


def register(process: Process, firsts: Iterator[int], users: int, workers: int) -> float:
    process(add_users, next(firsts), users)
    return process(sync, workers)


def memory(site: Site, process: Process, effort: Effort) -> list[Row]:
    """Compare a run with one over four times as many users, each in a process of its own."""
    if not MEMORY.exists():
        return []
    few, many = effort.memory, 4 * effort.memory
    peaks = []
    for first, users in ((FIRST_OF_MEMORY, few), (FIRST_OF_MEMORY + few, many)):
        process(add_users, first, users)
        with site.process() as fresh:
            peaks.append(fresh(peak, WORKERS[-1]))
    measure = f"peak of memory, registering {many} users, times that with {few}"
    return [Row(measure, "1.00", "", f"{peaks[1] / peaks[0]:.2f}", "at most 1.1")]
