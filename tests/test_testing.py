"""What we give to the tests of sites."""

from __future__ import annotations

from itertools import count

import pytest
from django.test import Client

from django_verigator import testing

from .conftest import give_password


@pytest.mark.parametrize("engine", ["db", "cache", "cached_db", "signed_cookies", "file"])
def test_login_verified__opens_guarded_pages_with_every_kind_of_session(alice, settings, engine, tmp_path):
    settings.SESSION_ENGINE = f"django.contrib.sessions.backends.{engine}"
    settings.SESSION_FILE_PATH = str(tmp_path)
    client = Client()
    testing.login_verified(client, alice)
    assert client.get("/verified/").content.decode() == f"verified {alice.pk}"


def test_outbox_and_last_pin__show_what_was_sent(alice):
    with pytest.raises(AssertionError, match="No PIN was sent"):
        testing.last_pin()
    client = Client()
    give_password(client)
    assert testing.outbox[-1].pin == testing.last_pin("+37255500067")
    assert client.post("/accounts/verify/", {"pin": testing.last_pin()})["Location"] == "/private/"
    with pytest.raises(AssertionError):
        testing.last_pin("+37255500068")


def test_pin__is_never_the_same_twice_running(alice, browser, monkeypatch):
    """The site refuses a PIN that it accepted a moment ago: a test that logs in twice would fail one day, by chance."""
    dice = count()
    monkeypatch.setattr("secrets.randbelow", lambda top: next(dice) // 3)
    give_password(browser)
    first = testing.last_pin()
    give_password(Client())
    assert len(testing.outbox) == 2
    assert testing.last_pin() != first


@pytest.mark.parametrize("engine", ["db", "cache", "cached_db", "signed_cookies", "file"])
def test_login__works_with_every_kind_of_session(alice, settings, engine, tmp_path):
    settings.SESSION_ENGINE = f"django.contrib.sessions.backends.{engine}"
    settings.SESSION_FILE_PATH = str(tmp_path)
    client = Client()
    give_password(client)
    assert client.get("/private/").status_code == 302
    client.post("/accounts/verify/", {"pin": testing.last_pin()})
    assert client.get("/verified/").content.decode() == f"verified {alice.pk}"
    other = Client()
    other.force_login(alice)
    assert other.get("/verified/")["Location"] == "/accounts/verify/"
