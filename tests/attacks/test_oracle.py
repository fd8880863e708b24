"""The oracle itself: each of its rules is broken once, and it complains. Then nothing in the other files is vain."""

from __future__ import annotations

import logging

import pytest
from django.core import mail
from django.core.cache import cache
from django.db import transaction

from django_verigator.backends import backends
from django_verigator.flows.session import PROOF_KEY
from django_verigator.models import Challenge, VerigatorUser

from .actors import CODES, HOME
from .conftest import each_store
from .oracle import in_base64, most_in_a_window


@pytest.fixture
def complaints(site):
    """What the oracle says now; afterwards it is given what it complained about, so that this test passes."""
    oracle = site.oracle

    def say():
        found = oracle.verdict()
        oracle.verdict = list
        return " | ".join(found)

    return say


def test_oracle__has_nothing_to_say_about_a_login(site, alice):
    browser = site.logged_in(alice)
    assert browser.get(HOME).status_code == 200
    assert site.oracle.verdict() == []


@each_store
def test_I1__a_session_without_a_proof(site, alice, complaints):
    site.old_session(alice).get("/public/")
    assert "I1" in complaints()


@each_store
def test_I1__a_session_with_somebody_else_s_proof(site, alice, bob, complaints):
    browser = site.logged_in(bob)
    stolen = site.old_session(alice)
    session = stolen.session
    session[PROOF_KEY] = {
        **browser.session[PROOF_KEY],
        "user": str(alice.pk),
        "trust_version": site.link(alice).trust_version,
    }
    session.save()
    stolen.cookies["sessionid"] = session.session_key
    assert stolen.acts_as == str(alice.pk)
    assert "logged in without a proof" in complaints()


def test_I1__two_sessions_for_one_proof(site, alice, complaints):
    site.logged_in(alice)
    site.old_session(alice)
    assert "2 sessions act as alice, who gave 1 proofs" in complaints()


def test_I1__a_proof_that_came_from_a_phone_that_is_not_hers(site, alice, complaints):
    site.person(alice).phones = {"+37255510099"}
    browser = site.browser()
    browser.give_password(alice)
    browser.give_pin(site.pin_at("+37255510001"))
    assert "without a proof" in complaints()


def guess(site, user, number):
    link = site.link(user)
    for each in range(number):
        site.api.auth.verify(site.service_id, link.verigator_id, site.wrong(each))


def test_I2__more_tries_than_a_code_has(site, alice, complaints):
    site.pending(alice)
    guess(site, alice, 6)
    assert "I2: 6 tries with one PIN of alice" in complaints()


def test_I2__more_guesses_than_an_hour_has(site, alice, complaints):
    for _ in range(3):
        site.pending(alice)
        guess(site, alice, 4)
    assert "I2: 12 guesses at alice" in complaints()


def test_I3__more_texts_than_a_phone_gets(site, alice, complaints):
    link = site.link(alice)
    for _ in range(6):
        site.api.auth.initiate(site.service_id, link.verigator_id, "sms")
    assert "I3: 6 texts for +37255510001 within 600 s" in complaints()


def log(site, alice, secret):
    logging.getLogger("urllib3").debug("sent %s", secret)


def log_beside(site, alice, secret):
    logging.getLogger("anything").debug("sent", extra={"pin": secret})


def keep_in_cache(site, alice, secret):
    cache.set("x", {"pin": secret})


def keep_in_session(site, alice, secret):
    browser = site.logged_in(alice)
    session = browser.session
    session["pin"] = secret
    session.save()


def keep_in_database(site, alice, secret):
    Challenge.objects.update(reference=secret)


def show(site, alice, secret):
    site.browser().get("/public/")
    site.oracle.answers[-1].text += secret


def send_mail(site, alice, secret):
    mail.send_mail("note", f"your PIN is {secret}", "a@example.com", ["b@example.com"])


@pytest.mark.parametrize("leak", [log, log_beside, keep_in_cache, keep_in_session, keep_in_database, show, send_mail])
@pytest.mark.parametrize("what", ["PIN", "credential", "password of alice", "password of alice in base64"])
def test_I4__a_secret_anywhere(site, alice, complaints, leak, what):
    site.pending(alice)
    secret = {
        "PIN": site.pin(alice),
        "credential": site.account["password"],
        "password of alice": site.password(alice),
        "password of alice in base64": in_base64(site.password(alice)),
    }[what]
    leak(site, alice, secret)
    found = complaints()
    assert "I4" in found
    assert what in found


@pytest.mark.parametrize("leak", [log, keep_in_cache, keep_in_session, send_mail])
def test_I4__a_whole_number_anywhere(site, alice, complaints, leak):
    leak(site, alice, site.phone(alice))
    assert "shows the phone …0001" in complaints()


def test_I4__a_whole_number_in_another_column(site, alice, complaints):
    VerigatorUser.objects.filter(user=alice).update(last_error=site.phone(alice))
    assert "django_verigator_verigatoruser.last_error shows the phone …0001" in complaints()


def test_I4__a_recovery_code_that_is_shown_again(site, alice, complaints):
    browser = site.logged_in(alice)
    codes = site.codes(alice, browser)
    assert site.oracle.verdict() == []
    browser.get(CODES)
    site.oracle.answers[-1].text += codes[3]
    assert "recovery code" in complaints()


def test_I5__a_call_in_a_transaction(site, alice, complaints):
    with transaction.atomic():
        backends.default.exists(site.link(alice).verigator_id)
    assert "I5: GET" in complaints()


def test_I6__an_error_and_an_answer_that_takes_long(site, alice, complaints, monkeypatch):
    monkeypatch.setattr("tests.site.urls.auth_login", lambda *args, **kwargs: 1 / 0)
    site.browser().get("/magic/alice/")
    site.oracle.answers[-1].seconds = site.oracle.deadline + 1
    found = complaints()
    assert "I6: GET /magic/alice/ answered 500" in found
    assert "I6: GET /magic/alice/ took" in found


def test_window__begins_with_its_first_event():
    assert most_in_a_window([], 10) == 0
    assert most_in_a_window([0, 9, 10, 19], 10) == 2
    assert most_in_a_window([0, 1, 2, 30], 10) == 3
