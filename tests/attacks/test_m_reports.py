"""M12. Delivery reports that lie. They decide no login, and cost no work without a bound.

Each is posted to a site whose provider's own code believes everything (tests/reporting.py), and to one with
Omnichannel: there the sandbox was given the address, and each lie is made of the report that it would have posted.
"""

from __future__ import annotations

import copy
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

from django_verigator.client.deliveries import MAX_POSTED
from django_verigator.flows import reports
from django_verigator.models import Challenge, Counter, VerigatorUser
from django_verigator.sandbox import Sandbox
from django_verigator.sandbox.callbacks import CallbackSender
from tests import reporting
from tests.conftest import PASSWORD, PHONE, give_password, sent_pin

pytestmark = pytest.mark.threat("M12")
PROVIDERS = ("credulous", "omnichannel")
for_the_credulous = pytest.mark.asks_provider("Omnichannel's backend refuses such a report itself")


def for_omnichannel(test):
    reason = pytest.mark.asks_provider("the words are Messente's; another provider has others")
    return reason(pytest.mark.parametrize("provider", ["omnichannel"], indirect=True)(test))


OMNICHANNEL = "django_verigator.backends.omnichannel.OmnichannelBackend"
ACCOUNT = {"username": "api", "password": "secret"}
VERIFY = "/accounts/verify/"
OK, BAD, UNKNOWN = HTTPStatus.OK, HTTPStatus.BAD_REQUEST, HTTPStatus.NOT_FOUND
DELIVERY = {"delivery", "delivery_channel", "delivery_error", "price", "report_asked_at"}


class Credulous:
    """A provider in memory, whose code takes what it is told."""

    times = 10_000
    message, other_message = "message-1", "message-2"

    def __init__(self, settings):
        self.settings = settings
        reporting.reset()
        self.configure("default")

    def configure(self, *aliases):
        reporting.configure(self.settings, *aliases)

    @property
    def path(self):
        """Where it may post what became of the newest message."""
        return reporting.path()

    @property
    def pin(self):
        return sent_pin()

    def body(self, message="", status="delivered", **more):
        return json.dumps({"id": message or self.message, "status": status, "error": status, **more})

    def error_of(self, status):
        return status


class Omnichannel:
    """The backend of this package, and the sandbox: ``posted`` has what that would have posted, and where."""

    times = 1_000  # ten thousand take their time, and are no other
    other_message = "11111111-2222-4333-8444-555555555555"
    statuses = {"sent": ("ACK", None), "undelivered": ("UNDELIV", 1), "delivered": ("DELIVRD", 0), "seen": ("SEEN", 0)}

    def __init__(self, settings, sandbox, posted):
        self.settings, self.sandbox, self.posted = settings, sandbox, posted
        self.configure("default")

    def configure(self, *aliases):
        options = {**ACCOUNT, "endpoint": self.sandbox.url, "report_base": reporting.SITE}
        entries = {alias: {"BACKEND": OMNICHANNEL, "OPTIONS": options} for alias in aliases}
        self.settings.VERIGATOR = {**self.settings.VERIGATOR, "BACKENDS": entries}

    @property
    def path(self):
        url, _ = self.posted[-1]
        assert url.startswith(reporting.SITE)
        return url.removeprefix(reporting.SITE)

    @property
    def message(self):
        return self.posted[-1][1]["omnimessage_id"]

    @property
    def pin(self):
        return self.sandbox.last_pin(PHONE)

    def body(self, message="", status="delivered", price=None, **more):
        """The report that the sandbox would have posted, with the lie in it."""
        said = copy.deepcopy(self.posted[-1][1])
        said["omnimessage_id"] = message or self.message
        said["status"], said["err"] = self.statuses.get(str(status), (status, 0))
        if price is not None:
            said["price_info"]["total_price"] = price
        return json.dumps({**said, **more})

    def error_of(self, status):
        return "UNDELIV 1" if status == "undelivered" else ""


@pytest.fixture(scope="module")
def sandbox():
    """A sandbox, and what it would have posted: the address and the report of each message."""
    posted = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(CallbackSender, "post", lambda self, url, data: posted.append((url, data)))
        with Sandbox(**ACCOUNT) as sandbox:
            yield sandbox, posted


@pytest.fixture
def provider(request, settings):
    if getattr(request, "param", "") != "omnichannel":
        return Credulous(settings)
    sandbox, posted = request.getfixturevalue("sandbox")
    posted.clear()
    return Omnichannel(settings, sandbox, posted)


@pytest.fixture(autouse=True)
def site(provider):
    """No site of the other attacks' kind: the provider is one that reports."""


@pytest.fixture
def post(provider):
    """``post(client)`` reports that the message was delivered, or what it is told."""

    def post(client, to="", **said):
        return client.post(to or provider.path, provider.body(**said), content_type="application/json")

    return post


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
def test_a_forged_address_is_unknown_and_asks_no_database(waiting, forged, post):
    before = rows()
    to = address(FORGED[forged](waiting))
    with CaptureQueriesContext(connection) as queries:
        assert post(Client(), to).status_code == UNKNOWN
    assert len(queries) == 0
    assert rows() == before
    assert Challenge.objects.get().delivery == ""


def test_ten_thousand_forged_reports_ask_no_database(waiting, settings, caplog, post, provider):
    caplog.set_level(logging.ERROR, "django.request")  # one "Not Found" each, as for any page that is not there
    settings.DATABASES["default"]["ATOMIC_REQUESTS"] = connection.settings_dict["ATOMIC_REQUESTS"] = True
    client, to = Client(), address(token_of(waiting, key="another secret"))
    try:
        with CaptureQueriesContext(connection) as queries:
            assert {post(client, to).status_code for _ in range(provider.times)} == {UNKNOWN}
    finally:
        connection.settings_dict["ATOMIC_REQUESTS"] = False
    assert len(queries) == 0


def test_ten_thousand_replays_are_one_read_each(waiting, rf, caplog, post, provider):
    """No write, no new row, no line in the log."""
    post(Client(), price="0.04")
    # The view alone: what the site's middleware costs is another matter.
    view, _, kwargs = resolve(provider.path)
    body = provider.body(price="0.04")
    before, statements = rows(), Counts()

    def count(execute, sql, *args):
        statements[sql.split()[0]] += 1
        return execute(sql, *args)

    with caplog.at_level(logging.DEBUG, "django_verigator"):
        caplog.clear()
        with connection.execute_wrapper(count):
            for _ in range(provider.times):
                request = rf.post(provider.path, body, content_type="application/json")
                assert view(request, **kwargs).status_code == OK
        assert caplog.records == []
    assert statements == {"SELECT": provider.times}
    assert rows() == before


def test_a_report_is_for_the_one_code_of_its_address(waiting, alice, post, provider):
    provider.configure("default", "other")
    other = Challenge.objects.create(
        user=alice, backend="other", message_id=provider.other_message, nonce_digest="n", trust_version="t"
    )
    # The message of another code, by its id or by its address; another provider's address.
    assert post(Client(), message=provider.other_message).status_code == UNKNOWN
    assert post(Client(), address(token_of(other)), message=provider.other_message).status_code == UNKNOWN
    assert post(Client(), address(token_of(waiting, "other"))).status_code == UNKNOWN
    assert post(Client(), address(token_of(waiting, "gone"))).status_code == UNKNOWN
    assert set(Challenge.objects.values_list("delivery", flat=True)) == {""}


def test_an_address_counts_no_more_where_the_provider_reports_nothing(waiting, settings, post):
    settings.VERIGATOR = {
        **settings.VERIGATOR,
        "BACKENDS": {"default": {"BACKEND": "django_verigator.backends.locmem.LocMemBackend"}},
    }
    assert post(Client()).status_code == UNKNOWN


def test_an_address_outlives_a_change_of_the_secret_key(waiting, settings, post):
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
def test_a_late_report_is_kept_and_changes_nothing_else(waiting, browser, late, post, provider):
    Challenge.objects.update(**LATE[late]())
    before = rows()
    assert post(Client()).status_code == OK
    assert rows() == before
    assert Challenge.objects.get().delivery == "delivered"
    pin = provider.pin
    assert browser.post(VERIFY, {"pin": pin}).get("Location") != "/private/"


def test_a_report_of_a_code_that_was_erased_is_unknown(waiting, alice, post):
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


@for_the_credulous
@pytest.mark.parametrize("body", BODIES)
def test_a_body_that_is_no_report_is_refused(waiting, body, provider):
    before = rows()
    response = Client().post(provider.path, BODIES[body], content_type="application/json")
    assert response.status_code == BAD
    assert response.content == b""
    assert rows() == before
    assert Challenge.objects.get().delivery == ""


NOT_MESSENTE_S = {
    "a word that is no status": {"status": "VERIFIED"},
    "a status in small letters": {"status": "delivrd"},
    "a status of another type": {"status": {"DELIVRD": True}},
    "an unknown channel": {"channel": "\r\nforged line \x1b[31m"},
    "an error in words": {"err": "107"},
    "an error that is too large": {"err": 10**30},
    "a price in words": {"price_info": {"total_price": "much"}},
    "a price below nothing": {"price_info": {"total_price": "-1"}},
    "a price with an exponent": {"price_info": {"total_price": "1e30"}},
    "a price of another type": {"price_info": ["0.04"]},
    "no id": {"omnimessage_id": None},
    "an id that is a path": {"omnimessage_id": "../.."},
    "too long": {"pad": "x" * MAX_POSTED},
}


@for_omnichannel
@pytest.mark.parametrize("said", NOT_MESSENTE_S)
def test_a_body_that_messente_posts_never_is_refused(waiting, said, post, provider):
    before = rows()
    response = post(Client(), **NOT_MESSENTE_S[said])
    assert (response.status_code, response.content) == (BAD, b"")
    assert rows() == before
    assert Challenge.objects.get().delivery == ""
    assert post(Client()).status_code == OK, "the control: the same report, as it was"


@for_omnichannel
@pytest.mark.parametrize("price", ["999999.999999999999", "99999", "0.000000000001"])
def test_a_price_of_messente_s_that_no_column_takes_is_left_out(waiting, price, post, provider):
    assert post(Client(), price=price).status_code == OK
    challenge = Challenge.objects.get()
    assert challenge.delivery == "delivered"
    assert challenge.price is None or 0 <= challenge.price < 1


@for_the_credulous
@pytest.mark.parametrize(
    "price", ["NaN", "sNaN", "Infinity", "-1", "1e30", "99999.999999", "1e-400", "0.123456789", 7, 0.5]
)
def test_a_price_that_no_column_takes_is_left_out(waiting, price, post):
    assert post(Client(), price=price).status_code == OK
    challenge = Challenge.objects.get()
    assert challenge.delivery == "delivered"
    assert challenge.price is None or 0 <= challenge.price < 100


@for_the_credulous
@pytest.mark.parametrize("text", ["x" * 5_000, "a\0b", "\ud800", "\r\nforged line \x1b[31m", 7, None, {"a": 1}])
def test_words_of_a_report_fit_their_columns_and_forge_no_line(waiting, text, caplog, post):
    with caplog.at_level(logging.DEBUG):
        assert post(Client(), status="undelivered", channel=text, error=text).status_code == OK
    challenge = Challenge.objects.get()
    assert (len(challenge.delivery_channel) <= 12, len(challenge.delivery_error) <= 32) == (True, True)
    assert challenge.delivery_error.isprintable()
    assert all(record.getMessage().isprintable() for record in caplog.records)


def test_a_body_is_read_so_far_and_no_further(waiting, provider):
    body = provider.body(pad="x" * reports.MAX_BODY)
    response = Client().post(provider.path, body, content_type="application/json")
    assert response.status_code == HTTPStatus.REQUEST_ENTITY_TOO_LARGE
    assert Challenge.objects.get().delivery == ""


def test_a_body_that_breaks_off_is_refused(waiting, monkeypatch, post):
    def break_off(*args):
        raise UnreadablePostError("gone")

    monkeypatch.setattr("django.http.request.HttpRequest.read", break_off)
    assert post(Client()).status_code == BAD


@pytest.mark.parametrize("method", ["get", "head", "put", "patch", "delete", "options"])
def test_only_a_post_is_a_report(waiting, method, provider):
    response = getattr(Client(), method)(provider.path)
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
def test_a_report_that_says_less_replaces_none(waiting, said, kept, post, provider):
    for status in said:
        assert post(Client(), status=status).status_code == OK
    challenge = Challenge.objects.get()
    assert (challenge.delivery, challenge.delivery_error) == (kept, provider.error_of(kept))


@pytest.mark.parametrize("status", ["sent", "undelivered", "delivered", "seen"])
def test_no_report_decides_a_login(waiting, browser, status, post, provider):
    """No outcome, try, limit, pause or expiry, and no cookie; the PIN alone lets her in."""
    before = rows()
    client = Client()
    client.cookies = browser.cookies
    response = post(client, status=status, verified=True, pin=provider.pin, price="0.04")
    assert response.status_code == OK
    assert not response.cookies
    assert rows() == before
    assert browser.get("/private/").status_code == HTTPStatus.FOUND
    wrong = "0000"
    assert browser.post(VERIFY, {"pin": wrong}).status_code == OK
    assert browser.post(VERIFY, {"pin": provider.pin})["Location"] == "/private/"


def test_an_address_is_in_no_page_no_row_and_no_line_of_ours(waiting, browser, caplog, post, provider):
    token = provider.path.rstrip("/").rpartition("/")[2]
    with caplog.at_level(logging.DEBUG, "django_verigator"):
        post(Client(), status="undelivered")
        page = browser.get(VERIFY).content.decode()
    assert token not in page
    assert token not in caplog.text
    assert token not in str(list(Challenge.objects.values()))
