"""django-phonenumber-field: what a field prints is set by the site; who the number belongs to is not."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.auth import get_user_model

from django_verigator.models import VerigatorUser
from tests.conftest import PASSWORD, PHONE
from tests.neighbours.conftest import said

FORMATS = ["E164", "INTERNATIONAL", "NATIONAL", "RFC3966"]
LOGIN = "/accounts/login/"

pytestmark = pytest.mark.fault("P01")


@pytest.fixture(params=FORMATS, autouse=True)
def printed(request: Any, settings: Any) -> None:
    settings.PHONENUMBER_DEFAULT_FORMAT = request.param


@pytest.fixture(params=FORMATS)
def stored(request: Any, settings: Any) -> None:
    settings.PHONENUMBER_DB_FORMAT = request.param


def test_login__sends_the_pin_to_the_users_number(visitor, stored, alice):
    visitor.post(LOGIN, {"username": "alice", "password": PASSWORD, "next": "/verified/"})
    assert not visitor.gets_in()
    assert visitor.gives_pin(to=PHONE)["Location"] == "/verified/"
    assert visitor.gets_in()


@pytest.mark.parametrize("typed", ["5550 0067", "+372 5550 0067", "tel:+372-5550-0067", "00372 55500067"])
def test_number__may_be_given_as_the_field_takes_it(visitor, typed, db, django_capture_on_commit_callbacks):
    with django_capture_on_commit_callbacks(execute=True):
        user = get_user_model().objects.create_user("dora", password=PASSWORD, phone_number=typed)
    assert VerigatorUser.objects.get(user=user).phone_number == PHONE


def test_admins_login_page__leads_to_the_pin(visitor, boss):
    visitor.post("/admin/login/?next=/admin/", {"username": "boss", "password": PASSWORD})
    assert visitor.get("/admin/").status_code == 302
    visitor.gives_pin()
    assert visitor.get("/admin/").status_code == 200
    assert visitor.get(f"/admin/people/user/{boss.pk}/change/").status_code == 200


def test_user_without_a_number__owes_nothing(visitor, carol):
    visitor.post(LOGIN, {"username": "carol", "password": PASSWORD})
    assert visitor.gets_in()


@pytest.mark.fault("P03")
def test_number_that_nobody_can_read__leaves_its_user_owing(visitor, db):
    get_user_model().objects.create_user("erin", password=PASSWORD, phone_number="call me")
    visitor.post(LOGIN, {"username": "erin", "password": PASSWORD})
    assert not visitor.gets_in()


def test_checks__have_nothing_to_say(db):
    assert said() == {}
