"""A right PIN logs in once, however often and wherever it is posted."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import connection

from django_verigator.client import http
from django_verigator.models import Challenge

from .conftest import BOTH, LOGIN, copies, give_password, logged_in, make_user, phone_number, post_pin
from .crowd import crowd

PROVIDERS = BOTH
PHONE = phone_number()


@pytest.mark.threat("D02")
def test_ten_parallel_right_pins_make_one_login(provider, proofs, atomic_requests):
    alice = make_user()
    browser = give_password()
    provider.slow_down()
    pin = provider.pin(PHONE)

    responses = crowd(lambda each: post_pin(each, pin), copies(browser, 10))

    assert logged_in() == [str(alice.pk)]
    assert proofs == [alice.pk]
    assert sum("/private/" in response.headers.get("Location", "") for response in responses) == 1
    assert provider.tries <= 5
    assert Challenge.objects.filter(outcome=Challenge.Outcome.VERIFIED).count() == 1


@pytest.mark.threat("D02")
def test_a_second_click_whose_answer_is_settled_first_does_not_spoil_the_login(provider, proofs):
    alice = make_user()
    browser = give_password()
    (second,) = copies(browser, 1)
    pin = provider.pin(PHONE)
    answers: list[str] = []

    def click_again(execute: Any, sql: str, *args: Any) -> Any:
        # The first post has its verdict, and is about to settle it.
        if provider.tries == 1 and not answers:
            answers.append("under way")
            answers[0] = post_pin(second, pin).content.decode()
        return execute(sql, *args)

    with connection.execute_wrapper(click_again):
        post_pin(browser, pin)

    # A PIN of our own is right for both, and the second click is the one that logs in.
    assert ("This PIN is too old." in answers[0]) is not provider.pins_are_ours
    assert provider.tries == 2
    assert logged_in() == [str(alice.pk)]
    assert proofs == [alice.pk]


@pytest.mark.threat("D02")
def test_a_provider_that_says_yes_each_time_makes_one_login_all_the_same(provider, proofs):
    alice = make_user()
    browser = give_password()
    provider.slow_down()
    provider.always_says_yes()
    pin = provider.pin(PHONE)

    crowd(lambda each: post_pin(each, pin), copies(browser, 10))

    assert logged_in() == [str(alice.pk)]
    assert proofs == [alice.pk]


@pytest.mark.threat("D01", "D02")
def test_the_right_pin_in_two_sessions_at_once_counts_in_one(provider, proofs):
    alice = make_user()
    first, second = give_password(), give_password()
    provider.slow_down()
    provider.always_says_yes()
    pin = provider.pin(PHONE)

    crowd(lambda each: post_pin(each, pin), [first, second] * 3)

    assert logged_in() == [str(alice.pk)]
    assert proofs == [alice.pk]
    assert second.get("/private/").status_code == 200
    assert first.get("/private/").status_code == 302


@pytest.mark.threat("D02")
def test_twenty_sessions_with_one_pin_make_one_login(provider, proofs):
    make_user()
    provider.configure(limits={"SENDS_PER_USER_HOUR": 1000, "SENDS_PER_PHONE_10_MINUTES": 1000})
    browsers = [give_password() for _ in range(20)]
    provider.slow_down()
    provider.always_says_yes()
    pin = provider.pin(PHONE)

    crowd(lambda each: post_pin(each, pin), browsers)

    assert len(logged_in()) == len(proofs) == 1


@pytest.mark.threat("D01")
def test_a_pin_that_was_accepted_is_refused_in_a_second_session(provider, proofs):
    make_user()
    provider.always_says_yes()
    first = give_password()
    pin = provider.pin(PHONE)
    post_pin(first, pin)
    browsers = [give_password() for _ in range(4)]
    provider.slow_down()

    crowd(lambda each: post_pin(each, pin), browsers)

    assert len(logged_in()) == len(proofs) == 1


def test_login__right_and_wrong_pins_at_once_end_in_one_login_or_in_none(provider, proofs):
    make_user()
    browser = give_password()
    provider.slow_down()
    pins = [provider.pin(PHONE), *provider.wrong_pins(PHONE)[:9]]

    crowd(lambda pair: post_pin(*pair), zip(copies(browser, 10), pins, strict=True))

    right = [call for call in provider.sandbox.calls(operation="auth.verify") if call["verified"]]
    assert provider.tries <= 5
    assert len(logged_in()) == len(proofs) == len(right)


@pytest.mark.threat("G06")
def test_a_user_deleted_while_the_pin_is_checked_is_not_logged_in(provider, proofs):
    alice = make_user()
    browser = give_password()
    pin = provider.pin(PHONE)

    def delete(method: str, path: str) -> None:
        alice.delete()

    http.before_request.append(delete)
    try:
        response = post_pin(browser, pin)
    finally:
        http.before_request.remove(delete)

    assert response["Location"] == LOGIN
    assert (provider.tries, proofs, logged_in()) == (1, [], [])
