"""Trusted browsers under parallel logins: one right PIN trusts one, and an end is an end."""

from __future__ import annotations

from functools import partial

import pytest

from django_verigator.flows import browsers
from django_verigator.models import TrustedBrowser

from .conftest import VERIFY, copies, give_password, link_of, logged_in, make_user, phone_number, post_pin
from .crowd import crowd, together

PHONE = phone_number()


@pytest.fixture
def trusting(provider):
    provider.configure(TRUSTED_BROWSER_DAYS=30)
    return provider


def trust(provider):
    """A browser that Alice trusts; she is logged out."""
    browser = give_password()
    browser.post(VERIFY, {"pin": provider.pin(PHONE), "trust": "on"})
    browser.post("/plain/logout/")
    assert TrustedBrowser.objects.count() == 1
    assert logged_in() == []
    return browser


@pytest.mark.threat("B01")
def test_ten_parallel_right_pins_trust_one_browser(trusting, proofs):
    alice = make_user()
    browser = give_password()
    trusting.slow_down()
    pin = trusting.pin(PHONE)

    responses = crowd(lambda each: each.post(VERIFY, {"pin": pin, "trust": "on"}), copies(browser, 10))

    name = browsers.cookie_name(alice.pk)
    assert logged_in() == [str(alice.pk)]
    assert TrustedBrowser.objects.count() == 1
    assert sum(name in response.cookies for response in responses) == 1


@pytest.mark.threat("B03")
def test_trust_that_is_ended_during_logins_lets_nobody_in_afterwards(trusting):
    alice = make_user()
    trusted = trust(trusting)
    trusting.slow_down()
    sends = trusting.sends

    logins = [partial(give_password, browser=each) for each in copies(trusted, 10)]
    *came, ended = together(*logins, partial(browsers.end, alice))

    assert ended == 1
    let_in = [browser for browser in came if browser.get("/private/").status_code == 200]
    assert logged_in() == [str(alice.pk)] * len(let_in)
    assert trusting.sends - sends <= 5
    late = give_password(browser=copies(trusted, 1)[0])
    assert late.get("/private/").status_code == 302


@pytest.mark.threat("B06")
def test_trusted_logins_meanwhile_bring_a_guesser_no_tries(trusting):
    alice = make_user()
    trusted = trust(trusting)
    guesser = give_password()
    before = trusting.tries
    trusting.slow_down()
    wrong = trusting.wrong_pins(PHONE)

    guesses = [partial(post_pin, each, pin) for each, pin in zip(copies(guesser, 20), wrong, strict=True)]
    together(*guesses, *(partial(give_password, browser=each) for each in copies(trusted, 5)))

    assert trusting.tries - before == 5
    assert link_of(alice).consecutive_failures == 5
    assert logged_in() == [str(alice.pk)] * 5
    assert "Too many tries with this PIN." in post_pin(guesser, trusting.pin(PHONE)).content.decode()
