"""The two steps, as a browser sees them."""

from __future__ import annotations

from datetime import timedelta
from http import HTTPStatus

import pytest
from django.core.management import call_command
from django.test import Client
from django.utils import timezone

from django_verigator.backends import locmem
from django_verigator.models import Challenge

from .conftest import PHONE, WRONG_PIN, give_password, sent_pin

PIN_PAGE = "/accounts/verify/"


def test_login__right_password_and_right_pin_open_the_private_page(alice, browser):
    response = give_password(browser, next="/verified/")
    assert response.status_code == HTTPStatus.FOUND
    assert response["Location"] == "/accounts/verify/"
    assert browser.get("/private/").status_code == HTTPStatus.FOUND
    assert [message.to for message in locmem.outbox] == [PHONE]

    page = browser.get("/accounts/verify/").content.decode()
    assert "ending in <b>67</b>" in page
    assert PHONE not in page

    response = browser.post("/accounts/verify/", {"pin": sent_pin()})
    assert response["Location"] == "/verified/"
    assert browser.get("/verified/").content.decode() == f"verified {alice.pk}"
    assert browser.get("/whoami/").content.decode() == f"user={alice.pk} verified=True"


def test_login__wrong_pin_is_refused_with_the_tries_that_are_left(alice, browser):
    give_password(browser)
    response = browser.post("/accounts/verify/", {"pin": WRONG_PIN})
    assert "The PIN is not right. You can try 4 more times." in response.content.decode()
    assert browser.get("/private/").status_code == HTTPStatus.FOUND


def test_login__without_a_phone_goes_straight_in(carol, browser):
    response = give_password(browser, "carol")
    assert response["Location"] == "/private/"
    assert browser.get("/private/").status_code == HTTPStatus.OK
    assert browser.get("/verified/").status_code == HTTPStatus.OK
    assert browser.get("/whoami/").content.decode() == f"user={carol.pk} verified=False"


@pytest.mark.fault("T15")
def test_where_a_login_led_to__is_forgotten_when_it_is_over(alice, browser):
    next_url = "/private/?token=once"
    give_password(browser, next=next_url)
    assert browser.post(PIN_PAGE, {"pin": sent_pin()})["Location"] == next_url
    for client in (Client(), Client()):
        give_password(client, next=next_url)
    client.post("/accounts/verify/cancel/")
    assert [challenge.next_url for challenge in Challenge.objects.order_by("created_at")] == ["", next_url, ""]
    call_command("verigator_prune")
    assert Challenge.objects.exclude(next_url="").exists(), "that one may still go on"
    Challenge.objects.update(started_at=timezone.now() - timedelta(minutes=11))
    call_command("verigator_prune")
    assert not Challenge.objects.exclude(next_url="").exists()
