"""Several first phones of one user at once: one is in force in the end, and no record is forgotten."""

from __future__ import annotations

import pytest
from django.db import connection
from django.test import Client

from django_verigator.client import http
from django_verigator.flows import enrolment, syncing
from django_verigator.models import Challenge, PhoneChange, RemoteDeletion, VerigatorUser

from .conftest import (
    ENROL,
    RESEND,
    copies,
    everything_is_accounted_for,
    give_password,
    let_the_pause_pass,
    link_of,
    logged_in,
    make_user,
    phone_number,
    post_pin,
)
from .crowd import crowd, together

ROOM = {"SENDS_PER_USER_HOUR": 1000, "SENDS_PER_PHONE_10_MINUTES": 1000, "TRIES_PER_USER_HOUR": 1000}


def wait_for_a_phone(provider, browsers: int) -> list[Client]:
    provider.configure(limits=ROOM, REQUIRED="all")
    make_user(number="")
    return [give_password() for _ in range(browsers)]


def enrol(browser: Client, phone: str) -> int:
    return browser.post(ENROL, {"phone": phone}).status_code


@pytest.mark.threat("J07")
def test_ten_browsers_with_ten_numbers_end_with_at_most_one_on_its_way(provider):
    browsers = wait_for_a_phone(provider, 10)

    provider.slow_down()
    crowd(lambda pair: enrol(*pair), [(each, phone_number(number)) for number, each in enumerate(browsers)])

    assert PhoneChange.objects.count() == 1
    assert VerigatorUser.objects.get().phone_number == ""
    everything_is_accounted_for(provider)
    assert logged_in() == []


@pytest.mark.threat("J07")
def test_ten_browsers_with_one_number_make_one_record_in_force(provider):
    browsers = wait_for_a_phone(provider, 10)
    phone = phone_number(1)

    provider.slow_down()
    crowd(lambda each: enrol(each, phone), browsers)
    everything_is_accounted_for(provider)

    assert PhoneChange.objects.count() == 1
    assert VerigatorUser.objects.get().phone_number == ""


@pytest.mark.threat("J07")
def test_a_form_posted_ten_times_from_one_browser_sends_one_code(provider):
    (browser,) = wait_for_a_phone(provider, 1)
    phone = phone_number(1)

    provider.slow_down()
    crowd(lambda each: enrol(each, phone), copies(browser, 10))

    assert provider.sends == 1
    everything_is_accounted_for(provider)
    post_pin(browser, provider.pin(phone))
    link = VerigatorUser.objects.get()
    assert (link.phone_number, logged_in()) == (phone, [str(link.user_id)])


@pytest.mark.threat("J07")
def test_a_second_click_while_the_first_is_under_way_changes_nothing(provider):
    (browser,) = wait_for_a_phone(provider, 1)
    (second,) = copies(browser, 1)
    phone = phone_number(1)
    answers: list[str] = []

    def click_again(method: str, path: str) -> None:
        if not answers:
            answers.append("under way")
            answers[0] = second.post(ENROL, {"phone": phone})["Location"]

    http.before_request.append(click_again)
    try:
        enrol(browser, phone)
    finally:
        http.before_request.remove(click_again)

    assert answers == ["/accounts/verify/"], "the second click leads to the PIN page too"
    assert (provider.count("users.create"), provider.sends) == (1, 1)
    post_pin(browser, provider.pin(phone))
    assert len(logged_in()) == 1


@pytest.mark.threat("J07")
def test_two_numbers_confirmed_at_once_leave_one_in_force(provider):
    browsers = wait_for_a_phone(provider, 6)
    provider.always_says_yes()
    for number, browser in enumerate(browsers):
        enrol(browser, phone_number(number))

    provider.slow_down()
    crowd(lambda pair: post_pin(*pair), [(each, f"12{number:02}") for number, each in enumerate(browsers)])

    link = VerigatorUser.objects.get()
    assert link.phone_number in {"", *(phone_number(number) for number in range(6))}
    assert len(logged_in()) == bool(link.phone_number)
    assert Challenge.objects.filter(outcome=Challenge.Outcome.VERIFIED).count() == bool(link.phone_number)
    everything_is_accounted_for(provider)


@pytest.mark.threat("J07")
def test_a_number_confirmed_while_others_are_proposed_stays_in_force(provider):
    browsers = wait_for_a_phone(provider, 6)
    provider.always_says_yes()
    confirming, *proposing = browsers
    enrol(confirming, phone_number(0))

    def propose(number: int):
        return lambda: enrol(proposing[number], phone_number(number + 1))

    provider.slow_down()
    together(lambda: post_pin(confirming, "1234"), *(propose(number) for number in range(5)))

    link = VerigatorUser.objects.get()
    assert link.phone_number in ("", phone_number(0))
    assert len(logged_in()) == bool(link.phone_number)
    everything_is_accounted_for(provider)


@pytest.mark.threat("J07")
def test_a_number_that_is_replaced_while_its_pin_is_checked_is_not_in_force(provider):
    (browser,) = wait_for_a_phone(provider, 1)
    enrol(browser, phone_number(0))
    user = VerigatorUser.objects.get().user

    def replace(method: str, path: str) -> None:
        enrolment.propose(link_of(user), phone_number(1))

    http.before_request.append(replace)
    try:
        response = post_pin(browser, provider.pin(phone_number(0)))
    finally:
        http.before_request.remove(replace)

    assert response.status_code == 302
    assert link_of(user).phone_number == ""
    assert logged_in() == []
    everything_is_accounted_for(provider)


@pytest.mark.threat("J02")
def test_a_resend_to_a_number_that_was_replaced_meanwhile_is_no_error(provider):
    (browser,) = wait_for_a_phone(provider, 1)
    enrol(browser, phone_number(0))
    user = VerigatorUser.objects.get().user
    let_the_pause_pass()
    provider.sandbox.clear_calls()

    def replace(execute, sql, params, many, context):
        if sql.startswith("SELECT") and "verigatoruser" in sql and "INNER JOIN" not in sql and not replaced:
            replaced.append(sql)
            enrolment.propose(link_of(user), phone_number(1))
        return execute(sql, params, many, context)

    replaced = []
    with connection.execute_wrapper(replace):
        response = browser.post(RESEND)

    assert len(replaced) == 1
    assert response.status_code in (200, 302)
    assert provider.sends == 0


def test_enrol__after_the_race_sync_deletes_what_nobody_needs(provider):
    browsers = wait_for_a_phone(provider, 5)
    provider.slow_down()
    crowd(lambda pair: enrol(*pair), [(each, phone_number(number)) for number, each in enumerate(browsers)])
    provider.sandbox.clear_faults()

    syncing.sync_all()

    assert set(provider.records) == set(PhoneChange.objects.values_list("verigator_id", flat=True)) - {None}
    assert not RemoteDeletion.objects.exists()
    assert link_of(VerigatorUser.objects.get().user).phone_number == ""
