"""Syncs many users against a sandbox that has bad days, kills the run again and again, and looks what is left."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from django_verigator.client import Api

from .site import ROOT, Site

ACCOUNT = ("bulk", "bulk")
BACKEND = "django_verigator.backends.verigator.VerigatorBackend"
CREATE = {"operation": "users.create"}
FAULTS: list[dict[str, Any]] = [
    {"fault": "latency", "seconds": 0.02},
    # Half of the errors come after the record was made, as when a reply is lost.
    {"fault": "status", "status": 500, "share": 0.025, "seed": 1, "when": "before"},
    {"fault": "status", "status": 500, "share": 0.025, "seed": 2, "when": "after", **CREATE},
    {"fault": "status", "status": 409, "share": 0.01, "seed": 3, **CREATE},
    {"fault": "status", "status": 422, "share": 0.01, "seed": 4, **CREATE},
]
MOST_RUNS = 12
# Exit codes of verigator_sync: nothing is left, or only numbers that cannot be used, since the provider refuses some on
# order.
DONE = (0, 4)


@contextlib.contextmanager
def sandbox() -> Iterator[str]:
    """A sandbox in a process of its own; yields its address."""
    username, password = ACCOUNT
    command = [sys.executable, "-m", "django_verigator.sandbox", "--port", "0", "--username", username]
    process = subprocess.Popen([*command, "--password", password], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        yield process.stdout.readline().split()[-1].rstrip("/")
    finally:
        process.terminate()
        process.communicate(timeout=10)


def order(url: str, faults: list[dict[str, Any]]) -> None:
    for fault in faults:
        body = json.dumps(fault).encode()
        request = urllib.request.Request(f"{url}/_sandbox/faults", body, {"Content-Type": "application/json"})
        urllib.request.urlopen(request).close()


def calls(url: str, operation: str) -> int:
    """How many such calls the sandbox has seen (of the last thousand or so that it keeps)."""
    with urllib.request.urlopen(f"{url}/_sandbox/calls?operation={operation}") as response:
        return len(json.load(response)["calls"])


def verigator(url: str, total_timeout: float = 1.9, **more: Any) -> dict[str, Any]:
    """The setting of a site at this sandbox, with a service of its own there."""
    api = Api(*ACCOUNT, url)
    service = api.services.create("bulk.example", "Bulk")
    api.close()
    options = {"username": ACCOUNT[0], "password": ACCOUNT[1], "endpoint": url, "service_id": service.id}
    options["total_timeout"] = total_timeout
    return {"BACKENDS": {"default": {"BACKEND": BACKEND, "OPTIONS": options}}, "STAND_IN": True, **more}


@dataclass
class Result:
    kills: int = 0
    runs: int = 0
    codes: list[int] = field(default_factory=list)
    peak: float = 0.0
    seconds: float = 0.0
    found: dict[str, Any] = field(default_factory=dict)

    def problems(self, users: int) -> list[str]:
        """What is not as it must be, in words; nothing at best."""
        found = self.found
        states = found["states"]
        wrong = [f"{key}: {found[key]}" for key in ("twice", "lost", "left_over", "different", "somebody_elses")
                 if found[key]]  # fmt: skip
        if found["deletions"]:
            wrong.append(f"still to be deleted: {found['deletions']}")
        if found["links"] != users:
            wrong.append(f"links: {found['links']} of {users}")
        if states.keys() - {"registered", "failed"}:
            wrong.append(f"states: {states}")
        if states.get("registered") != found["there"]:
            wrong.append(f"registered: {states.get('registered')}, records: {found['there']}")
        if self.codes[-1] not in DONE:
            wrong.append(f"exit codes: {self.codes}")
        return wrong


def drive(
    site: Site, *, kills: int, workers: int, shortest: float, longest: float, seed: int = 0, say: Any = print
) -> Result:
    """Kill so many runs with SIGKILL, each after a random time in seconds; then run until one ends with 0."""
    chance = random.Random(seed)
    result = Result()
    began = time.monotonic()
    while result.kills < kills:
        process = site.start("sync", "--workers", workers)
        try:
            printed, _ = process.communicate(timeout=chance.uniform(shortest, longest))
            ended = json.loads(printed)
            result.codes.append(ended["code"])
            result.peak = max(result.peak, ended["peak"])
            say(f"run {result.runs}: ended with {result.codes[-1]} before it could be killed")
        except subprocess.TimeoutExpired:
            os.kill(process.pid, signal.SIGKILL)
            process.communicate()
            result.kills += 1
            time.sleep(site.run_lease + 0.3)
            say(f"kill {result.kills}, after {time.monotonic() - began:.0f} s")
        result.runs += 1
        if result.codes and result.codes[-1] in DONE:
            break
    return finish(site, workers=max(workers, 8), result=result, say=say, began=began)


def finish(
    site: Site, *, workers: int, result: Result | None = None, say: Any = None, began: float | None = None
) -> Result:
    """Run until a run ends with 0, and look what is there then."""
    result = result or Result()
    began = began or time.monotonic()
    while not (result.codes and result.codes[-1] in DONE) and len(result.codes) < MOST_RUNS:
        if result.codes[-1:] == [3]:
            time.sleep(site.run_lease)
        ended = site.do("sync", "--workers", workers)
        result.runs += 1
        result.codes.append(ended["code"])
        result.peak = max(result.peak, ended["peak"])
        if say:
            say(f"run {result.runs}: ended with {ended['code']}, {ended['report'].get('counts')}")
    result.seconds = time.monotonic() - began
    result.found = site.do("check")
    return result
