"""Parallel wishes for a code cost as many messages as the caps allow."""

from __future__ import annotations

import threading
import time

import pytest
from django.db import connection

from django_verigator.backends import Started, backends
from django_verigator.client import http
from django_verigator.models import Challenge

from ..conftest import writes
from .conftest import (
    BOTH,
    RESEND,
    copies,
    give_password,
    let_the_pause_pass,
    link_of,
    logged_in,
    make_user,
    phone_number,
    post_pin,
)
from .crowd import crowd

PROVIDERS = BOTH
PHONE = phone_number()
ROOM = {"SENDS_PER_USER_HOUR": 1000, "SENDS_PER_PHONE_10_MINUTES": 1000}


@pytest.mark.threat("E10")
def test_fifty_parallel_resends_send_one_code(provider):
    make_user()
    browser = give_password()
    let_the_pause_pass()
    provider.slow_down()
    provider.sandbox.clear_calls()

    responses = crowd(lambda each: each.post(RESEND), copies(browser, 50))

    assert provider.sends == 1
    assert {response.status_code for response in responses} <= {200, 302}
    post_pin(browser, provider.pin(PHONE))
    assert len(logged_in()) == 1


@pytest.mark.threat("E10")
def test_a_second_click_while_the_first_is_under_way_sends_nothing(provider):
    make_user()
    browser = give_password()
    let_the_pause_pass()
    provider.sandbox.clear_calls()
    second = copies(browser, 1)[0]
    answers = []

    def click_again(method: str, path: str) -> None:
        if not answers:
            answers.append("under way")
            answers[0] = second.post(RESEND).content.decode()

    http.before_request.append(click_again)
    try:
        browser.post(RESEND)
    finally:
        http.before_request.remove(click_again)

    assert "A PIN was sent a moment ago." in answers[0]
    assert provider.sends == 1


@pytest.mark.threat("E02")
def test_fifty_parallel_password_steps_of_one_user_stop_at_the_cap(provider):
    make_user()
    provider.slow_down()

    crowd(lambda _: give_password(), range(50))

    assert provider.sends == 5
    assert Challenge.objects.filter(consumed_at=None, superseded_at=None, sent_at__isnull=False).count() == 1
    assert logged_in() == []


@pytest.mark.threat("E02")
def test_of_two_sends_at_once_the_second_alone_has_a_good_code(provider):
    make_user()
    first_has_counted, second_counts = threading.Event(), threading.Event()

    def hold_the_counters(execute, sql, *args):
        if writes(sql, "INSERT INTO", "challenge"):
            first_has_counted.set()
            second_counts.wait(1)  # a database that lets one transaction write at a time does not get there
            time.sleep(0.3)
        return execute(sql, *args)

    def wait_for_the_counters(execute, sql, *args):
        if writes(sql, table="counter"):
            second_counts.set()
        return execute(sql, *args)

    def first():
        with connection.execute_wrapper(hold_the_counters):
            give_password()

    def second():
        first_has_counted.wait(10)
        with connection.execute_wrapper(wait_for_the_counters):
            give_password()

    crowd(lambda send: send(), [first, second])

    assert provider.sends == 2
    assert [code.superseded_at is None for code in Challenge.objects.order_by("created_at")] == [False, True]


@pytest.mark.threat("E03")
def test_twenty_accounts_with_one_number_share_its_cap(provider):
    numbers = [PHONE, "003725550" + PHONE[-4:], f"+372 555 0{PHONE[-4:]}", f"+372-5550{PHONE[-4:]}"]
    names = [f"user{number}" for number in range(20)]
    for number, name in enumerate(names):
        make_user(name, numbers[number % len(numbers)])
    provider.slow_down()

    crowd(give_password, names)

    assert {message["to"] for message in provider.sandbox.messages()} == {PHONE}
    assert provider.sends == 5
    assert logged_in() == []


def test_login__twenty_users_at_once_each_get_their_code_and_go_in(provider):
    users = [make_user(f"user{number}", phone_number(number)) for number in range(20)]
    provider.slow_down()

    def log_in(user) -> int:
        browser = give_password(user.get_username())
        return post_pin(browser, provider.pin(user.phone_number)).status_code

    assert crowd(log_in, users) == [302] * 20
    assert provider.sends == provider.tries == 20
    assert sorted(logged_in()) == sorted(str(user.pk) for user in users)
    assert all(link_of(user).confirmed_at for user in users)


@pytest.mark.asks_provider("the app is linked at a provider that has it; a gateway of texts knows none")
@pytest.mark.threat("E15")
@pytest.mark.fault("T05")
def test_fifty_parallel_logins_by_app_stop_at_the_cap_of_starts(provider):
    make_user()
    provider.configure(METHOD="totp", limits={"STARTS_PER_USER_HOUR": 5})
    provider.sandbox.attach_device(PHONE)
    provider.slow_down()

    crowd(lambda _: give_password(), range(50))

    assert 1 <= provider.sends <= 5
    browser = give_password()
    assert provider.sends <= 5, "it waits for the code that is good already"
    post_pin(browser, provider.sandbox.code(PHONE))
    assert len(logged_in()) == 1


@pytest.mark.asks_provider("user records are made at the provider; a gateway of texts has none")
@pytest.mark.threat("E14")
@pytest.mark.fault("T04")
def test_fifty_parallel_logins_whose_registration_fails_stop_at_the_cap_of_starts(provider):
    provider.sandbox.add_fault("body", operation="users.create", status=500, body={"message": "no"})
    make_user()
    provider.configure(limits={"STARTS_PER_USER_HOUR": 5})
    provider.sandbox.clear_calls()
    provider.slow_down()

    crowd(lambda _: give_password(), range(50))

    assert provider.count("users.create") <= 5
    assert logged_in() == []


@pytest.mark.threat("E14")
@pytest.mark.fault("T04")
def test_fifty_parallel_logins_whose_code_cannot_be_sent_stop_at_the_cap_of_starts(provider):
    make_user()
    provider.configure(limits={"STARTS_PER_USER_HOUR": 5, **ROOM})
    provider.fail_to_send()
    provider.slow_down()

    crowd(lambda _: give_password(), range(50))

    assert 1 <= provider.sends <= 5
    assert logged_in() == []


@pytest.mark.threat("E13")
@pytest.mark.fault("T14")
def test_twenty_accounts_with_one_number_share_its_day(provider):
    names = [f"user{number}" for number in range(20)]
    for name in names:
        make_user(name, PHONE)
    provider.configure(limits={"SENDS_PER_PHONE_10_MINUTES": 1000, "SENDS_PER_PHONE_DAY": 8})
    provider.slow_down()

    crowd(give_password, names)

    assert provider.sends == 4
    assert logged_in() == []


@pytest.mark.fault("T09")
def test_twenty_starts_that_get_one_reference_leave_it_with_one_user(provider, monkeypatch):
    names = [f"user{number}" for number in range(20)]
    for number, name in enumerate(names):
        make_user(name, phone_number(number))
    monkeypatch.setattr(backends.default, "start", lambda *args, **kwargs: Started("sms", "the-same"))

    crowd(give_password, names)

    assert Challenge.objects.exclude(reference_digest=None).count() == 1
    assert Challenge.objects.filter(sent_at__isnull=False).count() == 1
    assert Challenge.objects.filter(outcome=Challenge.Outcome.UNAVAILABLE).count() == 19
