"""``python -m benchmarks.outage``: 50 logins at once while the provider hangs, and what other pages feel of it.

gunicorn with 8 threads in one process, PostgreSQL, the sandbox in a process of its own, all on loopback. A page without
a second step is asked for at a steady rate, and each answer's time is counted from when the request was due.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from http import HTTPStatus
from typing import Any

import requests

from . import outage_site, setup

USERS = 50
WITH_A_RECOVERY_CODE = 10
RATE = 40
"""Pages a second."""
CROWDED = 3
"""Seconds in which 50 logins at once keep one process busy, whatever the provider does; left out in a column."""
PASSWORD = "benchmark"
PATIENCE = 60
"""Seconds within which everybody must be in after the provider is back."""


class Visitor:
    """A browser of one user."""

    def __init__(self, site: str, provider: str, number: int) -> None:
        self.site, self.provider = site, provider
        self.username, self.phone = f"user{number}", phone(number)
        self.session = requests.Session()
        self.unanswered = 0
        """Answers other than a page or a redirect."""
        self.times: list[float] = []
        self.seen = 0

    def post(self, path: str, **fields: str) -> requests.Response:
        token = self.session.cookies.get("csrftoken", "")
        began = time.monotonic()
        answer = self.session.post(
            self.site + path, {**fields, "csrfmiddlewaretoken": token}, allow_redirects=False, timeout=60
        )
        self.times.append(time.monotonic() - began)
        self.unanswered += answer.status_code not in (200, 302)
        return answer

    def give_password(self) -> None:
        self.seen = len(self.messages())  # those of an earlier login are no help
        self.session.get(f"{self.site}/accounts/login/", timeout=60)
        self.post("/accounts/login/", username=self.username, password=PASSWORD)

    def last_pin(self) -> str | None:
        found = self.messages()[self.seen :]
        return str(found[-1]["pin"]) if found else None

    def messages(self) -> list[dict[str, str]]:
        answer = requests.get(f"{self.provider}/_sandbox/messages", {"to": self.phone}, timeout=60)
        found: list[dict[str, str]] = answer.json()["messages"]
        return found

    def is_in_with(self, path: str, **fields: str) -> bool:
        self.session.get(f"{self.site}/accounts/verify/", timeout=60)
        for _ in range(5):
            answer = self.post(path, **fields)
            if answer.status_code == HTTPStatus.FOUND or 'name="pin"' not in answer.text:
                break
            time.sleep(1)  # too busy to check it; it is good still
        return answer.headers.get("Location") == "/guarded/"

    def log_in(self) -> bool:
        """Password and PIN, clicking "Try again" as long as nothing comes."""
        self.give_password()
        return self.go_on()

    def go_on(self) -> bool:
        ends = time.monotonic() + PATIENCE
        while time.monotonic() < ends:
            pin = self.last_pin()
            if pin and self.is_in_with("/accounts/verify/", pin=pin):
                return True
            self.session.get(f"{self.site}/accounts/verify/", timeout=60)
            self.post("/accounts/verify/resend/")
            time.sleep(1)
        return False


def phone(number: int) -> str:
    return f"+372555{number:05}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=int, default=60, help="how long each of the four phases takes (%(default)s)")
    parser.add_argument("--unprotected", action="store_true", help="the control: no bound on calls, no circuit")
    parser.add_argument("--slow", action="store_true", help="the provider takes 2 seconds for each answer, and is up")
    parser.add_argument("--probe", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.probe:
        print(json.dumps(probe(options.probe[0], float(options.probe[1]))))
        return
    limits = {"PROVIDER_CALLS_AT_ONCE": 10**6, "CIRCUIT_FAILURES": 10**6} if options.unprotected else {}
    with contextlib.ExitStack() as stack:
        provider = stack.enter_context(setup.sandbox())
        site_options = {
            "database": stack.enter_context(_database()),
            "endpoint": provider,
            "service_id": _service(provider),
            "limits": limits,
        }
        codes = _prepare(site_options)
        site = stack.enter_context(_gunicorn(site_options))
        fault = {"fault": "latency", "seconds": 2} if options.slow else {"fault": "hang"}
        _run(site, provider, codes, options.seconds, fault)


def _run(site: str, provider: str, codes: list[str], seconds: int, fault: dict[str, Any]) -> None:
    visitors = [Visitor(site, provider, number) for number in range(USERS)]
    warm = [Visitor(site, provider, number) for number in range(USERS)]
    _at_once([visitor.log_in for visitor in warm])  # every row, connection and thread is there

    quiet = _while(site, seconds, lambda: None)
    before = _calls(provider)
    with_provider = _while(site, seconds, lambda: _at_once([visitor.log_in for visitor in visitors]))
    normal = _calls(provider) - before

    # The same clicks as in the outage, and nothing wrong: what they cost by themselves.
    visitors = [Visitor(site, provider, number) for number in range(USERS)]
    idle = threading.Event()

    def clicks() -> None:
        _at_once([visitor.give_password for visitor in visitors])
        _keep_clicking(visitors[WITH_A_RECOVERY_CODE:], idle)

    clicked = _while(site, seconds, clicks)
    idle.set()
    time.sleep(2)

    visitors = [Visitor(site, provider, number) for number in range(USERS)]
    lost, rest = visitors[:WITH_A_RECOVERY_CODE], visitors[WITH_A_RECOVERY_CODE:]
    recovered: list[bool] = []
    waiting = threading.Event()

    def outage() -> None:
        requests.post(f"{provider}/_sandbox/faults", json=fault, timeout=10)
        _at_once([visitor.give_password for visitor in visitors])
        recovered.extend(
            _at_once(
                [
                    partial(visitor.is_in_with, "/accounts/verify/recovery/", code=code)
                    for visitor, code in zip(lost, codes, strict=True)
                ]
            )
        )
        # The others click "Try again" every few seconds, and now and then the provider is tried.
        _keep_clicking(rest, waiting)

    hanging = _while(site, seconds, outage)
    posts = [seconds for visitor in visitors for seconds in visitor.times]
    waiting.set()
    time.sleep(8)  # the last click is answered
    requests.delete(f"{provider}/_sandbox/faults", timeout=10)
    before = _calls(provider)
    began = time.monotonic()
    back = _at_once([visitor.go_on for visitor in rest])
    took = time.monotonic() - began
    after = _calls(provider) - before
    expected = normal * len(rest) / USERS

    rows = [
        ["nobody logs in", "1.00", "1.00", "1.00", _ratio(max(quiet), _p(quiet, 50))],
        ["50 logins at once, the provider answers", *_ratios(with_provider, quiet)],
        ["50 logins at once, the provider answers, and they click", *_ratios(clicked, quiet)],
        [f"50 logins at once, the provider's fault: {fault['fault']}", *_ratios(hanging, quiet)],
    ]
    print(f"gunicorn, 1 process of {outage_site.THREADS} threads, PostgreSQL; {len(quiet)} pages in each phase\n")
    setup.table(
        "A page without a second step, as ratios to the quiet phase",
        ["meanwhile", "median", "p99", f"p99 after {CROWDED} s", "slowest, in medians"],
        rows,
    )
    setup.table(
        "The logins",
        ["what", "figure"],
        [
            ["recovery-code logins meanwhile", f"{sum(recovered)} of {len(lost)}"],
            ["logins after it is back, without a restart", f"{sum(back)} of {len(rest)}"],
            ["... and how long until the last one was in, in circuit times", f"{took / 5:.1f}"],
            ["calls to the provider for them, as a ratio to normal", f"{after / expected:.2f}"],
            ["answers other than a page", str(sum(visitor.unanswered for visitor in visitors))],
            ["posts that waited for the provider meanwhile", f"{sum(s > 2 for s in posts)} of {len(posts)}"],
        ],
    )


def _keep_clicking(visitors: list[Visitor], waiting: threading.Event) -> None:
    for visitor in visitors:
        threading.Thread(target=_click, args=(visitor, waiting)).start()


def _click(visitor: Visitor, waiting: threading.Event) -> None:
    while not waiting.wait(random.uniform(5, 15)):  # not all of them at the same moment
        visitor.session.get(f"{visitor.site}/accounts/verify/", timeout=60)
        visitor.post("/accounts/verify/resend/")


def _at_once(work: list[Callable[[], Any]]) -> list[Any]:
    results: list[Any] = [None] * len(work)
    ready = threading.Barrier(len(work))

    def run(place: int) -> None:
        ready.wait()
        results[place] = work[place]()

    threads = [threading.Thread(target=run, args=(place,)) for place in range(len(work))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


def _while(site: str, seconds: int, work: Callable[[], object]) -> list[float]:
    """Ask for the page from another process while ``work`` is done; return how long each answer took."""
    command = [sys.executable, "-m", "benchmarks.outage", "--probe", f"{site}/public/", str(seconds)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    time.sleep(1)
    work()
    assert process.stdout is not None
    times: list[float] = json.loads(process.stdout.readline())
    process.wait(10)
    return times


def probe(url: str, seconds: float) -> list[float]:
    times = [0.0] * int(seconds * RATE)
    began = time.monotonic() + 1
    places = iter(range(len(times)))
    lock = threading.Lock()

    def work() -> None:
        session = requests.Session()
        while True:
            with lock:
                place = next(places, None)
            if place is None:
                return
            due = began + place / RATE
            time.sleep(max(0, due - time.monotonic()))
            session.get(url, timeout=60).raise_for_status()
            # From when it was due: a page that waits behind another one is slow, too.
            times[place] = time.monotonic() - due

    _at_once([work] * 16)
    return times


def _p(times: list[float], percent: int) -> float:
    return sorted(times)[len(times) * percent // 100]


def _ratio(one: float, other: float) -> str:
    return f"{one / other:.2f}" if one / other < 10 else f"{one / other:.0f}"


def _ratios(times: list[float], quiet: list[float]) -> list[str]:
    return [
        _ratio(_p(times, 50), _p(quiet, 50)),
        _ratio(_p(times, 99), _p(quiet, 99)),
        _ratio(_p(times[RATE * CROWDED :], 99), _p(quiet[RATE * CROWDED :], 99)),
        _ratio(max(times), _p(quiet, 50)),
    ]


def _calls(provider: str) -> int:
    """Starts and checks that the provider has seen."""
    calls = requests.get(f"{provider}/_sandbox/calls", timeout=10).json()["calls"]
    return sum(call["operation"] in ("auth.start", "auth.verify") for call in calls)


def _service(provider: str) -> str:
    from django_verigator.client import Api

    return Api(*setup.CREDENTIALS, provider).services.create("outage.example", "Outage").id


@contextlib.contextmanager
def _database() -> Iterator[str]:
    import psycopg

    name = f"verigator_outage_{os.getpid()}"
    where: dict[str, Any] = {
        "host": os.environ.get("PGHOST", "127.0.0.1"),
        "user": os.environ.get("PGUSER", "postgres"),
    }
    with psycopg.connect(dbname="postgres", autocommit=True, **where) as connection:
        connection.execute(f'CREATE DATABASE "{name}"')
        try:
            yield name
        finally:
            connection.execute(f'DROP DATABASE "{name}" WITH (FORCE)')


def _prepare(options: dict[str, Any]) -> list[str]:
    outage_site.configure(options)
    from django.contrib.auth.models import User

    users = [User.objects.create_user(f"user{n}", password=PASSWORD, first_name=phone(n)) for n in range(USERS)]
    from django_verigator.flows import recovery

    return [recovery.renew(user)[0] for user in users[:WITH_A_RECOVERY_CODE]]


@contextlib.contextmanager
def _gunicorn(options: dict[str, Any]) -> Iterator[str]:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    site = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "gunicorn", "--workers", "1", "--threads", str(outage_site.THREADS)]
    process = subprocess.Popen(
        [*command, "--bind", f"127.0.0.1:{port}", "--log-level", "error", "benchmarks.outage_site:application"],
        env={**os.environ, "OUTAGE_SITE": json.dumps(options)},
        stderr=subprocess.DEVNULL if "OUTAGE_VERBOSE" not in os.environ else None,
    )
    try:
        ends = time.monotonic() + 30
        while True:
            try:
                requests.get(f"{site}/public/", timeout=5).raise_for_status()
                break
            except requests.ConnectionError:
                if time.monotonic() > ends:
                    raise
                time.sleep(0.2)
        yield site
    finally:
        process.terminate()
        process.wait(30)


if __name__ == "__main__":
    main()
