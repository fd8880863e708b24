"""A complete login, each in a fresh browser, as a ratio to Django's password login; and a guarded page."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from . import setup

ROUNDS = 150
PASSWORD = "benchmark"
PHONE = "+37255500067"


def main() -> None:
    from django.contrib.auth.models import User

    User.objects.create_user("alice", password=PASSWORD, first_name=PHONE)
    rows = [["password login (Django's LoginView)", "1.00", str(_statements(_plain))]]
    pin = _locmem_pin
    plain, by_hand, ours = setup.in_turn(ROUNDS, _plain, lambda: _by_hand(pin), lambda: _ours(pin))
    rows.append(["two steps by hand, no limits, locmem", f"{by_hand / plain:.2f}", _count(lambda: _by_hand(pin))])
    rows.append(["two steps of django_verigator, locmem", f"{ours / plain:.2f}", _count(lambda: _ours(pin))])
    with setup.sandbox() as address:
        pin = _use_sandbox(address)
        plain, by_hand, ours = setup.in_turn(ROUNDS, _plain, lambda: _by_hand(pin), lambda: _ours(pin))
        rows.append(["two steps by hand, no limits, sandbox", f"{by_hand / plain:.2f}", _count(lambda: _by_hand(pin))])
        rows.append(["two steps of django_verigator, sandbox", f"{ours / plain:.2f}", _count(lambda: _ours(pin))])
        _pages(pin)
    setup.table("A complete login", ["login", "times a password login", "statements"], rows)


def _pages(pin: Callable[[], str]) -> None:
    from django.test import Client

    client = Client()
    _ours(pin, client)
    plain, guarded = setup.in_turn(400, lambda: client.get("/plain/"), lambda: client.get("/guarded/"))
    setup.table(
        "A page that only its user may see",
        ["page", "times login_required", "statements"],
        [
            ["login_required", "1.00", _count(lambda: client.get("/plain/"))],
            ["verified_required", f"{guarded / plain:.2f}", _count(lambda: client.get("/guarded/"))],
        ],
    )


def _statements(work: Callable[[], Any]) -> int:
    from django.db import connection
    from django.test.utils import CaptureQueriesContext

    work()
    with CaptureQueriesContext(connection) as context:
        work()
    left_out = ("BEGIN", "COMMIT", "SAVEPOINT", "RELEASE", "ROLLBACK")
    return sum(not query["sql"].startswith(left_out) for query in context.captured_queries)


def _count(work: Callable[[], Any]) -> str:
    return str(_statements(work))


def _plain() -> None:
    from django.test import Client

    _found(Client().post("/plain/login/", {"username": "alice", "password": PASSWORD}))


def _by_hand(pin: Callable[[], str]) -> None:
    from django.test import Client

    client = Client()
    _found(client.post("/by-hand/password/", {"username": "alice", "password": PASSWORD}))
    _found(client.post("/by-hand/pin/", {"pin": pin()}))


def _ours(pin: Callable[[], str], client: Any = None, *, again: bool = True) -> None:
    from django.test import Client

    from django_verigator.models import VerigatorUser

    client = client or Client()
    _found(client.post("/accounts/login/", {"username": "alice", "password": PASSWORD}))
    response = client.post("/accounts/verify/", {"pin": pin()})
    if response.status_code != 302 and again:
        # Of some thousand PINs of four digits a few are the same as the one before, which is refused by design.
        VerigatorUser.objects.update(last_pin="", consecutive_failures=0)
        _ours(pin, type(client)(), again=False)
    else:
        _found(response)


def _found(response: Any) -> None:
    assert response.status_code == 302, response.content.decode()


def _locmem_pin() -> str:
    from django_verigator.backends import locmem

    return locmem.outbox[-1].pin


def _use_sandbox(address: str) -> Callable[[], str]:
    import requests
    from django.conf import settings
    from django.contrib.auth.models import User
    from django.core.signals import setting_changed

    from django_verigator.client import Api
    from django_verigator.models import VerigatorUser

    username, password = setup.CREDENTIALS
    service = Api(username, password, address).services.create("bench.example", "Bench")
    options = {"username": username, "password": password, "endpoint": address, "service_id": service.id}
    backend = "django_verigator.backends.verigator.VerigatorBackend"
    settings.VERIGATOR = {**settings.VERIGATOR, "BACKENDS": {"default": {"BACKEND": backend, "OPTIONS": options}}}
    setting_changed.send(None, setting="VERIGATOR", value=settings.VERIGATOR, enter=True)
    VerigatorUser.objects.all().delete()
    User.objects.get().save()
    session = requests.Session()

    def pin() -> str:
        # Reading the phone is the benchmark's own work, the same for both ways.
        messages = session.get(f"{address}/_sandbox/messages", params={"to": PHONE}).json()["messages"]
        return str(messages[-1]["pin"])

    return pin
