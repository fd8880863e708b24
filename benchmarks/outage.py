"""``python -m benchmarks.outage``: 50 logins at once while the provider hangs, and what other pages feel of it.

gunicorn with 8 threads in one process, PostgreSQL, the sandbox in a process of its own, all on loopback. A page without
a second step is asked for at a steady rate, and each answer's time is counted from when the request was due.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import random
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from functools import partial
from http import HTTPStatus
from typing import Any

import requests

from . import databases, logins, provider
from .processes import clean_up_when_terminated
from .provider import Phones, phone
from .server import serving
from .sites import LOGIN, PAGE, PASSWORD, VERIFY, Site, username
from .table import markdown

THREADS = 8
USERS = 50
WITH_A_RECOVERY_CODE = 10
RATE = 40
"""Pages a second."""
CROWDED = 3
"""Seconds in which 50 logins at once keep one process busy, whatever the provider does; left out in a column."""
LIMITS = {
    "SENDS_PER_LOGIN": 10**6,
    "RESEND_PAUSE": 1,
    # A minute's outage stands for an hour's.
    "CIRCUIT_OPEN_SECONDS": 5,
}
PATIENCE = 60
"""Seconds within which everybody must be in after the provider is back."""


class Visitor:
    """A browser of one user."""

    def __init__(self, site: str, sandbox: dict[str, str], number: int) -> None:
        self.site, self.sandbox = site, sandbox
        self.username, self.phone = username(number), phone(number)
        self.session = requests.Session()
        # The server closes what was idle for two seconds; a click that meets just that would be lost.
        self.session.headers["Connection"] = "close"
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
        self.session.get(f"{self.site}{LOGIN}", timeout=60)
        self.post(LOGIN, username=self.username, password=PASSWORD)

    def last_pin(self) -> str | None:
        found = self.messages()[self.seen :]
        return str(found[-1]["pin"]) if found else None

    def messages(self) -> list[dict[str, Any]]:
        with contextlib.closing(Phones(self.sandbox)) as phones:
            return phones.messages(self.phone)

    def is_in_with(self, path: str, **fields: str) -> bool:
        self.session.get(f"{self.site}{VERIFY}", timeout=60)
        for _ in range(5):
            answer = self.post(path, **fields)
            if answer.status_code == HTTPStatus.FOUND or 'name="pin"' not in answer.text:
                break
            time.sleep(1)  # too busy to check it; it is good still
        return answer.headers.get("Location") == PAGE

    def log_in(self) -> bool:
        """Password and PIN, clicking "Try again" as long as nothing comes."""
        self.give_password()
        return self.go_on()

    def go_on(self) -> bool:
        ends = time.monotonic() + PATIENCE
        while time.monotonic() < ends:
            pin = self.last_pin()
            if pin and self.is_in_with(VERIFY, pin=pin):
                return True
            self.session.get(f"{self.site}{VERIFY}", timeout=60)
            self.post(f"{VERIFY}resend/")
            time.sleep(1)
        return False


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
    clean_up_when_terminated()
    unprotected = {"PROVIDER_CALLS_AT_ONCE": 10**6, "CIRCUIT_FAILURES": 10**6} if options.unprotected else {}
    fault = {"fault": "latency", "seconds": 2} if options.slow else {"fault": "hang"}
    with contextlib.ExitStack() as stack:
        sandbox = stack.enter_context(provider.running())
        database = stack.enter_context(databases.new("postgresql", "outage"))
        site = Site("verigator", database, provider.with_service(sandbox, "outage"), {**LIMITS, **unprotected})
        with site.process() as process:
            process(logins.prepare, site)
            codes = process(_recovery_codes)
        address = stack.enter_context(serving(site, workers=1, threads=THREADS))
        _run(f"http://{address}", sandbox, codes, options.seconds, fault)


def _run(site: str, sandbox: dict[str, str], codes: list[str], seconds: int, fault: dict[str, Any]) -> None:
    visitors = [Visitor(site, sandbox, number) for number in range(USERS)]
    warm = [Visitor(site, sandbox, number) for number in range(USERS)]
    _at_once([visitor.log_in for visitor in warm])  # every row, connection and thread is there

    quiet = _while(site, seconds, lambda: None)
    before = _calls(sandbox)
    with_provider = _while(site, seconds, lambda: _at_once([visitor.log_in for visitor in visitors]))
    normal = _calls(sandbox) - before

    # The same clicks as in the outage, and nothing wrong: what they cost by themselves.
    visitors = [Visitor(site, sandbox, number) for number in range(USERS)]
    idle = threading.Event()

    def clicks() -> None:
        _at_once([visitor.give_password for visitor in visitors])
        _keep_clicking(visitors[WITH_A_RECOVERY_CODE:], idle)

    clicked = _while(site, seconds, clicks)
    idle.set()
    time.sleep(2)

    visitors = [Visitor(site, sandbox, number) for number in range(USERS)]
    lost, rest = visitors[:WITH_A_RECOVERY_CODE], visitors[WITH_A_RECOVERY_CODE:]
    recovered: list[bool] = []
    waiting = threading.Event()

    def outage() -> None:
        provider.control(sandbox, "POST", "faults", json=fault)
        _at_once([visitor.give_password for visitor in visitors])
        recovered.extend(
            _at_once(
                [
                    partial(visitor.is_in_with, f"{VERIFY}recovery/", code=code)
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
    provider.control(sandbox, "DELETE", "faults")
    before = _calls(sandbox)
    began = time.monotonic()
    back = _at_once([visitor.go_on for visitor in rest])
    took = time.monotonic() - began
    after = _calls(sandbox) - before
    expected = normal * len(rest) / USERS

    rows = [
        ["nobody logs in", "1.00", "1.00", "1.00", _ratio(max(quiet), _p(quiet, 50))],
        ["50 logins at once, the provider answers", *_ratios(with_provider, quiet)],
        ["50 logins at once, the provider answers, and they click", *_ratios(clicked, quiet)],
        [f"50 logins at once, the provider's fault: {fault['fault']}", *_ratios(hanging, quiet)],
    ]
    head = ["meanwhile", "median", "p99", f"p99 after {CROWDED} s", "slowest, in medians"]
    print(f"gunicorn, 1 process of {THREADS} threads, PostgreSQL; {len(quiet)} pages in each phase")
    print("A page without a second step, as ratios to the quiet phase\n")
    print(markdown(head, rows))
    print("\nThe logins\n")
    print(
        markdown(
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
    )


def _keep_clicking(visitors: list[Visitor], waiting: threading.Event) -> None:
    for visitor in visitors:
        threading.Thread(target=_click, args=(visitor, waiting)).start()


def _click(visitor: Visitor, waiting: threading.Event) -> None:
    while not waiting.wait(random.uniform(5, 15)):  # not all of them at the same moment
        visitor.session.get(f"{visitor.site}{VERIFY}", timeout=60)
        visitor.post(f"{VERIFY}resend/")


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


def _calls(sandbox: dict[str, str]) -> int:
    """Return how many starts and checks the provider has seen."""
    calls = provider.control(sandbox, "GET", "calls")["calls"]
    return sum(call["operation"] in ("auth.start", "auth.verify") for call in calls)


def _recovery_codes() -> list[str]:
    """Have a code issued for each of the first users, in the site's process."""
    from django.core.management import call_command

    codes = []
    for number in range(WITH_A_RECOVERY_CODE):
        output = io.StringIO()
        call_command("verigator_reset", username(number), "--recovery-code", stdout=output)
        codes.append(output.getvalue().strip())
    return codes


if __name__ == "__main__":
    main()
