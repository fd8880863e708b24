"""The walks through the code that docs/how-it-works.md tells are the ways that requests take."""

from __future__ import annotations

import re
from typing import Any

import pytest
from django.core.cache import cache
from django.test import Client

from ..conftest import give_password, sent_pin
from .markdown import DOCS, section
from .trace import FOUNDATIONS, PACKAGE, files_passed, first_visits, returns

PAGE = DOCS / "how-it-works.md"
MOST_RETURNS = 26
"""To files left before, on the way of a PIN: so often does its reader turn back."""


def told(walk: str) -> list[str]:
    return re.findall(r"^\d+\. `([a-z_/]+\.py)`", section(PAGE, walk), re.MULTILINE)


@pytest.fixture
def pin_posted(alice: Any, client: Any) -> list[str]:
    post_pin(Client())  # statements are composed at the first login after the start of a process
    return post_pin(client)


def post_pin(browser: Client) -> list[str]:
    give_password(browser)
    pin = sent_pin()
    with files_passed() as passed:
        browser.post("/accounts/verify/", {"pin": pin})
    return passed


def test_pin__goes_through_the_files_that_the_page_names(pin_posted: list[str]) -> None:
    assert told("A PIN is posted") == first_visits(pin_posted)


def test_pin__turns_back_seldom(pin_posted: list[str]) -> None:
    assert returns(pin_posted) <= MOST_RETURNS


def test_saved_user__goes_through_the_files_that_the_page_names(
    db: None, django_user_model: Any, django_capture_on_commit_callbacks: Any
) -> None:
    with files_passed() as passed, django_capture_on_commit_callbacks(execute=True):
        django_user_model.objects.create_user("dora", phone_number="+37255500061")
    assert told("A user is saved") == first_visits(passed)


def test_intercepted_login__goes_through_the_files_that_the_page_names(alice: Any, client: Any) -> None:
    cache.clear()
    with files_passed() as passed:
        assert client.get("/magic/alice/")["Location"] == "/accounts/verify/"
    assert told("A login is intercepted") == first_visits(passed)


def test_foundations__are_named_on_the_page_and_are_there() -> None:
    named = set(re.findall(r"`([a-z_/]+\.py)`", section(PAGE, "Three walks through the code").partition("###")[0]))
    assert named == FOUNDATIONS
    assert all((PACKAGE / name).is_file() for name in FOUNDATIONS)
