"""django-tenants: a schema for each tenant with users of its own, all behind one cache."""

from __future__ import annotations

from collections.abc import Iterator
from io import StringIO
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.core.management import call_command
from django.db import connection
from django_tenants.utils import schema_context

from django_verigator.backends import locmem
from django_verigator.models import VerigatorUser
from tests.conftest import PASSWORD, PHONE
from tests.neighbours.conftest import Visitor
from tests.neighbours.tenants.models import Client, Domain

NAMES = ("one", "two")


@pytest.fixture(scope="module")
def tenants(django_db_setup: None, django_db_blocker: Any) -> Iterator[None]:
    with django_db_blocker.unblock():
        for name in NAMES:
            tenant = Client.objects.create(schema_name=name)
            Domain.objects.create(domain=f"{name}.example", tenant=tenant)
        yield


@pytest.fixture(autouse=True)
def _tenants(tenants: None, db: None) -> Iterator[None]:
    yield
    connection.set_schema_to_public()


def visitor_of(name: str) -> Any:
    return Visitor(SERVER_NAME=f"{name}.example")


def make_user(tenant: str, phone: str = "", **fields: Any) -> Any:
    with schema_context(tenant):
        return get_user_model().objects.create(
            **{"pk": 1, "username": "admin", "password": _hash(), "phone_number": phone, **fields}
        )


def _hash() -> str:
    from django.contrib.auth.hashers import make_password

    return make_password(PASSWORD, salt="the same in each tenant")


def give_password(visitor: Any, page: str = "/accounts/login/", name: str = "admin") -> Any:
    return visitor.post(page, {"username": name, "password": PASSWORD})


def test_login__is_of_one_tenant(db):
    make_user("one", PHONE)
    visitor = visitor_of("one")
    give_password(visitor)
    assert not visitor.gets_in()
    visitor.gives_pin()
    assert visitor.gets_in()
    stranger = visitor_of("two")
    stranger.cookies = visitor.cookies
    assert not stranger.gets_in()


@pytest.mark.fault("X03")
@pytest.mark.parametrize(
    "fields", [{}, {"username": "other"}, {"password": "md5$other$x"}], ids=["copy", "name", "word"]
)
def test_user_who_owes_nothing__does_not_answer_for_the_namesake_of_another_tenant(db, fields):
    make_user("one", is_staff=True)
    make_user("two", PHONE, is_staff=True, **fields)
    visitor = visitor_of("one")
    give_password(visitor)
    assert visitor.gets_in()
    other = visitor_of("two")
    with schema_context("two"):
        other.force_login(get_user_model().objects.get(pk=1))
    assert not other.gets_in()


def test_admins_login_page__leads_to_the_pin(db):
    make_user("one", PHONE, is_staff=True, is_superuser=True)
    visitor = visitor_of("one")
    give_password(visitor, "/admin/login/")
    assert visitor.get("/admin/").status_code == 302
    visitor.gives_pin()
    assert visitor.get("/admin/").status_code == 200


def test_sync__is_run_for_each_tenant(db):
    for name, phone in zip(NAMES, (PHONE, "+37255500068"), strict=True):
        make_user(name, phone)
    call_command("all_tenants_command", "verigator_sync", stdout=StringIO())
    for name, phone in zip(NAMES, (PHONE, "+37255500068"), strict=True):
        with schema_context(name):
            link = VerigatorUser.objects.get()
            assert (link.phone_number, link.state) == (phone, "registered")
    assert locmem.outbox == []
