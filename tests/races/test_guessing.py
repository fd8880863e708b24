"""Parallel guesses reach the provider as often as the caps allow, and no more."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.utils import timezone

from django_verigator import rate_limits
from django_verigator.exceptions import Refused
from django_verigator.flows import limits

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


@pytest.mark.threat("C01", "C05")
def test_twenty_parallel_wrong_pins_take_the_five_tries_of_their_challenge(provider, atomic_requests):
    alice = make_user()
    browser = give_password()
    provider.slow_down()
    wrong = provider.wrong_pins(PHONE)

    responses = crowd(lambda pair: post_pin(*pair), zip(copies(browser, 20), wrong, strict=True))

    assert {response.status_code for response in responses} == {200}
    assert provider.tries == 5
    assert link_of(alice).consecutive_failures == 5
    response = post_pin(browser, provider.pin(PHONE))
    assert "Too many tries with this PIN." in response.content.decode()
    assert provider.tries == 5
    assert logged_in() == []


@pytest.mark.threat("C02")
def test_resends_bring_no_new_tries_for_the_user(provider):
    make_user()
    provider.configure(limits=ROOM)
    browser = give_password()
    provider.slow_down()

    for tried, sent in ((5, 302), (10, 200), (10, 200)):
        pins = provider.wrong_pins(PHONE)[:8]
        crowd(lambda pair: post_pin(*pair), zip(copies(browser, 8), pins, strict=True))
        assert provider.tries == tried
        let_the_pause_pass()
        assert browser.post(RESEND).status_code == sent

    response = post_pin(browser, provider.pin(PHONE))
    assert "Too many wrong PINs. Set a new password, or ask our support" in response.content.decode()
    assert provider.tries == 10
    assert logged_in() == []


@pytest.mark.threat("C03", "C04")
def test_twenty_sessions_share_one_budget(provider):
    alice = make_user()
    provider.configure(limits=ROOM)
    provider.slow_down()

    def guess(number: int) -> None:
        browser = give_password()
        for pin in provider.wrong_pins(PHONE)[number % 5 :: 5]:
            post_pin(browser, pin)

    crowd(guess, range(20))
    assert provider.tries <= 10

    # Nothing was lost on the way: the rest of the budget, and no more, is there for a new login.
    for _ in range(3):
        browser = give_password()
        crowd(lambda pair: post_pin(*pair), zip(copies(browser, 5), provider.wrong_pins(PHONE)[:5], strict=True))
    assert provider.tries == 10
    assert link_of(alice).consecutive_failures == 10
    assert logged_in() == []


@pytest.mark.threat("C04", "R30")
def test_a_process_whose_clock_is_behind_is_counted_like_the_others(provider, monkeypatch):
    caps = limits.user_try_limits(1)
    now = timezone.now()

    def take(seconds: int) -> None:
        monkeypatch.setattr(rate_limits.timezone, "now", lambda: now + timedelta(seconds=seconds))
        rate_limits.reserve(lambda: rate_limits.consume(caps))

    monkeypatch.setattr(rate_limits.timezone, "now", lambda: now + timedelta(seconds=2))
    rate_limits._make_rows(caps)
    for seconds in (0, 1, 2, 3, 0, 1, 2, 3, 4, 5):
        take(seconds)
    with pytest.raises(Refused):
        take(6)
