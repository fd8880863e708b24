"""What a login and a guarded page cost in SQL statements, each with what it is for."""

from __future__ import annotations

import re

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from django_verigator import conf
from django_verigator.models import VerigatorUser
from django_verigator.testing import login_verified

from .conftest import WRONG_PIN, give_password, sent_pin

MAKES_COUNTERS = connection.vendor != "mysql"
RAISE_COUNTERS = "INSERT counter" if MAKES_COUNTERS else "UPDATE counter"


def together(*steps: str) -> list[str]:
    """Steps that PostgreSQL takes in one statement, and the others in as many: all of them hold, or none."""
    return [" + ".join(steps)] if connection.vendor == "postgresql" else list(steps)


PASSWORD = [
    "SELECT site_user",  # the password
    "SELECT verigatoruser",  # must this user use two-factor authentication, and where does the code go to
]
WHILE_UNCONFIRMED = [
    "SELECT verigatoruser",  # is the number somebody else's
]
MISSING_COUNTERS = [
    "UPDATE counter",  # finds no rows to raise
    "INSERT counter",  # for the sends, and for the tries to come
]
SEND = [
    RAISE_COUNTERS,  # reserve a send for the user and the number; apart, so that what follows sees the send before
    *together(
        "UPDATE challenge",  # this challenge supersedes the others
        "INSERT challenge",
    ),
    "UPDATE challenge",  # after the call: sent, when, how
]
PIN = [
    "SELECT challenge",  # the pending login, with its user and link
    *together(
        "UPDATE challenge",  # before the call: reserve a try of this challenge
        "UPDATE verigatoruser",  # and of the wrong PINs in a row
        RAISE_COUNTERS,  # and of the user's hour and day
    ),
    "SELECT site_user",  # after the call: the user again, through the authentication backend
    *together(
        "UPDATE challenge",  # consumed, once
        "UPDATE verigatoruser",  # confirmed; this PIN not twice; nothing changed meanwhile
        "UPDATE counter",  # a right PIN was no try
    ),
    "SELECT session",  # Django: a new session key that is free
    "INSERT session",
    "UPDATE site_user",  # Django: last_login
    "UPDATE session",
]
FIRST_LOGIN = (PASSWORD + WHILE_UNCONFIRMED + ([] if MAKES_COUNTERS else MISSING_COUNTERS) + SEND, PIN)
LATER_LOGIN = (PASSWORD + SEND, PIN)


def statements(context: CaptureQueriesContext) -> list[str]:
    found = []
    for query in context.captured_queries:
        sql = query["sql"].replace("`", '"')
        steps = [describe(step) for step in re.split(r"WITH s0 AS \(|, s\d+ AS \(", sql) if step]
        if steps != [""]:
            found.append(" + ".join(steps))
    return found


def describe(sql: str) -> str:
    """Return verb and table, or "" for BEGIN and its like."""
    verb = sql.split()[0]
    if verb not in ("SELECT", "INSERT", "UPDATE", "DELETE"):
        return ""
    names = ("counter", "challenge", "verigatoruser", "session", "site_user")
    table = sql.split("FROM" if verb == "SELECT" else verb, 1)[1]
    return f"{verb} {min(names, key=lambda name: (table.find(name) % 10_000_000, name))}"


def log_in(browser) -> tuple[list[str], list[str]]:
    with CaptureQueriesContext(connection) as first:
        give_password(browser)
    with CaptureQueriesContext(connection) as second:
        browser.post("/accounts/verify/", {"pin": sent_pin()})
    return statements(first), statements(second)


def test_first_login_of_a_user(alice, browser):
    assert log_in(browser) == FIRST_LOGIN


def test_later_logins(alice, browser):
    log_in(Client())
    assert log_in(browser) == LATER_LOGIN


def test_login__takes_no_more_statements_than_promised():
    first, later = ([*password, *pin] for password, pin in (FIRST_LOGIN, LATER_LOGIN))
    most_first, most_later = {"postgresql": (14, 13), "sqlite": (19, 18)}.get(connection.vendor, (21, 18))
    assert len(first) <= most_first
    assert len(later) <= most_later


def test_last_failure__locks_in_the_order_in_which_a_right_pin_does(alice, browser):
    """Else the two would deadlock, and whoever knows the password could bring that about at the owner's login."""
    give_password(browser)
    VerigatorUser.objects.update(consecutive_failures=conf.consecutive_failures() - 1)
    with CaptureQueriesContext(connection) as captured:
        browser.post("/accounts/verify/", {"pin": WRONG_PIN})
    sent = statements(captured)
    rolled_back = together("UPDATE challenge", "UPDATE verigatoruser", RAISE_COUNTERS)
    locked = ["UPDATE challenge", "UPDATE verigatoruser", "UPDATE verigatoruser", RAISE_COUNTERS]
    assert sent[1 : 1 + len(rolled_back) + len(locked)] == [*rolled_back, *locked]
    assert VerigatorUser.objects.get().consecutive_failures == conf.consecutive_failures()


@pytest.mark.parametrize("url", ["/verified/", "/private/"])
def test_guarded_get_of_a_verified_user__takes_2_as_login_required_alone(
    alice, browser, django_assert_num_queries, url
):
    give_password(browser)
    browser.post("/accounts/verify/", {"pin": sent_pin()})
    for _ in range(2):
        with django_assert_num_queries(2):  # session, user
            browser.get(url)


def test_guarded_get_of_a_user_who_owes_nothing__takes_2(carol, browser, django_assert_num_queries):
    browser.force_login(carol)
    with django_assert_num_queries(3):  # and once a minute the link
        browser.get("/verified/")
    with django_assert_num_queries(2):
        browser.get("/verified/")


def test_max_age__reads_the_row_each_time(alice, browser, django_assert_num_queries):
    login_verified(browser, alice)
    browser.get("/private/")
    with django_assert_num_queries(3):
        browser.get("/recent/")


def test_login_page_without_a_pending_login__takes_none(db, browser, django_assert_num_queries):
    with django_assert_num_queries(0):
        browser.get("/accounts/login/")
    with django_assert_num_queries(0):
        browser.get("/accounts/verify/")
