"""``python -m benchmarks``: every figure is a ratio of things measured in turn, in one run. Takes a few minutes."""

from __future__ import annotations

import argparse
import contextlib
import platform
import sys
from collections.abc import Iterator
from importlib.util import find_spec

from . import bulk, calls, databases, logins, provider, throughput
from .processes import clean_up_when_terminated
from .sites import Site
from .table import HEAD, QUICK, Effort, Row, markdown

WITHOUT_GUNICORN = "Left out: logins per second. gunicorn is not installed (extra servers)."


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--database", choices=databases.KINDS, default=databases.KINDS[0], help="(%(default)s)")
    parser.add_argument("--quick", action="store_true", help="half a minute, to see that all of it runs")
    options = parser.parse_args()
    clean_up_when_terminated()
    rows = list(measure(options.database, QUICK if options.quick else Effort()))
    import django
    import requests

    print(f"Python {platform.python_version()}, Django {django.__version__}, requests {requests.__version__}, ", end="")
    print(f"{options.database}\n")
    print(markdown(HEAD, (row.cells for row in rows)))
    if not has_gunicorn():
        print(f"\n{WITHOUT_GUNICORN}")


def measure(database: str, effort: Effort) -> Iterator[Row]:
    with contextlib.ExitStack() as stack:
        sandbox = stack.enter_context(provider.running())
        sites, processes = {}, {}
        for name in logins.NAMES:
            entry = stack.enter_context(databases.new(database, name))
            sites[name] = Site(name, entry, provider.with_service(sandbox, name))
            processes[name] = stack.enter_context(sites[name].process())
            processes[name](logins.prepare, sites[name])
        say("logins")
        yield from logins.rows(sites, processes, effort)
        if has_gunicorn():
            say("logins on gunicorn")
            yield from throughput.rows(sites, effort)
        say("calls")
        yield from calls.rows(sandbox, effort)
        say("registrations")
        yield from bulk.times(sites[logins.OURS], processes[logins.OURS], effort)
        say("memory")
        yield from bulk.memory(sites[logins.OURS], processes[logins.OURS], effort)


def has_gunicorn() -> bool:
    return find_spec("gunicorn") is not None


def say(text: str) -> None:
    print(f"measuring: {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
