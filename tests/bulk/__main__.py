"""``python -m tests.bulk --users 100000 --kills 20``: the bulk run at full length. Exits with 1 if anything is wrong.

--users N       how many to register
--kills K       how often the run is killed with SIGKILL
--workers W     calls at a time
--postgresql    in a new PostgreSQL database instead of an SQLite file
--memory        no kills and no faults: a run that registers all, one that compares all, and their peaks of memory
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

from . import driver
from .site import Site

NAME = "verigator_bulk"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bulk")
    parser.add_argument("--users", type=int, default=2000)
    parser.add_argument("--kills", type=int, default=5)
    parser.add_argument("--workers", type=int, default=16)
    parser.add_argument("--longest", type=float, default=12.0, help="seconds to the next kill at most")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--postgresql", action="store_true")
    parser.add_argument("--memory", action="store_true")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, driver.sandbox() as url:
        database = NAME if given.postgresql else str(Path(folder, "bulk.sqlite3"))
        if given.postgresql:
            for command in (["dropdb", "--if-exists"], ["createdb"]):
                subprocess.run([*command, "-h", "127.0.0.1", "-U", "postgres", NAME], check=True)
        site = Site(database, driver.verigator(url))
        site.do("make_users", given.users)
        driver.order(url, [] if given.memory else driver.FAULTS)
        kills = 0 if given.memory else given.kills
        result = driver.drive(
            site, kills=kills, workers=given.workers, shortest=2.0, longest=given.longest, seed=given.seed
        )
        compared = site.do("sync", "--workers", given.workers) if given.memory else None
    problems = result.problems(given.users)
    print(
        f"{given.users} users, {result.kills} kills, {result.runs} runs, {result.seconds:.0f} s, codes {result.codes}"
    )
    print(f"peak memory of a run that ended: {result.peak} MB")
    if compared is not None:
        print(f"and of one that compared all with the provider's list: {compared['peak']} MB, {compared['report']}")
    print(f"found: {result.found}")
    print("\n".join(problems) or "complete, and nobody twice")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
