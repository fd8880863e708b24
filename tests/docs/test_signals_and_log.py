"""The page on signals and log lists every signal with what it really carries, and every event that is logged."""

from __future__ import annotations

import ast
import logging
from collections import defaultdict

import pytest
from django.dispatch import Signal

from django_verigator import signals, testing

from ..conftest import PASSWORD, PHONE, WRONG_PIN, give_password
from .markdown import DOCS, README, ROOT, code, read, rows, section

PAGE = DOCS / "signals-and-log.md"
SIGNALS = {name: value for name, value in vars(signals).items() if isinstance(value, Signal)}


def test_signals__are_all_named_in_the_readme() -> None:
    assert set(SIGNALS) <= set(code(section(README, "Signals and log")))


@pytest.fixture
def seen():
    """What each signal carried."""
    found: dict[str, set[str]] = {}
    receivers = []
    for name, signal in SIGNALS.items():

        def receive(sender, signal, name=name, **kwargs):
            found[name] = set(kwargs)

        receivers.append((signal, receive))
        signal.connect(receive)
    yield found
    for signal, receive in receivers:
        signal.disconnect(receive)


def test_signals__carry_what_the_page_says(
    seen, client, settings, db, django_user_model, django_capture_on_commit_callbacks
) -> None:
    limits = {"TRIES_PER_USER_HOUR": 1, "SENDS_PER_USER_HOUR": 1, "RESEND_PAUSE": 1}
    settings.VERIGATOR = {**settings.VERIGATOR, "LIMITS": limits}
    with django_capture_on_commit_callbacks(execute=True):
        django_user_model.objects.create_user("alice", password=PASSWORD, phone_number=PHONE)
    give_password(client)
    client.post("/accounts/verify/", {"pin": testing.last_pin()})
    client.logout()
    give_password(client)
    settings.VERIGATOR = {**settings.VERIGATOR, "LIMITS": {**limits, "SENDS_PER_USER_HOUR": 5}}
    client.post("/accounts/verify/cancel/")
    give_password(client)
    client.post("/accounts/verify/", {"pin": WRONG_PIN})
    listed = {row[0].strip("`"): set(code(row[1])) for row in rows(section(PAGE, "Signals"))}
    assert seen == listed


def _events() -> dict[str, set[str]]:
    found: dict[str, set[str]] = defaultdict(set)
    package = ROOT / "django_verigator"
    for path in (path for path in package.rglob("*.py") if not {"sandbox", "client"} & set(path.parts)):
        for node in ast.walk(ast.parse(read(path))):
            if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.args):
                continue
            first = node.args[0]
            if not (isinstance(first, ast.Constant) and isinstance(first.value, str) and first.value[:1] != "%"):
                continue
            if node.func.attr == "record":
                levels = [
                    k.value.attr for k in node.keywords if k.arg == "level" and isinstance(k.value, ast.Attribute)
                ]
                found[first.value].add(levels[0] if levels else "INFO")
            elif node.func.attr == "site_failed":
                found[first.value].add("ERROR")
            elif ast.unparse(node.func.value) == "logger" and hasattr(logging, node.func.attr.upper()):
                found[first.value.split()[0]].add(node.func.attr.upper())
    return found


def test_events__are_all_listed_with_their_level() -> None:
    listed = {row[0].strip("`"): row[1] for row in rows(section(PAGE, "Log"))}
    events = _events()
    assert set(listed) == set(events)
    assert {name: level for name, level in listed.items() if level not in events[name]} == {}


def test_lines__look_as_shown(alice, client, caplog) -> None:
    caplog.set_level(logging.INFO, "django_verigator")
    give_password(client)
    record = next(record for record in caplog.records if record.event == "code_sent")
    assert record.getMessage().startswith(f"code_sent user={alice.pk} method=sms challenge=")
    assert (record.user_pk, record.verigator_method) == (alice.pk, "sms")
    assert "code_sent user=7 method=sms challenge=" in read(PAGE)
