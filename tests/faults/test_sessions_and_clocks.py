"""A session store that is gone, a database copy that lags, clocks that differ: nobody gets in, nothing is for ever."""

from __future__ import annotations

from datetime import timedelta
from http import HTTPStatus
from typing import Any

import pytest
from django.contrib.auth import user_logged_in
from django.contrib.sessions.models import Session
from django.db import models
from django.utils import timezone

from django_verigator import models as ours
from django_verigator.backends import locmem
from django_verigator.models import Challenge, VerigatorUser

from ..conftest import PHONE, give_password, sent_pin
from ..site.sessions import Store

LOGIN, PIN_PAGE, RESEND = "/accounts/login/", "/accounts/verify/", "/accounts/verify/resend/"


@pytest.fixture(params=["tests.site.sessions", "tests.site.more_sessions"], ids=["the store", "one that extends it"])
def store(request, settings, monkeypatch):
    settings.SESSION_ENGINE = request.param
    monkeypatch.setattr(Store, "down", False)
    return Store


@pytest.mark.threat("R29")
def test_store_that_is_down_at_the_pin__is_a_503_and_logs_nobody_in(alice, browser, store, caplog):
    give_password(browser)
    store.down = True
    response = browser.post(PIN_PAGE, {"pin": sent_pin()})
    assert response.status_code == HTTPStatus.SERVICE_UNAVAILABLE
    assert "cannot sign you in at the moment" in response.content.decode()
    assert "session_failed" in caplog.text
    assert sent_pin() not in caplog.text
    store.down = False
    assert Session.objects.count() == 0
    assert browser.get("/private/").status_code == HTTPStatus.FOUND
    # The PIN is used up; the login begins anew.
    give_password(browser)
    Challenge.objects.update(resend_at=None)
    assert browser.post(PIN_PAGE, {"pin": sent_pin()})["Location"] == "/private/"


@pytest.mark.threat("R29")
def test_what_the_site_itself_puts_into_the_session_wrongly__is_not_hidden(alice, browser):
    def put(sender, request, **kwargs):
        request.session["basket"] = object()

    user_logged_in.connect(put)
    try:
        give_password(browser)
        with pytest.raises(TypeError, match="JSON"):
            browser.post(PIN_PAGE, {"pin": sent_pin()})
    finally:
        user_logged_in.disconnect(put)


@pytest.mark.threat("R29")
def test_store_that_is_down_for_a_visitor_with_a_session__is_a_503(alice, browser, store):
    session = browser.session
    session["cart"] = ["book"]
    session.save()
    browser.cookies["sessionid"] = session.session_key
    store.down = True
    assert give_password(browser).status_code == HTTPStatus.SERVICE_UNAVAILABLE
    store.down = False
    assert give_password(browser)["Location"] == PIN_PAGE
    store.down = True
    assert browser.post(PIN_PAGE, {"pin": sent_pin()}).status_code == HTTPStatus.SERVICE_UNAVAILABLE
    store.down = False
    assert browser.get("/private/").status_code == HTTPStatus.FOUND


def test_error_of_the_site__is_not_taken_for_the_store_s(alice, browser, store, monkeypatch):
    give_password(browser)
    monkeypatch.setattr("django_verigator.flows.login.policy.remember", lambda *args: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        browser.post(PIN_PAGE, {"pin": sent_pin()})


class Replica:
    """A router whose reads go to a copy that has nothing yet."""

    def db_for_read(self, model: type[models.Model], **hints: Any) -> str:
        return "replica"

    def db_for_write(self, model: type[models.Model], **hints: Any) -> str:
        return "default"


@pytest.mark.threat("R27")
def test_replica_that_lags__is_never_read(db, settings):
    settings.DATABASE_ROUTERS = [Replica()]
    tables = [cls for cls in vars(ours).values() if isinstance(cls, type) and issubclass(cls, models.Model)]
    assert len(tables) > 5
    assert {cls._default_manager.all().db for cls in tables} == {"default"}
    assert {cls._base_manager.all().db for cls in tables} == {"default"}


@pytest.mark.threat("R27")
def test_replica_that_lags__is_read_neither_again_nor_through_the_user(alice, settings):
    settings.DATABASE_ROUTERS = [Replica()]
    assert type(alice)(pk=alice.pk).verigator.phone_number == PHONE
    link = VerigatorUser.objects.get()
    link.phone_number = ""
    link.refresh_from_db()
    assert link.phone_number == PHONE


def move_clock(monkeypatch: pytest.MonkeyPatch, **by: float) -> None:
    now = timezone.now
    monkeypatch.setattr(timezone, "now", lambda: now() + timedelta(**by))


@pytest.mark.threat("R30")
@pytest.mark.parametrize("minutes", [-10, 10])
def test_clock_that_jumps_between_password_and_pin__lengthens_no_pin_and_waits_for_nothing_negative(
    alice, browser, monkeypatch, minutes
):
    give_password(browser)
    sent_at = Challenge.objects.get().sent_at
    move_clock(monkeypatch, minutes=minutes)
    page = browser.get(PIN_PAGE)
    if page.status_code == HTTPStatus.OK:
        assert page.context_data["resend_in"] >= 0
    answer = browser.post(PIN_PAGE, {"pin": sent_pin()})
    # Put forward, the clock ends the PIN; put back, it is the same clock that the PIN's end was written by.
    assert (answer.get("Location") == "/private/") is (minutes < 0)
    challenge = Challenge.objects.get()
    assert challenge.expires_at - sent_at <= timedelta(seconds=600)


@pytest.mark.threat("R30")
@pytest.mark.parametrize("seconds", [-90, 90])
def test_two_nodes_that_differ_by_90_seconds__take_the_pin(alice, browser, monkeypatch, seconds):
    give_password(browser)
    move_clock(monkeypatch, seconds=seconds)
    assert browser.post(PIN_PAGE, {"pin": sent_pin()})["Location"] == "/private/"
    assert len(locmem.outbox) == 1
