"""The processes that are killed: ``python -m tests.crashes.worker JSON``.

Django is loaded once; for each line on standard input (a seed and an act) a fresh process is forked off, which begins
with that act and goes on with others, until somebody kills it: it registers users, logs them in, changes their phones,
deletes them, runs the sync. Two lines answer: its process id at once, and when it is dead what it was doing.
"""

from __future__ import annotations

import json
import mmap
import os
import random
import sys
import time
import traceback
from typing import Any
from urllib.parse import quote
from urllib.request import urlopen

import django
from django.conf import settings

PASSWORD = "correct horse"
ACTS = ("register", "change", "delete", "sync")
PATIENCE = 5  # seconds


def main() -> None:
    order = json.loads(sys.argv[1])
    settings.DATABASES["default"]["NAME"] = order["database"]
    settings.VERIGATOR = order["verigator"]
    django.setup()
    # Now, and not in each process anew.
    from django.test import Client
    from django.urls import get_resolver

    _ = Client, get_resolver().url_patterns
    act = mmap.mmap(-1, 1)  # the child's memory and ours
    for line in sys.stdin:
        seed, first = line.split()
        act[0] = ACTS.index(first)
        child = os.fork()
        if child == 0:
            _live(int(seed), order["sandbox"], act)
        _say(str(child))
        _, status = os.waitpid(child, 0)
        _say("failed" if os.WIFEXITED(status) else ACTS[act[0]])


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def _live(seed: int, sandbox: str, act: mmap.mmap) -> None:
    """Never returns: ends by the kill, or with exit code 1 where something raised."""
    try:
        chance = random.Random(seed)
        while True:
            _do(ACTS[act[0]], chance, sandbox)
            act[0] = chance.randrange(len(ACTS))
    except BaseException:  # noqa: BLE001 - whatever it is, the driver is told
        traceback.print_exc()
        sys.stderr.flush()
        os._exit(1)


def _do(act: str, chance: random.Random, sandbox: str) -> None:
    from django.contrib.auth import get_user_model

    users = get_user_model().objects
    names = list(users.order_by("pk").values_list("username", flat=True))
    if act == "sync":
        from django_verigator.records import sync

        sync.sync_all(workers=2)
    elif act == "register" or not names:
        users.create_user(f"u{chance.randrange(16**8):08x}", password=PASSWORD, phone_number=_number(chance))
    elif act == "delete":
        users.get(username=chance.choice(names)).delete()
    else:
        _change(chance.choice(names), _number(chance), sandbox)


def _number(chance: random.Random) -> str:
    return f"+3725{chance.randrange(10**7):07}"


def _change(name: str, number: str, sandbox: str) -> None:
    """Log in with a PIN, and take a new phone, as a browser would."""
    from django.test import Client

    from django_verigator.models import Counter, VerigatorUser

    Counter.objects.all().delete()  # a day has passed since the last time
    browser = Client()
    before = VerigatorUser.objects.get(user__username=name).phone_number
    _post(browser, "/accounts/login/", "/accounts/verify/", username=name, password=PASSWORD)
    _post(browser, "/accounts/verify/", "/private/", pin=_pin(sandbox, before))
    confirm = "/accounts/security/phone/confirm/"
    _post(browser, "/accounts/security/phone/", confirm, phone=number, password=PASSWORD)
    _post(browser, confirm, "/accounts/security/", pin=_pin(sandbox, number))


def _post(browser: Any, url: str, leads_to: str, **data: str) -> None:
    response = browser.post(url, data)
    if response.get("Location") != leads_to:
        form = response.context_data["form"] if response.status_code == 200 else None
        raise AssertionError(f"{url}: {response.status_code} {response.get('Location')} {form and form.errors}")


def _pin(sandbox: str, number: str) -> str:
    until = time.monotonic() + PATIENCE
    while True:
        with urlopen(f"{sandbox}/_sandbox/messages?to={quote(number)}", timeout=PATIENCE) as response:
            messages = json.load(response)["messages"]
        if messages or time.monotonic() > until:
            return str(messages[-1]["pin"])


if __name__ == "__main__":
    main()
