"""One worker process of a site: ``python -m tests.races.worker JSON`` posts what it is told, when it is told.

It says "ready" on standard output, waits for a line on standard input, posts everything at once from one thread each,
and says which statuses came.
"""

from __future__ import annotations

import json
import sys
from functools import partial
from typing import Any

import django
from django.conf import settings


def main() -> None:
    order = json.loads(sys.argv[1])
    settings.DATABASES["default"]["NAME"] = order["database"]
    settings.VERIGATOR = order["verigator"]
    django.setup()

    from django.test import Client

    from .crowd import together

    def post(path: str, data: dict[str, str]) -> int:
        browser = Client()
        for name, value in order["cookies"].items():
            browser.cookies[name] = value
        return browser.post(path, data).status_code

    works: list[Any] = [partial(post, path, data) for path, data in order["posts"]]
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    sys.stdin.readline()
    json.dump(together(*works), sys.stdout)


if __name__ == "__main__":
    main()
