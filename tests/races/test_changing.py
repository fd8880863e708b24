"""A user's new phone, confirmed once, while others try the same."""

from __future__ import annotations

from functools import partial

import pytest

from django_verigator.flows import syncing
from django_verigator.models import PhoneChange, RemoteDeletion

from .conftest import (
    PASSWORD,
    copies,
    everything_is_accounted_for,
    give_password,
    link_of,
    logged_in,
    make_user,
    phone_number,
    post_pin,
)
from .crowd import crowd, together

PHONE, CONFIRM = "/accounts/security/phone/", "/accounts/security/phone/confirm/"


def log_in(provider, user):
    browser = give_password(user.get_username())
    post_pin(browser, provider.pin(user.phone_number))
    return browser


def change(browser, number: str):
    return browser.post(PHONE, {"phone": number, "password": PASSWORD})


@pytest.mark.threat("J07")
def test_ten_new_numbers_at_once_make_one_proposal(provider):
    alice = make_user()
    browser = log_in(provider, alice)
    provider.sandbox.clear_calls()
    provider.slow_down()

    answers = crowd(
        lambda pair: change(*pair), [(each, phone_number(n + 1)) for n, each in enumerate(copies(browser, 10))]
    )

    assert sorted(answer.status_code for answer in answers) == [200] * 9 + [302]
    assert (provider.count("users.create"), provider.sends) == (1, 1)
    assert PhoneChange.objects.count() == 1
    assert link_of(alice).phone_number == phone_number()
    everything_is_accounted_for(provider)


@pytest.mark.threat("J07")
def test_a_confirmation_posted_five_times_swaps_the_phone_once(provider):
    alice = make_user()
    browser = log_in(provider, alice)
    before = link_of(alice)
    change(browser, phone_number(1))
    provider.slow_down()
    provider.always_says_yes()
    pin = provider.pin(phone_number(1))

    crowd(lambda each: each.post(CONFIRM, {"pin": pin}), copies(browser, 5))

    link = link_of(alice)
    assert (link.phone_number, link.epoch == before.epoch) == (phone_number(1), False)
    assert [row.verigator_id for row in RemoteDeletion.objects.all()] == [before.verigator_id]
    provider.sandbox.clear_faults()
    syncing.sync_all()
    assert set(provider.records) == {link.verigator_id}


@pytest.mark.threat("J07")
def test_a_change_confirmed_beside_a_login_leaves_no_session_on_the_old_phone(provider):
    alice = make_user()
    browser = log_in(provider, alice)
    change(browser, phone_number(1))
    pin = provider.pin(phone_number(1))
    second = give_password()
    provider.slow_down()

    together(
        partial(browser.post, CONFIRM, {"pin": pin}),
        partial(post_pin, second, provider.pin(phone_number())),
    )

    # Either may win; a login on the old phone is worth nothing once the new one is in force.
    changed = link_of(alice).phone_number == phone_number(1)
    assert second.get("/recent/").status_code == (302 if changed else 200)
    assert browser.get("/private/").status_code == 200
    assert len(logged_in()) >= 1
    everything_is_accounted_for(provider)
