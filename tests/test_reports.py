"""What became of a message: what is posted, what we ask, and who sees it. Lies: tests/attacks/test_m_reports.py."""

from __future__ import annotations

import json
import threading
import time
from datetime import timedelta
from decimal import Decimal
from http import HTTPStatus
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.db import connection
from django.test import Client
from django.utils import timezone

from django_verigator import conf
from django_verigator.backends import Circuit, CircuitState, DeliveryReport, DeliveryStatus, backends
from django_verigator.db import RetriesExhaustedError
from django_verigator.exceptions import ConnectionFailedError, InternalError, RequestTimeoutError
from django_verigator.flows import providers, reports
from django_verigator.models import Challenge
from django_verigator.records import exporting
from django_verigator.testing import login_verified

from . import reporting
from .conftest import give_password, sent_pin
from .reporting import post

VERIFY, RESEND = "/accounts/verify/", "/accounts/verify/resend/"
NOT_TAKEN, NOT_ARRIVED = "network has not taken the text", "The message has not arrived on your phone"
ARRIVED = "It has arrived on your phone"


@pytest.fixture(autouse=True)
def reporting_provider(settings: Any) -> None:
    reporting.reset()
    reporting.configure(settings)


@pytest.fixture
def waiting(alice: Any, browser: Client) -> Challenge:
    """The code of a login that waits, sent long enough ago to be asked about."""
    give_password(browser)
    Challenge.objects.update(sent_at=timezone.now() - timedelta(seconds=reports.ASK_SECONDS + 1))
    return Challenge.objects.get()


def page(browser: Client) -> str:
    return browser.get(VERIFY).content.decode().replace("&#x27;", "'")


def ask_again() -> None:
    Challenge.objects.update(report_asked_at=timezone.now() - timedelta(seconds=reports.ASK_SECONDS + 1))


# --- what is posted ---------------------------------------------------------------------------------------------------


def test_report__is_kept_with_channel_error_and_price(waiting):
    response = post(Client(), status="undelivered", channel="viber", error="107", price="0.04512")
    assert (response.status_code, response.content) == (200, b"")
    waiting.refresh_from_db()
    assert (waiting.delivery, waiting.delivery_channel, waiting.delivery_error) == ("undelivered", "viber", "107")
    assert waiting.price == Decimal("0.04512")


@pytest.mark.parametrize("status", ["sent", "undelivered", "delivered", "seen"])
def test_report__needs_no_cookie_and_no_csrf_token_and_no_login(waiting, settings, status):
    settings.MIDDLEWARE = [*settings.MIDDLEWARE, "django.contrib.auth.middleware.LoginRequiredMiddleware"]
    assert post(Client(enforce_csrf_checks=True), status=status).status_code == 200
    waiting.refresh_from_db()
    assert waiting.delivery == status


def test_report__may_come_before_the_answer_to_the_start_is_written(alice, browser, monkeypatch):
    early: list[int] = []
    start = reporting.ReportingBackend.start

    def report_at_once(self: Any, *args: Any, **kwargs: Any) -> Any:
        started = start(self, *args, **kwargs)
        early.append(post(Client()).status_code)
        return started

    monkeypatch.setattr(reporting.ReportingBackend, "start", report_at_once)
    give_password(browser)
    challenge = Challenge.objects.get()
    assert early == [200]
    assert (challenge.delivery, challenge.message_id, challenge.outcome) == ("delivered", "message-1", "sent")
    assert ARRIVED in page(browser)


@pytest.mark.skipif(connection.vendor == "sqlite", reason="a thread and its test write at once")
@pytest.mark.django_db(transaction=True)
def test_report__and_the_answer_to_the_start_may_be_written_at_the_same_time(aalice, browser, monkeypatch):
    start, late = reporting.ReportingBackend.start, []

    def report_meanwhile(self: Any, *args: Any, **kwargs: Any) -> Any:
        def work() -> None:
            post(Client())
            connection.close()

        started = start(self, *args, **kwargs)
        late.append(threading.Thread(target=work))
        late[0].start()
        return started

    monkeypatch.setattr(reporting.ReportingBackend, "start", report_meanwhile)
    give_password(browser)
    late[0].join(20)
    challenge = Challenge.objects.get()
    assert (challenge.delivery, challenge.message_id, challenge.outcome) == ("delivered", "message-1", "sent")


def test_report__comes_within_a_week_or_not_at_all(waiting, monkeypatch):
    """The address stands in the logs of servers on the way."""
    later = time.time() + reports.ADDRESS_SECONDS + 1
    with monkeypatch.context() as patch:
        patch.setattr(time, "time", lambda: later)
        assert post(Client()).status_code == HTTPStatus.NOT_FOUND
    assert post(Client()).status_code == HTTPStatus.OK


def test_report__goes_nowhere_without_a_base_address(alice, browser, settings):
    entry = {"BACKEND": reporting.BACKEND, "OPTIONS": {"report_base": ""}}
    settings.VERIGATOR = {**settings.VERIGATOR, "BACKENDS": {"default": entry}}
    give_password(browser)
    assert reporting.urls == [""]


def test_message_id__that_is_none_is_not_kept(alice, browser, monkeypatch):
    start = reporting.ReportingBackend.start
    strange = ["x" * 129, "Your PIN is 1234", '{"text":"1234"}', "a\0b", "ä"]
    for number, message_id in enumerate(strange):

        def say(self: Any, *args: Any, message_id: str = message_id, **kwargs: Any) -> Any:
            started = start(self, *args, **kwargs)
            return type(started)(started.method, started.reference, message_id)

        monkeypatch.setattr(reporting.ReportingBackend, "start", say)
        Challenge.objects.all().delete()
        give_password(Client(REMOTE_ADDR=f"9.9.{number}.9"))
        challenge = Challenge.objects.get()
        assert (challenge.message_id, challenge.outcome) == ("", "sent")


# --- what users and support see ---------------------------------------------------------------------------------------


def test_page__says_what_became_of_the_message(waiting, browser):
    assert not any(words in page(browser) for words in (NOT_TAKEN, NOT_ARRIVED, ARRIVED))
    assert "data-refresh" in page(browser)
    post(Client(), status="undelivered")
    assert NOT_TAKEN in page(browser)
    assert "data-refresh" not in page(browser)
    post(Client(), status="delivered")
    assert ARRIVED in page(browser)
    assert NOT_TAKEN not in page(browser)


def test_page__says_that_the_phone_could_not_be_reached(waiting, browser, caplog):
    """In time: later the message is given up. For support it counts as undelivered."""
    post(Client(), status="expired")
    assert "Your phone could not be reached" in page(browser)
    assert NOT_TAKEN not in page(browser)
    assert "message_undelivered" in caplog.text


@pytest.mark.parametrize(("channel", "words"), [("viber", " by Viber."), ("telegram", " by telegram."), ("", ".")])
def test_page__says_by_what_it_has_arrived(waiting, browser, channel, words):
    post(Client(), status="delivered", channel=channel)
    assert ARRIVED + words in page(browser)


def test_channel__stays_known_where_a_report_names_none(waiting):
    post(Client(), status="sent", channel="viber")
    post(Client(), status="delivered")
    waiting.refresh_from_db()
    assert (waiting.delivery, waiting.delivery_channel) == ("delivered", "viber")


def test_page__speaks_of_no_network_where_another_channel_failed(waiting, browser):
    post(Client(), status="undelivered", channel="whatsapp")
    assert NOT_ARRIVED in page(browser)
    assert NOT_TAKEN not in page(browser)


def test_page__offers_another_way_where_there_is_one(alice, browser, settings):
    reporting.configure(settings, "default", "other")
    give_password(browser)
    post(Client(), status="undelivered")
    assert "Send it another way?" in page(browser)


def test_page__offers_no_other_way_where_there_is_none(waiting, browser):
    post(Client(), status="undelivered")
    assert not any(words in page(browser) for words in ("Send it another way?", "another way, below"))


def test_page__points_at_the_other_ways_by_no_name_that_no_button_has(waiting, browser, monkeypatch):
    monkeypatch.setattr(providers, "other_methods", lambda challenge: ["call"])
    post(Client(), status="undelivered")
    assert "Send it another way" not in page(browser)
    assert "You can use another way, below." in page(browser)
    assert "Call me instead" in page(browser)


def test_admin__shows_delivery_and_price(waiting, admin_user):
    post(Client(), status="undelivered", channel="viber", error="<b>107</b>", price="0.045")
    desk = Client()
    login_verified(desk, admin_user)
    listed = desk.get("/admin/django_verigator/challenge/?delivery=undelivered").content.decode()
    assert 'class="field-delivery">undelivered<' in listed
    shown = desk.get(f"/admin/django_verigator/challenge/{waiting.pk}/change/").content.decode()
    assert "viber" in shown
    assert "0.04500" in shown
    assert "&lt;b&gt;107&lt;/b&gt;" in shown
    assert "message-1" not in shown


def test_export__has_what_became_of_the_message(waiting, alice):
    post(Client(), status="undelivered", channel="sms", error="5")
    (row,) = exporting.data_of(alice)["challenges"]
    assert (row["delivery"], row["delivery_channel"], row["delivery_error"]) == ("undelivered", "sms", "5")
    assert "message-1" not in json.dumps(row)


def test_report__is_asked_for_again_where_the_database_gives_up(waiting, monkeypatch):
    def give_up(*args, **kwargs):
        raise RetriesExhaustedError

    monkeypatch.setattr(Challenge, "transition", give_up)
    assert post(Client(), status="delivered").status_code == 503


# --- what is asked ----------------------------------------------------------------------------------------------------


def test_page__asks_once_in_ten_seconds(waiting, browser):
    for _ in range(5):
        page(browser)
    assert reporting.asked == ["message-1"]
    ask_again()
    page(browser)
    assert reporting.asked == ["message-1"] * 2


@pytest.mark.parametrize("written_first", [0, 1])
def test_page__is_shown_where_the_database_gives_up(waiting, browser, monkeypatch, written_first):
    """At the mark that somebody asks, or at the report itself."""
    transition, calls = Challenge.transition, []

    def give_up(*args, **kwargs):
        calls.append(args)
        if len(calls) <= written_first:
            return transition(*args, **kwargs)
        raise RetriesExhaustedError

    reporting.answers[:] = [DeliveryReport(DeliveryStatus.DELIVERED)]
    monkeypatch.setattr(Challenge, "transition", give_up)
    assert browser.get(VERIFY).status_code == 200
    assert len(calls) == written_first + 1


def test_page__asks_nothing_at_once(alice, browser):
    give_password(browser)
    page(browser)
    assert reporting.asked == []


def test_page__asks_nothing_more_when_it_is_known(waiting, browser):
    reporting.answers[:] = [DeliveryReport(DeliveryStatus.DELIVERED, "sms", price=Decimal("0.04"))]
    assert ARRIVED in page(browser)
    ask_again()
    page(browser)
    assert len(reporting.asked) == 1
    assert Challenge.objects.get().price == Decimal("0.04")


def ended(challenge: Challenge) -> dict[str, dict[str, Any]]:
    now = timezone.now()
    return {
        "consumed": {"consumed_at": now, "outcome": "expired"},
        "superseded": {"superseded_at": now},
        "expired": {"expires_at": now - timedelta(seconds=1)},
        "not sent": {"sent_at": None},
        "no id": {"message_id": ""},
        "another provider's": {"backend": "gone"},
    }


@pytest.mark.parametrize("how", ended(Challenge()))
def test_page__asks_nothing_about_a_code_that_ended(waiting, browser, how):
    Challenge.objects.update(**ended(waiting)[how])
    assert browser.get(VERIFY).status_code == 200
    assert reporting.asked == []


@pytest.mark.django_db(transaction=True)
def test_page__twenty_at_once_ask_once(aalice, browser):
    give_password(browser)
    Challenge.objects.update(sent_at=timezone.now() - timedelta(seconds=reports.ASK_SECONDS + 1))
    gate, statuses = threading.Barrier(20), []

    def look() -> None:
        mine = Client()
        mine.cookies = browser.cookies
        gate.wait(20)
        statuses.append(mine.get(VERIFY).status_code)
        connection.close()

    threads = [threading.Thread(target=look) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert statuses == [200] * 20
    assert reporting.asked == ["message-1"]


@pytest.mark.parametrize(
    "error",
    [
        ConnectionFailedError("x"),
        InternalError("x", status=500),
        RequestTimeoutError("x"),
        KeyError("a bug of its own"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_reports_that_fail__keep_no_code_from_being_sent(db, error, django_user_model):
    """However many users look, and whatever the provider's own code raises."""
    reporting.answers[:] = [error]
    for number in range(12):
        django_user_model.objects.create_user(f"u{number}", password="correct horse", phone_number=f"+37255{number:06}")
        browser = Client(REMOTE_ADDR=f"9.9.{number}.9")
        give_password(browser, f"u{number}")
        Challenge.objects.update(sent_at=timezone.now() - timedelta(seconds=reports.ASK_SECONDS + 1))
        assert browser.get(VERIFY).status_code == 200
    assert Circuit("default").state == CircuitState.CLOSED
    assert len(reporting.urls) == 12
    # The reports' own circuit has opened, so that no page waits for them.
    assert isinstance(error, KeyError) or len(reporting.asked) == conf.current().LIMITS.CIRCUIT_FAILURES


def test_reports_that_are_slow__leave_room_for_sends(db, settings, waiting, browser):
    """The bulkhead of the sends does not count them."""
    settings.VERIGATOR = {**settings.VERIGATOR, "LIMITS": {"PROVIDER_CALLS_AT_ONCE": 1}}
    seen = []

    def send_meanwhile(self: Any, message_id: str, *, timeout: float) -> DeliveryReport:
        seen.append(timeout)
        get_user_model().objects.create_user("bob", password="correct horse", phone_number="+37255500099")
        give_password(Client(REMOTE_ADDR="9.9.9.9"), "bob")
        return DeliveryReport(DeliveryStatus.SENT)

    reporting.ReportingBackend.report, kept = send_meanwhile, reporting.ReportingBackend.report
    try:
        page(browser)
    finally:
        reporting.ReportingBackend.report = kept
    assert seen == [reports.ASK_TIMEOUT]
    assert reports.ASK_TIMEOUT <= 2
    assert len(reporting.urls) == 2
    assert Challenge.objects.filter(user__username="bob", outcome="sent").exists()


def test_report__that_is_posted_while_the_provider_is_asked_is_not_overwritten(waiting, browser, monkeypatch):
    def answer_late(self: Any, message_id: str, *, timeout: float) -> DeliveryReport:
        post(Client(), status="delivered")
        return DeliveryReport(DeliveryStatus.UNDELIVERED)

    monkeypatch.setattr(reporting.ReportingBackend, "report", answer_late)
    page(browser)
    assert Challenge.objects.get().delivery == "delivered"


def test_reports_that_fail__are_logged_without_their_words(waiting, browser, caplog):
    reporting.answers[:] = [KeyError("to +37255500067")]
    page(browser)
    assert "report_failed" in caplog.text
    assert "+37255500067" not in caplog.text
    reporting.answers[:] = [DeliveryReport("unheard of")]  # type: ignore[arg-type]
    ask_again()
    page(browser)
    assert Challenge.objects.get().delivery == ""


def test_refresh__sends_nothing_and_changes_nothing_that_decides(waiting, browser):
    before = {name: getattr(waiting, name) for name in ("tries", "outcome", "expires_at", "resend_at", "sent_at")}
    reporting.answers[:] = [DeliveryReport(DeliveryStatus.UNDELIVERED)]
    page(browser)
    waiting.refresh_from_db()
    assert waiting.delivery == "undelivered"
    assert {name: getattr(waiting, name) for name in before} == before
    assert browser.post(VERIFY, {"pin": sent_pin()}).status_code == 302
    assert backends.default.reports_delivery
