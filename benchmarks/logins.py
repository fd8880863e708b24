"""Time, statements and transactions of a login; a page that only its user may see."""

from __future__ import annotations

import contextlib
import itertools
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

from .provider import Phones, api, phone
from .sites import PAGE, PASSWORD, Process, Site, username
from .table import Effort, Row, in_rounds, ratios
from .visits import InProcess, log_in

PLAIN, BY_HAND, OURS = NAMES = ("plain", "by_hand", "verigator")
USERS_KEPT = 64
"""Users 0 to 63 are there from the beginning; each round of logins has new ones, after them."""
CONTROL = ("SAVEPOINT", "RELEASE", "ROLLBACK")


# --- in the site's process --------------------------------------------------------------------------------------------


def prepare(site: Site) -> None:
    """Make the tables and the first users."""
    from django.core.management import call_command

    call_command("migrate", verbosity=0)
    add_users(site, range(USERS_KEPT))


def add_users(site: Site, numbers: range) -> None:
    """Make users who are registered at the provider and have never logged in."""
    from django.contrib.auth.hashers import make_password
    from django.contrib.auth.models import User

    password, client = make_password(PASSWORD), api(site.provider)
    for number in numbers:
        user = User(username=username(number), password=password, first_name=phone(number))
        if site.name == "by_hand":
            user.last_name = client.users.create(site.provider["service_id"], phone(number), username(number)).id
        user.save()


@contextlib.contextmanager
def _phones(site: Site) -> Iterator[Phones | None]:
    if not site.has_second_step:
        yield None
        return
    with contextlib.closing(Phones(site.provider)) as phones:
        yield phones


def time_logins(site: Site, numbers: range) -> float:
    """Have each user log in for the first time and once more; return the medians of both, added, in seconds."""
    with _phones(site) as phones:
        first, later = ([_time_login(number, phones) for number in numbers] for _ in range(2))
    return statistics.median(first) + statistics.median(later)


def _time_login(number: int, phones: Phones | None) -> float:
    browser = InProcess()
    log_in(browser, number, phones)
    return browser.seconds


def count_login(site: Site, number: int) -> tuple[int, int]:
    """Return the statements and the transactions of one login, and see that only the whole of it opens the page."""
    from django.db import connection
    from django.test.utils import CaptureQueriesContext

    browser = InProcess()
    assert browser.client.get(PAGE).status_code == 302
    with _phones(site) as phones, CaptureQueriesContext(connection) as context:
        log_in(browser, number, phones)
    statements = [query["sql"] for query in context.captured_queries]  # the next request empties them
    browser.get(PAGE)
    return count(statements)


def count(statements: list[str]) -> tuple[int, int]:
    """Count statements, without those that only begin or end a transaction, and how often something was committed."""
    others = transactions = 0
    is_open = False
    for sql in statements:
        verb = sql.split()[0].rstrip(";").upper()
        if verb in ("BEGIN", "COMMIT", "ROLLBACK") and not sql.upper().startswith("ROLLBACK TO"):
            is_open = verb == "BEGIN"
            transactions += verb == "COMMIT"
        elif verb not in CONTROL:
            others += 1
            transactions += verb != "SELECT" and not is_open
    return others, transactions


def time_pages(site: Site, requests: int) -> float:
    """Return the median seconds of a request for the page, straight through the WSGI handler."""
    from django.core.handlers.wsgi import WSGIHandler
    from django.test import RequestFactory

    browser = InProcess()
    with _phones(site) as phones:
        log_in(browser, 0, phones)
    factory, handler, times = RequestFactory(), WSGIHandler(), []
    factory.cookies = browser.client.cookies
    statuses: list[str] = []

    def start_response(status: str, *rest: Any) -> Any:
        statuses.append(status)

    for _ in range(requests):
        environ = factory.get(PAGE).environ
        began = time.perf_counter()
        response = handler(environ, start_response)
        b"".join(response)
        response.close()
        times.append(time.perf_counter() - began)
    assert set(statuses) == {"200 OK"}
    return statistics.median(times)


# --- the rows ---------------------------------------------------------------------------------------------------------


def rows(sites: Mapping[str, Site], processes: Mapping[str, Process], effort: Effort) -> list[Row]:
    firsts = itertools.count(USERS_KEPT, effort.users)

    def in_turn(measure: Callable[[str], float]) -> dict[str, list[float]]:
        return in_rounds(effort.rounds, {name: partial(measure, name) for name in NAMES})

    def logins(name: str) -> float:
        first = next(firsts)
        numbers = range(first, first + effort.users)
        processes[name](add_users, sites[name], numbers)
        return processes[name](time_logins, sites[name], numbers)

    def pages(name: str) -> float:
        return processes[name](time_pages, sites[name], effort.pages)

    # The first login of a process loads templates and opens connections, and is not counted.
    for name in NAMES:
        processes[name](time_logins, sites[name], range(2))
    counts = {name: [processes[name](count_login, sites[name], 2) for _ in range(2)] for name in NAMES}
    return [
        _compared("a login, times Django's", in_turn(logins), goal="at most 3.4"),
        *_counted(counts),
        _compared("a page for its user alone, times login_required", in_turn(pages), goal="at most 1.03"),
    ]


def _compared(measure: str, figures: Mapping[str, list[float]], goal: str) -> Row:
    floor = figures[PLAIN]
    return Row(measure, "1.00", ratios(figures[BY_HAND], floor), ratios(figures[OURS], floor), goal)


def _counted(counts: Mapping[str, list[tuple[int, int]]]) -> list[Row]:
    return [
        Row(f"{what} of {which} login", *(str(counts[name][turn][place]) for name in NAMES))
        for turn, which in enumerate(("a user's first", "a later"))
        for place, what in enumerate(("statements", "transactions"))
    ]
