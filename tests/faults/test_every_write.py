"""R28 for every write of ours: refused once it is done again, refused for good it is no 500."""

from __future__ import annotations

from collections.abc import Callable
from http import HTTPStatus
from typing import Any

import pytest
from django.db import connection
from django.test import Client

from django_verigator import db
from django_verigator.backends import locmem
from django_verigator.flows.support import issue_code
from django_verigator.models import Challenge, Counter, RemoteDeletion
from tests.site.models import User

from ..conftest import PASSWORD, WRONG_PIN, deadlock, writes

Step = tuple[str, dict[str, str]]
"""A path and what is posted there; "PIN" is the newest one, "CODE" a recovery code."""

Answers = list[tuple[int, str]]
"""The statuses of the steps, and where they lead."""

LOGIN, ENROL, CANCEL = "/accounts/login/", "/accounts/enrol/", "/accounts/verify/cancel/"
PIN, RESEND, RECOVERY = "/accounts/verify/", "/accounts/verify/resend/", "/accounts/verify/recovery/"
SECURITY = "/accounts/security"
ALICE = {"username": "alice", "password": PASSWORD}
CAROL = {"username": "carol", "password": PASSWORD}
LOGGED_IN: list[Step] = [(LOGIN, ALICE), (PIN, {"pin": "PIN", "trust": "on"})]

FLOWS: dict[str, list[Step]] = {
    "login": [(LOGIN, ALICE), (PIN, {"pin": WRONG_PIN}), *LOGGED_IN, (LOGIN, ALICE)],
    "second code": [(LOGIN, ALICE), (RESEND, {}), (PIN, {"pin": "PIN"})],
    "cancel": [(LOGIN, ALICE), (CANCEL, {}), (LOGIN, ALICE)],
    "recovery": [(LOGIN, ALICE), (RECOVERY, {"code": "no such code"}), (RECOVERY, {"code": "CODE"})],
    "first phone": [(LOGIN, CAROL), (ENROL, {"phone": "+37255500077"}), (PIN, {"pin": "PIN"})],
    "another first phone": [(LOGIN, CAROL), (ENROL, {"phone": "+37255500077"}), (ENROL, {"phone": "+37255500078"})],
    "change": [
        *LOGGED_IN,
        (f"{SECURITY}/phone/", {"phone": "+37255500099", "password": PASSWORD}),
        (f"{SECURITY}/phone/confirm/", {"pin": "PIN"}),
    ],
    "account": [
        *LOGGED_IN,
        (f"{SECURITY}/recovery-codes/", {"password": PASSWORD}),
        (f"{SECURITY}/browsers/", {}),
        (f"{SECURITY}/", {}),
    ],
}


class Refusing:
    """Refuses the write number ``number`` to our tables so many times, as a deadlock does."""

    def __init__(self, number: int = 0, times: int = 0) -> None:
        self.number, self.times = number, times
        self.writes: list[str] = []

    def __call__(self, execute: Any, sql: str, *args: Any) -> Any:
        if writes(sql):
            self.writes.append(sql)
            mine = self.writes[self.number :]
            if sql in mine[:1] and mine.count(sql) <= self.times:
                raise deadlock()
        return execute(sql, *args)


@pytest.fixture
def walk(transactional_db: None, settings: Any, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Answers]:
    """``walk(steps, refusing)`` takes the steps on a site with two new users."""
    settings.VERIGATOR = {**settings.VERIGATOR, "REQUIRED": "all", "TRUSTED_BROWSER_DAYS": 30}
    monkeypatch.setattr(db, "RETRY_PAUSE_SECONDS", 0)

    def walk(steps: list[Step], refusing: Refusing) -> Answers:
        locmem.reset()
        for model in (User, Counter, RemoteDeletion):
            model.objects.all().delete()
        # Without a signal: their links are made at the login.
        users = [User(username="alice", phone_number="+37255500067"), User(username="carol")]
        for user in users:
            user.set_password(PASSWORD)
        User.objects.bulk_create(users)
        code = issue_code(User.objects.get(username="alice"), by="the test")
        browser = Client(raise_request_exception=False)
        seen = []
        for path, data in steps:
            Challenge.objects.update(resend_at=None)
            words = {"PIN": locmem.outbox[-1].pin if locmem.outbox else "", "CODE": code}
            with connection.execute_wrapper(refusing):
                answer = browser.post(path, {key: words.get(value, value) for key, value in data.items()})
            seen.append((answer.status_code, answer.get("Location", "")))
        return seen

    return walk


@pytest.mark.threat("R28")
@pytest.mark.parametrize("name", FLOWS)
def test_write_that_meets_a_deadlock__is_done_again(walk: Any, name: str) -> None:
    undisturbed = walk(FLOWS[name], watch := Refusing())
    assert {status for status, _ in undisturbed} <= {HTTPStatus.OK, HTTPStatus.FOUND}
    assert len(watch.writes) > 5
    for number, sql in enumerate(watch.writes):
        assert walk(FLOWS[name], Refusing(number, times=1)) == undisturbed, sql


@pytest.mark.threat("R28")
@pytest.mark.parametrize("name", ["login", "cancel", "recovery", "first phone", "account"])
def test_write_that_fails_twice__is_no_500(walk: Any, name: str) -> None:
    walk(FLOWS[name], watch := Refusing())
    for number, sql in enumerate(watch.writes):
        statuses = [status for status, _ in walk(FLOWS[name], Refusing(number, times=2))]
        assert HTTPStatus.INTERNAL_SERVER_ERROR not in statuses, sql
