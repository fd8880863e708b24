"""``python -m benchmarks``: every figure is a ratio of things measured in turn, in one run. Takes a minute or two."""

from __future__ import annotations

import platform

from . import bulk, calls, logins, setup


def main() -> None:
    setup.django()
    import django
    import requests

    print(f"Python {platform.python_version()}, Django {django.__version__}, requests {requests.__version__}\n")
    logins.main()
    calls.main()
    bulk.main()


if __name__ == "__main__":
    main()
