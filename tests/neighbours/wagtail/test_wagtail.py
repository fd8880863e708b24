"""Wagtail: its own login page, its private pages, and its previews."""

from __future__ import annotations

from base64 import b64encode
from http import HTTPStatus
from typing import Any

import pytest
from django.urls import reverse
from wagtail.models import Page, PageViewRestriction

from django_verigator.testing import login_verified
from tests.conftest import PASSWORD
from tests.neighbours.conftest import said


@pytest.fixture
def private_page(db: None) -> Any:
    page = Page.objects.get(depth=2).add_child(instance=Page(title="For members", slug="members"))
    PageViewRestriction.objects.create(page=page, restriction_type=PageViewRestriction.LOGIN)
    return page


def give_password(visitor: Any, page: str = "/cms/login/", name: str = "boss", **extra: str) -> Any:
    return visitor.post(page, {"username": name, "password": PASSWORD, **extra})


def test_its_login_page__leads_to_the_pin_and_back(visitor, boss):
    assert give_password(visitor, next="/cms/pages/")["Location"] == reverse("verigator:verify")
    for page in ("/cms/", "/cms/pages/", "/cms/users/", "/cms/account/"):
        assert visitor.get(page).status_code == HTTPStatus.FOUND
    assert visitor.gives_pin()["Location"] == "/cms/pages/"
    assert visitor.get("/cms/").status_code == HTTPStatus.OK


def test_anonymous_visitor__comes_from_the_cms_to_our_page_and_back(visitor, boss):
    login = visitor.get("/cms/")["Location"]
    assert login == "/accounts/login/?next=/cms/"
    give_password(visitor, login, next="/cms/")
    assert visitor.gives_pin()["Location"] == "/cms/"
    assert visitor.get("/cms/").status_code == HTTPStatus.OK


@pytest.mark.parametrize(("remember", "outlives"), [("", False), ("on", True)])
def test_remember_me__is_heeded_after_the_pin(visitor, boss, remember, outlives):
    give_password(visitor, remember=remember)
    visitor.gives_pin()
    assert bool(visitor.cookies["sessionid"]["max-age"]) is outlives


def test_private_page__is_shown_after_the_pin(visitor, alice, private_page):
    url = private_page.url
    login = visitor.get(url)["Location"]
    assert login.startswith("/accounts/login/")
    give_password(visitor, login, "alice", next=url)
    assert visitor.get(url).status_code == HTTPStatus.FOUND
    assert visitor.gives_pin()["Location"] == url


def test_public_page__needs_nobody(visitor, db):
    assert visitor.get("/whoami/").status_code == HTTPStatus.OK
    assert "Cookie" not in visitor.get("/public/").headers.get("Vary", "")


def test_editor__works_after_the_pin(visitor, boss, private_page):
    login_verified(visitor, boss)
    for page in (f"/cms/pages/{private_page.pk}/edit/", f"/cms/pages/{private_page.pk}/", "/cms/users/"):
        assert visitor.get(page, follow=True).status_code == HTTPStatus.OK


def test_user_made_in_the_cms__owes_as_others_do(visitor, boss):
    login_verified(visitor, boss)
    form = {"username": "dora", "email": "d@example.com", "first_name": "D", "last_name": "D", "is_active": "on"}
    visitor.post("/cms/users/new/", {**form, "password1": "a long one 77", "password2": "a long one 77"})
    theirs = type(visitor)()
    theirs.post("/accounts/login/", {"username": "dora", "password": "a long one 77"})
    assert theirs.gets_in()  # no phone


def test_checks__have_nothing_to_say(db):
    assert said() == {}


@pytest.mark.parametrize("what", ["pages", "images", "documents"])
def test_its_api__takes_no_password_alone(visitor, boss, what):
    basic = b64encode(f"boss:{PASSWORD}".encode()).decode()
    answer = visitor.get(f"/cms/api/main/{what}/", headers={"Authorization": f"Basic {basic}"})
    assert answer.status_code != HTTPStatus.OK
