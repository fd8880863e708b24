"""Whether the time of a refused password tells who is a user: ``python -m benchmarks.timing_oracle`` (under a minute).

The same wrong password for somebody unknown, inactive, with and without a second step, 500 times each, in turn. The
control is the same request to a backend that makes no hash for unknown users: if that does not show, nothing would.
"""

from __future__ import annotations

import random
import statistics
import sys
import time

from . import databases
from .processes import clean_up_when_terminated
from .provider import phone
from .sites import LOGIN, Site
from .table import markdown

ROUNDS = 500
SHARE = 0.25
"""Of the control's difference: what more than that could be told by waiting."""


def main() -> int:
    clean_up_when_terminated()
    with databases.new("sqlite-wal", "timing") as database:
        hasher = {"PASSWORD_HASHERS": ["benchmarks.timing_backends.Hasher"]}
        with Site("verigator", database, settings=hasher).process() as process:
            times = process(_measure)
    medians = {name: statistics.median(each) for name, each in times.items()}
    reference, *_, control = medians.values()
    rows, fails = [], reference < 1.2 * control
    for name, median in medians.items():
        share = (median - reference) / (control - reference)
        rows.append([name, f"{median / reference:.3f}", f"{share:+.2f}"])
        fails |= abs(share) > SHARE and median != control
    head = ["a wrong password of a user with", "time, as a ratio to the first", "difference, of the control's"]
    print(markdown(head, rows))
    print("\nIt tells who is a user." if fails else "\nOnly the control tells who is a user.")
    return int(fails)


def _measure() -> dict[str, list[float]]:
    """Run all requests in turn, in the site's process; return the seconds of each."""
    from django.contrib.auth.models import User
    from django.core.management import call_command

    call_command("migrate", verbosity=0)
    User.objects.create_user("with_a_second_step", password="right", first_name=phone(0))
    User.objects.create_user("without_one", password="right")
    User.objects.create_user("inactive_user", password="right", is_active=False)
    works = {
        "a second step": lambda: _refused("with_a_second_step"),
        "no second step": lambda: _refused("without_one"),
        "inactive": lambda: _refused("inactive_user"),
        "unknown": lambda: _refused("nobody_at_all"),
        "unknown, no hash (the control)": _told,
    }
    times: dict[str, list[float]] = {name: [] for name in works}
    for number in range(ROUNDS + 5):
        # In another order each time, so that none always comes after the same one.
        for name in random.sample(list(works), len(works)):
            began = time.perf_counter()
            works[name]()
            if number >= 5:
                times[name].append(time.perf_counter() - began)
    return times


def _refused(username: str) -> None:
    from django.test import Client

    response = Client().post(LOGIN, {"username": username, "password": "wrong"})
    assert response.status_code == 200


def _told() -> None:
    from django.conf import settings

    before = settings.AUTHENTICATION_BACKENDS
    settings.AUTHENTICATION_BACKENDS = ["benchmarks.timing_backends.TellTaleBackend"]
    try:
        _refused("nobody_at_all")
    finally:
        settings.AUTHENTICATION_BACKENDS = before


if __name__ == "__main__":
    sys.exit(main())
