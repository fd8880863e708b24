"""A database for each customer behind a router, all behind one cache."""

from __future__ import annotations

from io import StringIO
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.contrib.auth.hashers import make_password
from django.core.management import call_command

from django_verigator.models import Challenge, VerigatorUser
from tests.conftest import PASSWORD, PHONE
from tests.neighbours.conftest import Visitor
from tests.neighbours.routed.router import database

pytestmark = pytest.mark.django_db(databases=["default", "one", "two"], transaction=True)

SAME = {"pk": 1, "password": make_password(PASSWORD, salt="the same in each database")}


def make_user(where: str, phone: str = "", name: str = "admin") -> Any:
    with database(where):
        return get_user_model().objects.create(username=name, phone_number=phone, **SAME)


def visitor_of(where: str) -> Any:
    return Visitor(SERVER_NAME=f"{where}.example")


def give_password(visitor: Any, name: str = "admin") -> Any:
    return visitor.post("/accounts/login/", {"username": name, "password": PASSWORD})


@pytest.mark.fault("X19")
def test_login__is_written_where_its_user_is():
    make_user("one", PHONE)
    visitor = visitor_of("one")
    give_password(visitor)
    assert not visitor.gets_in()
    visitor.gives_pin()
    assert visitor.gets_in()
    for model, counts in ((VerigatorUser, (0, 1, 0)), (Challenge, (0, 1, 0))):
        assert tuple(model.objects.using(name).count() for name in ("default", "one", "two")) == counts


@pytest.mark.fault("X03")
@pytest.mark.parametrize("name", ["admin", "other"])
def test_user_who_owes_nothing__does_not_answer_for_the_namesake_of_another_database(name):
    make_user("one")
    make_user("two", PHONE, name)
    visitor = visitor_of("one")
    give_password(visitor)
    assert visitor.gets_in()
    other = visitor_of("two")
    with database("two"):
        other.force_login(get_user_model().objects.get(pk=1))
    assert not other.gets_in()


def test_sync__is_run_for_each_database():
    make_user("one", PHONE)
    make_user("two", "+37255500068")
    for where, phone in (("one", PHONE), ("two", "+37255500068")):
        with database(where):
            call_command("verigator_sync", stdout=StringIO())
            link = VerigatorUser.objects.get()
            assert (link.phone_number, link.state) == (phone, "registered")
