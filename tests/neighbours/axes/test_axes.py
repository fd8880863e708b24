"""django-axes counts passwords, this app counts PINs; neither stands in the other's way."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

import pytest
from axes.models import AccessAttempt
from django.urls import reverse

from django_verigator.backends import locmem
from tests.conftest import PASSWORD, WRONG_PIN
from tests.neighbours.conftest import said

PAGES = ["/accounts/login/", "/admin/login/"]


def give_password(visitor: Any, page: str, password: str = PASSWORD, name: str = "boss", **extra: str) -> Any:
    return visitor.post(page, {"username": name, "password": password, **extra})


@pytest.mark.parametrize("page", PAGES)
def test_login_page__leads_to_the_pin_and_back(visitor, boss, page):
    assert give_password(visitor, page, next="/private/")["Location"] == reverse("verigator:verify")
    assert not visitor.gets_in()
    assert visitor.gives_pin()["Location"] == "/private/"
    assert visitor.gets_in()


@pytest.mark.parametrize("page", PAGES)
def test_wrong_passwords__lock_and_then_the_right_one_sends_nothing(visitor, boss, page):
    for _ in range(3):
        give_password(visitor, page, "wrong")
    assert give_password(visitor, page).status_code == HTTPStatus.TOO_MANY_REQUESTS
    assert locmem.outbox == []
    assert not visitor.gets_in()


def test_right_pin__ends_the_count_as_a_login_does(visitor, boss):
    give_password(visitor, PAGES[0], "wrong")
    give_password(visitor, PAGES[0], "wrong")
    give_password(visitor, PAGES[0])
    assert AccessAttempt.objects.exists()  # the password alone is no login
    visitor.gives_pin()
    assert not AccessAttempt.objects.exists()


def test_wrong_pins__are_not_counted_as_passwords(visitor, boss):
    give_password(visitor, PAGES[0])
    for _ in range(3):
        visitor.post(reverse("verigator:verify"), {"pin": WRONG_PIN})
    assert not AccessAttempt.objects.exists()
    visitor.gives_pin()
    assert visitor.gets_in()


@pytest.mark.fault("P07")
def test_password_asked_once_more__is_taken(visitor, boss):
    give_password(visitor, PAGES[0])
    visitor.gives_pin()
    page = reverse("verigator:recovery_codes")
    assert "not right" in visitor.post(page, {"password": "wrong"}).content.decode()
    assert visitor.post(page, {"password": PASSWORD}, follow=True).status_code == HTTPStatus.OK
    assert visitor.gets_in()


def test_checks__have_nothing_to_say(db):
    assert said() == {}
