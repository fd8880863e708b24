"""M12. Delivery reports that lie. They decide no login, and cost no work without a bound."""

from __future__ import annotations

import json
import logging
from collections import Counter as Counts
from datetime import timedelta
from http import HTTPStatus

import pytest
from django.core import signing
from django.db import connection
from django.http import UnreadablePostError
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import resolve
from django.utils import timezone

from django_verigator.flows import reports
from django_verigator.models import Challenge, Counter, VerigatorUser
from tests import reporting
from tests.conftest import PASSWORD, PHONE, give_password, sent_pin
from tests.reporting import post

pytestmark = pytest.mark.threat("M12")
VERIFY = "/accounts/verify/"
OK, BAD, UNKNOWN = HTTPStatus.OK, HTTPStatus.BAD_REQUEST, HTTPStatus.NOT_FOUND
DELIVERY = {"delivery", "delivery_channel", "delivery_error", "price", "report_asked_at"}


@pytest.fixture(autouse=True)
def site(settings):
    """No sandbox: the provider is in memory."""
    reporting.reset()
    reporting.configure(settings)


@pytest.fixture
def alice(db, django_user_model):
    return django_user_model.objects.create_user("alice", password=PASSWORD, phone_number=PHONE)


@pytest.fixture
def waiting(alice, browser):
    give_password(browser)
    return Challenge.objects.get()


def rows():
    """All that decides: every column of every row, but for what a report may write."""
    challenges = Challenge.objects.order_by("pk").values()
    kept = [{name: value for name, value in row.items() if name not in DELIVERY} for row in challenges]
    return [kept, list(VerigatorUser.objects.values()), list(Counter.objects.order_by("pk").values())]


def address(token):
    return f"/accounts/verify/report/{token}/"


def token_of(challenge, alias="default", **options):
    signer = signing.TimestampSigner(**{"salt": "django_verigator.report", **options})
    return signer.sign_object([challenge.pk.hex, alias])


FORGED = {
    "nonsense": lambda challenge: "x",
    "no signature": lambda challenge: token_of(challenge).rpartition(":")[0],
    "cut": lambda challenge: token_of(challenge)[:-1],
    "one more": lambda challenge: token_of(challenge) + "A",
    "another site's": lambda challenge: token_of(challenge, key="another secret"),
    "another purpose's": lambda challenge: token_of(challenge, salt="django_verigator.pending"),
    "any of this site's": lambda challenge: token_of(challenge, salt="django.core.signing.TimestampSigner"),
    "unsigned words": lambda challenge: f"{challenge.pk}:default",
    "very long": lambda challenge: "A" * 60_000,
    "NUL": lambda challenge: "%00:%00",
}


@pytest.mark.parametrize("forged", FORGED)
def test_a_forged_address_is_unknown_and_asks_no_database(waiting, forged):
    before = rows()
    to = address(FORGED[forged](waiting))
    with CaptureQueriesContext(connection) as queries:
        assert post(Client(), to).status_code == UNKNOWN
    assert len(queries) == 0
    assert rows() == before
    assert Challenge.objects.get().delivery == ""


def test_ten_thousand_forged_reports_ask_no_database(waiting, settings, caplog):
    caplog.set_level(logging.ERROR, "django.request")  # one "Not Found" each, as for any page that is not there
    settings.DATABASES["default"]["ATOMIC_REQUESTS"] = connection.settings_dict["ATOMIC_REQUESTS"] = True
    client, to = Client(), address(token_of(waiting, key="another secret"))
    try:
        with CaptureQueriesContext(connection) as queries:
            assert {post(client, to).status_code for _ in range(10_000)} == {UNKNOWN}
    finally:
        connection.settings_dict["ATOMIC_REQUESTS"] = False
    assert len(queries) == 0


def test_ten_thousand_replays_are_one_read_each(waiting, rf, caplog):
    """No write, no new row, no line in the log."""
    post(Client(), price="0.04")
    # The view alone: what the site's middleware costs is another matter.
    view, _, kwargs = resolve(reporting.path())
    body = json.dumps({"id": "message-1", "status": "delivered", "price": "0.04"})
    before, statements = rows(), Counts()

    def count(execute, sql, *args):
        statements[sql.split()[0]] += 1
        return execute(sql, *args)

    with caplog.at_level(logging.DEBUG, "django_verigator"):
        caplog.clear()
        with connection.execute_wrapper(count):
            for _ in range(10_000):
                request = rf.post(reporting.path(), body, content_type="application/json")
                assert view(request, **kwargs).status_code == OK
        assert caplog.records == []
    assert statements == {"SELECT": 10_000}
    assert rows() == before


def test_a_report_is_for_the_one_code_of_its_address(waiting, alice, settings):
    reporting.configure(settings, "default", "other")
    other = Challenge.objects.create(
        user=alice, backend="other", message_id="message-2", nonce_digest="n", trust_version="t"
    )
    # The message of another code, by its id or by its address; another provider's address.
    assert post(Client(), message="message-2").status_code == UNKNOWN
    assert post(Client(), address(token_of(other)), message="message-2").status_code == UNKNOWN
    assert post(Client(), address(token_of(waiting, "other"))).status_code == UNKNOWN
    assert post(Client(), address(token_of(waiting, "gone"))).status_code == UNKNOWN
    assert set(Challenge.objects.values_list("delivery", flat=True)) == {""}


def test_an_address_counts_no_more_where_the_provider_reports_nothing(waiting, settings):
    settings.VERIGATOR = {
        **settings.VERIGATOR,
        "BACKENDS": {"default": {"BACKEND": "django_verigator.backends.locmem.LocMemBackend"}},
    }
    assert post(Client()).status_code == UNKNOWN


def test_an_address_outlives_a_change_of_the_secret_key(waiting, settings):
    settings.SECRET_KEY_FALLBACKS, settings.SECRET_KEY = [settings.SECRET_KEY], "new"
    assert post(Client()).status_code == OK
    settings.SECRET_KEY_FALLBACKS = []
    assert post(Client(), status="seen").status_code == UNKNOWN


LATE = {
    "verified": lambda: {"consumed_at": timezone.now(), "outcome": "verified"},
    "superseded": lambda: {"superseded_at": timezone.now()},
    "expired": lambda: {"expires_at": timezone.now() - timedelta(days=3)},
}


@pytest.mark.parametrize("late", LATE)
def test_a_late_report_is_kept_and_changes_nothing_else(waiting, browser, late):
    Challenge.objects.update(**LATE[late]())
    before = rows()
    assert post(Client()).status_code == OK
    assert rows() == before
    assert Challenge.objects.get().delivery == "delivered"
    pin = sent_pin()
    assert browser.post(VERIFY, {"pin": pin}).get("Location") != "/private/"


def test_a_report_of_a_code_that_was_erased_is_unknown(waiting, alice):
    alice.delete()
    assert post(Client()).status_code == UNKNOWN
    assert Challenge.objects.count() == 0


BODIES = {
    "nothing": b"",
    "no JSON": b"id=message-1&status=delivered",
    "no text": b"\xff\xfe\x00",
    "a list": b'["message-1", "delivered"]',
    "null": b"null",
    "no id": b'{"status": "delivered"}',
    "no status": b'{"id": "message-1"}',
    "an unknown status": b'{"id": "message-1", "status": "verified"}',
    "a status of another type": b'{"id": "message-1", "status": {"delivered": true}}',
    "deep": b"[" * 8000 + b"]" * 8000,
    "a price in words": b'{"id": "message-1", "status": "delivered", "price": "much"}',
    "a price of another type": b'{"id": "message-1", "status": "delivered", "price": [1]}',
    "a lone surrogate": b'{"id": "message-1", "status": "\\ud800"}',
}


@pytest.mark.parametrize("body", BODIES)
def test_a_body_that_is_no_report_is_refused(waiting, body):
    before = rows()
    response = Client().post(reporting.path(), BODIES[body], content_type="application/json")
    assert response.status_code == BAD
    assert response.content == b""
    assert rows() == before
    assert Challenge.objects.get().delivery == ""


@pytest.mark.parametrize(
    "price", ["NaN", "sNaN", "Infinity", "-1", "1e30", "99999.999999", "1e-400", "0.123456789", 7, 0.5]
)
def test_a_price_that_no_column_takes_is_left_out(waiting, price):
    assert post(Client(), price=price).status_code == OK
    challenge = Challenge.objects.get()
    assert challenge.delivery == "delivered"
    assert challenge.price is None or 0 <= challenge.price < 100


@pytest.mark.parametrize("text", ["x" * 5_000, "a\0b", "\ud800", "\r\nforged line \x1b[31m", 7, None, {"a": 1}])
def test_words_of_a_report_fit_their_columns_and_forge_no_line(waiting, text, caplog):
    with caplog.at_level(logging.DEBUG):
        assert post(Client(), status="undelivered", channel=text, error=text).status_code == OK
    challenge = Challenge.objects.get()
    assert (len(challenge.delivery_channel) <= 12, len(challenge.delivery_error) <= 32) == (True, True)
    assert challenge.delivery_error.isprintable()
    assert all(record.getMessage().isprintable() for record in caplog.records)


def test_a_body_is_read_so_far_and_no_further(waiting):
    body = json.dumps({"id": "message-1", "status": "delivered", "pad": "x" * reports.MAX_BODY})
    response = Client().post(reporting.path(), body, content_type="application/json")
    assert response.status_code == HTTPStatus.REQUEST_ENTITY_TOO_LARGE
    assert Challenge.objects.get().delivery == ""


def test_a_body_that_breaks_off_is_refused(waiting, monkeypatch):
    def break_off(*args):
        raise UnreadablePostError("gone")

    monkeypatch.setattr("django.http.request.HttpRequest.read", break_off)
    assert post(Client()).status_code == BAD


@pytest.mark.parametrize("method", ["get", "head", "put", "patch", "delete", "options"])
def test_only_a_post_is_a_report(waiting, method):
    response = getattr(Client(), method)(reporting.path())
    assert response.status_code == HTTPStatus.METHOD_NOT_ALLOWED
    assert Challenge.objects.get().delivery == ""


@pytest.mark.parametrize(
    ("said", "kept"),
    [
        (["delivered", "undelivered", "sent"], "delivered"),
        (["undelivered", "delivered", "sent", "undelivered"], "delivered"),
        (["undelivered", "sent"], "undelivered"),
        (["seen", "delivered", "undelivered", "sent"], "seen"),
        (["sent", "sent", "seen"], "seen"),
    ],
)
def test_a_report_that_says_less_replaces_none(waiting, said, kept):
    for status in said:
        assert post(Client(), status=status, error=status).status_code == OK
    challenge = Challenge.objects.get()
    assert (challenge.delivery, challenge.delivery_error) == (kept, kept)


@pytest.mark.parametrize("status", ["sent", "undelivered", "delivered", "seen"])
def test_no_report_decides_a_login(waiting, browser, status):
    """No outcome, try, limit, pause or expiry, and no cookie; the PIN alone lets her in."""
    before = rows()
    client = Client()
    client.cookies = browser.cookies
    response = post(client, status=status, verified=True, pin=sent_pin(), price="0.04")
    assert response.status_code == OK
    assert not response.cookies
    assert rows() == before
    assert browser.get("/private/").status_code == HTTPStatus.FOUND
    wrong = "0000"
    assert browser.post(VERIFY, {"pin": wrong}).status_code == OK
    assert browser.post(VERIFY, {"pin": sent_pin()})["Location"] == "/private/"


def test_an_address_is_in_no_page_no_row_and_no_line_of_ours(waiting, browser, caplog):
    token = reporting.path().rstrip("/").rpartition("/")[2]
    with caplog.at_level(logging.DEBUG, "django_verigator"):
        post(Client(), status="undelivered")
        page = browser.get(VERIFY).content.decode()
    assert token not in page
    assert token not in caplog.text
    assert token not in str(list(Challenge.objects.values()))
