"""``python -m tests.crashes --kills 1000 --seed 1``: on SQLite, or as VERIGATOR_TEST_DATABASE says."""

from __future__ import annotations

import argparse
import os
import sys
import time

import django
from django.conf import settings


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.crashes", description=__doc__)
    parser.add_argument("--kills", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.settings")
    database = settings.DATABASES["default"]
    if "TEST" not in database:
        database["TEST"] = {"NAME": "verigator_kills"}
    django.setup()

    from django.db import connection
    from django.test import override_settings

    from django_verigator.sandbox import Sandbox

    from .driver import ACCOUNT, LATENCY, Driver, TroubleError, configuration

    connection.creation.create_test_db(verbosity=0, autoclobber=True)
    began = time.monotonic()
    done = 0
    try:
        with Sandbox(**ACCOUNT) as sandbox:
            sandbox.add_fault("latency", seconds=LATENCY)
            with override_settings(VERIGATOR=configuration(sandbox)), Driver(sandbox, options.seed) as driver:
                try:
                    for done in range(1, options.kills + 1):
                        driver.kill()
                        if done % 100 == 0:
                            print(f"{done} kills, {time.monotonic() - began:.0f} s", flush=True)
                except TroubleError as trouble:
                    print(f"kill {done} of seed {options.seed}: {trouble}")
                    return 1
                finally:
                    print(f"{connection.vendor}: {done} kills, in: {_listed(driver.hit)}")
                    print(f"found unfinished: {_listed(driver.found)}")
    finally:
        connection.creation.destroy_test_db("", verbosity=0)
    print("nothing lost, nothing doubled, nothing left over")
    return 0


def _listed(counts: dict[str, int]) -> str:
    return ", ".join(f"{what} {count}" for what, count in sorted(counts.items(), key=lambda pair: -pair[1]))


if __name__ == "__main__":
    sys.exit(main())
