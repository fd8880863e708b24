"""Logins per second on gunicorn, while the provider is far away."""

from __future__ import annotations

import contextlib
import itertools
import threading
import time
from collections.abc import Mapping
from functools import partial

from .logins import BY_HAND, NAMES, OURS, PLAIN, USERS_KEPT
from .provider import LATENCY, Phones, far_away
from .server import serving
from .sites import Site
from .table import Effort, Row, in_rounds, ratios
from .visits import OverHttp, log_in

WORKERS, THREADS = 2, 4
VISITORS = WORKERS * THREADS


def rows(sites: Mapping[str, Site], effort: Effort) -> list[Row]:
    with contextlib.ExitStack() as stack:
        stack.enter_context(far_away(sites[OURS].provider))
        servers = {name: stack.enter_context(serving(sites[name], WORKERS, THREADS)) for name in NAMES}
        for name in NAMES:
            logins_per_second(sites[name], servers[name], 1)
        sides = {name: partial(logins_per_second, sites[name], servers[name], effort.seconds) for name in NAMES}
        figures = in_rounds(effort.rounds, sides)
    floor = figures[PLAIN]
    measure = (
        f"logins per second on gunicorn, {WORKERS} x {THREADS} threads, provider {LATENCY * 1000:.0f} ms away, "
        "of Django's"
    )
    return [Row(measure, "1.00", ratios(figures[BY_HAND], floor), ratios(figures[OURS], floor), "at least 0.30")]


def logins_per_second(site: Site, address: str, seconds: float) -> float:
    """Have as many visitors as the server has threads log in again and again, each as users of its own."""
    done: list[int] = []
    errors: list[BaseException] = []
    began = time.perf_counter()

    def visit(place: int) -> None:
        with contextlib.ExitStack() as stack:
            phones = stack.enter_context(contextlib.closing(Phones(site.provider))) if site.has_second_step else None
            for number in itertools.cycle(range(place, USERS_KEPT, VISITORS)):
                if time.perf_counter() - began > seconds or errors:
                    return
                with contextlib.closing(OverHttp(address)) as browser:
                    log_in(browser, number, phones)
                done.append(number)

    def work(place: int) -> None:
        try:
            visit(place)
        except Exception as error:  # noqa: BLE001 - raised below, in the main thread
            errors.append(error)

    threads = [threading.Thread(target=work, args=(place,)) for place in range(VISITORS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]
    return len(done) / (time.perf_counter() - began)
