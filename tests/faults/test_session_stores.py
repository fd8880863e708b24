"""Which errors of a view count as the session store's, and what becomes of the session while a view runs."""

from __future__ import annotations

from contextlib import suppress

import pytest
from asgiref.sync import async_to_sync
from django.contrib.sessions.backends import cache, cached_db, db, file, signed_cookies
from django.contrib.sessions.backends.base import CreateError, UpdateError
from django.http import HttpResponse
from django.utils.functional import SimpleLazyObject

from django_verigator.views.decorators import answer_without_sessions
from django_verigator.views.session_store import store_errors_marked

STORES = [cache, cached_db, db, file, signed_cookies]


class Broken(cache.SessionStore):
    error: Exception = ConnectionError("gone")

    def load(self):
        raise self.error

    def save(self, must_create=False):
        raise self.error

    async def aload(self):
        raise self.error

    async def asave(self, must_create=False):
        raise self.error


class Slotted:
    __slots__ = ()

    def load(self):
        raise ConnectionError


def answer(rf, session, read):
    @answer_without_sessions
    def view(request):
        read(request.session)
        return HttpResponse()

    request = rf.get("/")
    request.session = session
    return view(request).status_code


@pytest.mark.parametrize("store", STORES, ids=lambda module: module.__name__.rpartition(".")[2])
def test_session__is_the_same_before_within_and_after(store, db):
    session = store.SessionStore()
    salt = session.key_salt
    with store_errors_marked(session):
        session["cart"] = 1
        session.cycle_key()
        assert (session.key_salt, session.get("cart")) == (salt, 1)
        session.save()
    assert type(session) is store.SessionStore
    assert store.SessionStore(session.session_key)["cart"] == 1
    with store_errors_marked(session):
        session.flush()
    assert session.session_key is None


@pytest.mark.parametrize(
    "read",
    [
        lambda session: session["cart"],
        lambda session: session.save(),
        lambda session: session.cycle_key(),
        lambda session: async_to_sync(session.aget)("cart"),
        lambda session: async_to_sync(session.asave)(),
    ],
    ids=["load", "save", "cycle_key", "aload", "asave"],
)
def test_error_of_the_store__is_a_503(rf, caplog, read):
    assert answer(rf, Broken("a" * 32), read) == 503
    assert "session_failed error=ConnectionError at " in caplog.text


@pytest.mark.parametrize("error", [CreateError(), UpdateError()], ids=lambda error: type(error).__name__)
def test_error_that_django_s_stores_raise__reaches_whoever_handles_it_and_else_is_a_503(rf, monkeypatch, error):
    monkeypatch.setattr(Broken, "error", error)
    with store_errors_marked(session := Broken("a" * 32)), pytest.raises(type(error)):
        session.save()
    assert answer(rf, session, lambda session: session["cart"]) == 503


def test_key_that_is_taken__is_tried_again(monkeypatch):
    keys = iter(["a" * 32, "a" * 32, "b" * 32])
    monkeypatch.setattr(cache.SessionStore, "_get_new_session_key", lambda self: next(keys))
    for expected in ("a" * 32, "b" * 32):
        with store_errors_marked(session := cache.SessionStore()):
            session.create()
        assert session.session_key == expected


@pytest.mark.parametrize("wrong", [TypeError, ValueError])
def test_value_that_cannot_be_stored__is_the_site_s_error(rf, monkeypatch, wrong):
    monkeypatch.setattr(Broken, "error", wrong())
    with pytest.raises(wrong):
        answer(rf, Broken("a" * 32), lambda session: session.save())


def test_session_whose_class_cannot_be_exchanged__is_left_alone():
    with store_errors_marked(session := Slotted()), pytest.raises(ConnectionError):
        session.load()
    assert type(session) is Slotted


def test_lazy_session__is_marked_and_given_back():
    store = Broken("a" * 32)
    with store_errors_marked(session := SimpleLazyObject(lambda: store)), pytest.raises(ConnectionError):
        session.load()
    assert type(store) is Broken


def test_site_code_that_catches_its_store_s_error__still_does():
    with store_errors_marked(session := Broken("a" * 32)), suppress(ConnectionError):
        session.get("cart")
