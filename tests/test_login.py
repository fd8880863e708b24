"""The two steps, as a browser sees them."""

from __future__ import annotations

from http import HTTPStatus

from django_verigator.backends import locmem

from .conftest import PHONE, WRONG_PIN, give_password, sent_pin


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
