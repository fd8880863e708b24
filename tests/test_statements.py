"""What a login and a guarded page cost in SQL statements, each with what it is for."""

from __future__ import annotations

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from django_verigator.testing import login_verified

from .conftest import give_password, sent_pin

PASSWORD_STEP = [
    ("SELECT", "site_user"),  # the password
    ("SELECT", "verigatoruser"),  # does this user owe the step, and where to
    ("UPDATE", "counter"),  # reserve a send for the user and the number
    ("UPDATE", "challenge"),  # this challenge supersedes the others
    ("INSERT", "challenge"),
    ("UPDATE", "challenge"),  # settle: sent, when, how
]
FIRST_PASSWORD_STEP = [
    *PASSWORD_STEP[:2],
    ("SELECT", "verigatoruser"),  # while unconfirmed: is the number somebody else's
    ("UPDATE", "counter"),  # finds no rows to raise
    ("INSERT", "counter"),  # for the sends, and for the tries to come
    *PASSWORD_STEP[2:],
]
PIN_STEP = [
    ("SELECT", "challenge"),  # the pending login, with its user and link
    ("UPDATE", "challenge"),  # reserve a try of this challenge
    ("UPDATE", "verigatoruser"),  # and of the wrong PINs in a row
    ("UPDATE", "counter"),  # and of the user's hour and day
    ("SELECT", "site_user"),  # the user again, through the authentication backend
    ("UPDATE", "challenge"),  # consumed, once
    ("UPDATE", "verigatoruser"),  # confirmed; this PIN not twice; nothing changed meanwhile
    ("UPDATE", "counter"),  # a right PIN was no try
    ("SELECT", "session"),  # Django: a new session key that is free
    ("INSERT", "session"),
    ("UPDATE", "site_user"),  # Django: last_login
    ("UPDATE", "session"),
]


def statements(context: CaptureQueriesContext) -> list[tuple[str, str]]:
    found = []
    for query in context.captured_queries:
        verb = query["sql"].split()[0]
        if verb in ("SELECT", "INSERT", "UPDATE", "DELETE"):
            names = ("counter", "challenge", "verigatoruser", "session", "site_user")
            table = query["sql"].replace("`", '"').split("FROM" if verb == "SELECT" else verb, 1)[1]
            found.append((verb, min(names, key=lambda name: (table.find(name) % 10_000_000, name))))
    return found


def log_in(browser) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
    with CaptureQueriesContext(connection) as first:
        give_password(browser)
    with CaptureQueriesContext(connection) as second:
        browser.post("/accounts/verify/", {"pin": sent_pin()})
    return statements(first), statements(second)


def test_login__takes_21_statements_the_very_first_time(alice, browser):
    assert log_in(browser) == (FIRST_PASSWORD_STEP, PIN_STEP)
    assert len(FIRST_PASSWORD_STEP) + len(PIN_STEP) <= 21


def test_login__takes_18_statements_from_then_on(alice, browser):
    log_in(Client())
    assert log_in(browser) == (PASSWORD_STEP, PIN_STEP)
    assert len(PASSWORD_STEP) + len(PIN_STEP) <= 18


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
