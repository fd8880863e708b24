"""A provider that is down, slow or lying, over real HTTP: nobody gets in, nothing is a 500, nothing is lost."""

from __future__ import annotations

import contextlib
import json
import socket
from http import HTTPStatus

import pytest
from django.contrib.auth import SESSION_KEY
from django.core.management import call_command
from django.db import connection, connections
from django.test import Client
from django.utils.decorators import method_decorator
from django.views.decorators.cache import never_cache
from django.views.decorators.csrf import csrf_protect
from django.views.generic import View

from django_verigator import views
from django_verigator.backends import backends
from django_verigator.client import Api, before_request
from django_verigator.models import Challenge, Counter, VerigatorUser
from django_verigator.sandbox import Sandbox
from tests.deadlines import in_time
from tests.site.models import User

from .conftest import PASSWORD, PHONE, WRONG_PIN, give_password

PIN_PAGE = "/accounts/verify/"
RESEND = "/accounts/verify/resend/"
TOTAL = 0.8  # seconds, where a time-out is what must come
SLOW = {"hang", "latency", "drip"}

DOWN = [
    {"fault": "reset"},
    {"fault": "close"},
    {"fault": "hang"},
    {"fault": "latency", "seconds": 2},
    {"fault": "drip", "seconds": 0.1},
    *({"fault": "status", "status": status} for status in
      (400, 401, 403, 404, 405, 409, 418, 422, 429, 500, 502, 503, 504)),
    {"fault": "status", "status": 429, "retry_after": "315360000"},
    {"fault": "status", "status": 503, "retry_after": "abc"},
]  # fmt: skip

TRUE = '{"method": "sms", "verified": true}'
LIES = [
    *({"fault": "body", "body": json.dumps({"method": "sms", "verified": value})} for value in
      ("false", "true", 1, [False], [True], {}, None)),
    {"fault": "body", "body": '{"method": "sms"}'},
    {"fault": "body", "body": '{"verified": true, "verified": false}'},
    {"fault": "body", "body": '{"verified": false, "verified": true}'},
    {"fault": "body", "body": TRUE, "status": 201},
    {"fault": "body", "body": TRUE, "status": 202},
    {"fault": "body", "body": TRUE, "status": 206},
    {"fault": "body", "body": "", "status": 204},
    {"fault": "body", "body": ""},
    {"fault": "body", "body": "true"},
    {"fault": "body", "body": "[true]"},
    {"fault": "body", "body": "<h1>verified</h1>", "content_type": "text/html"},
    {"fault": "body", "body": TRUE[:-4]},
    {"fault": "body", "body": TRUE, "status": 302, "headers": {"Location": "/elsewhere"}},
    *({"fault": "status", "status": status, "body": TRUE} for status in (301, 307, 308, 400, 401, 404, 500)),
    {"fault": "body", "body": '{"verified": true, "status": {"throttled": true}}'},
    {"fault": "body", "body": '{"verified": true, "status": {"expired": true}}'},
    {"fault": "body", "body": '{"verified": true, "method": "totp"}'},
    {"fault": "body", "body": "[" * 20_000},
    {"fault": "body", "size": 300_000},
    {"fault": "body", "size": 300_000, "gzip": True},
]  # fmt: skip


def name(fault):
    return "-".join(str(value)[:24] for value in fault.values())


@pytest.fixture
def sandbox():
    with Sandbox(username="api", password="secret") as sandbox:
        yield sandbox


@pytest.fixture
def alice(sandbox, settings, transactional_db):
    """Registered at the sandbox; no test here may have a transaction open during a call."""
    service = Api("api", "secret", sandbox.url).services.create("example.com", "Example")
    options = {
        "username": "api",
        "password": "secret",
        "endpoint": sandbox.url,
        "service_id": service.id,
    }
    backend = "django_verigator.backends.verigator.VerigatorBackend"
    settings.VERIGATOR = {**settings.VERIGATOR, "BACKENDS": {"default": {"BACKEND": backend, "OPTIONS": options}}}
    open_transactions = []

    def witness(method: str, path: str) -> None:
        open_transactions.append(connection.in_atomic_block)

    before_request.append(witness)
    yield User.objects.create_user("alice", password=PASSWORD, phone_number=PHONE)
    before_request.remove(witness)
    assert not any(open_transactions)


@contextlib.contextmanager
def bounded(settings, fault, **options):
    """The block ends in time. Only a slow fault is met with short time-outs: on a busy machine they would cut an honest
    answer short, too."""
    before = settings.VERIGATOR
    if fault["fault"] in SLOW:
        options |= {"connect_timeout": 0.4, "read_timeout": 0.5, "total_timeout": TOTAL}
    entry = before["BACKENDS"]["default"]
    use = {**entry, "OPTIONS": {**entry["OPTIONS"], **options}}
    settings.VERIGATOR = {**before, "BACKENDS": {"default": use}}
    with in_time(backends.default.total_timeout):
        yield
    settings.VERIGATOR = before


def log_in(client: Client, sandbox: Sandbox) -> None:
    """Sign in with whatever the provider sends now."""
    Challenge.objects.update(resend_at=None)
    if client.get(PIN_PAGE).status_code == HTTPStatus.FOUND:
        give_password(client)
    Challenge.objects.update(resend_at=None)
    assert client.post(RESEND)["Location"] == PIN_PAGE
    assert client.post(PIN_PAGE, {"pin": sandbox.last_pin(PHONE)})["Location"] == "/private/"


@pytest.mark.threat("R01", "R03", "R04", "R05", "R09", "R10")
@pytest.mark.parametrize("fault", DOWN, ids=name)
def test_start_that_fails__says_so_and_goes_on_afterwards(alice, browser, sandbox, settings, fault):
    sandbox.add_fault(**fault, operation="auth.start")
    with bounded(settings, fault):
        assert give_password(browser)["Location"] == PIN_PAGE
    page = browser.get(PIN_PAGE)
    assert page.status_code == HTTPStatus.OK
    text = page.content.decode()
    assert "We cannot send or check PINs" in text or "may be on its way" in text
    assert SESSION_KEY not in browser.session
    # Never sent twice by itself; a record that is gone is made again once.
    assert len(sandbox.calls(operation="auth.start")) <= (2 if fault.get("status") == 404 else 1)
    sandbox.clear_faults()
    log_in(browser, sandbox)


@pytest.mark.threat("R07")
@pytest.mark.parametrize("fault", DOWN, ids=name)
def test_check_that_fails__lets_nobody_in_and_is_not_repeated(alice, browser, sandbox, settings, fault):
    give_password(browser)
    sandbox.add_fault(**fault, operation="auth.verify")
    with bounded(settings, fault):
        page = browser.post(PIN_PAGE, {"pin": sandbox.last_pin(PHONE)})
    assert page.status_code == HTTPStatus.OK
    assert SESSION_KEY not in browser.session
    assert len(sandbox.calls(operation="auth.verify")) == 1
    sandbox.clear_faults()
    log_in(browser, sandbox)


@pytest.mark.threat("M01", "M02", "M03", "M04", "M06", "M10")
@pytest.mark.parametrize("fault", LIES, ids=name)
def test_lie_about_a_pin__is_no_proof(alice, browser, sandbox, settings, fault):
    give_password(browser)
    sandbox.add_fault(**fault, operation="auth.verify")
    with bounded(settings, fault):
        page = browser.post(PIN_PAGE, {"pin": WRONG_PIN})
    assert page.status_code == HTTPStatus.OK
    assert SESSION_KEY not in browser.session


@pytest.mark.threat("M01", "M02", "M03", "M04", "M06")
@pytest.mark.parametrize("fault", LIES, ids=name)
def test_strange_answer_to_a_start__is_never_a_500(alice, browser, sandbox, settings, fault):
    sandbox.add_fault(**fault, operation="auth.start")
    with bounded(settings, fault):
        assert give_password(browser)["Location"] == PIN_PAGE
    assert browser.get(PIN_PAGE).status_code == HTTPStatus.OK
    assert SESSION_KEY not in browser.session


@pytest.mark.parametrize("fault", [*DOWN, *LIES[-2:]], ids=name)
def test_registration_that_fails__loses_nothing(alice, sandbox, settings, fault):
    sandbox.add_fault(**fault, operation="users.create")
    with bounded(settings, fault):
        bob = User.objects.create_user("bob", password=PASSWORD, phone_number="+37255500011")
    sandbox.clear_faults()
    link = VerigatorUser.objects.get(user=bob)
    if fault.get("status") == 422:
        assert link.state == "failed"
        return
    call_command("verigator_sync", verbosity=0)
    link.refresh_from_db()
    assert link.state == "registered"


@pytest.mark.threat("R06", "R13", "R18")
@pytest.mark.parametrize("operation", ["auth.start", "auth.verify", "users.create"])
@pytest.mark.parametrize("kind", ["reset", "close", "status"])
def test_lost_reply__converges(alice, browser, sandbox, operation, kind):
    extra = {"status": 502} if kind == "status" else {}
    if operation == "users.create":
        sandbox.add_fault(kind, operation=operation, when="after", times=1, **extra)
        User.objects.create_user("bob", password=PASSWORD, phone_number="+37255500011")
        call_command("verigator_sync", verbosity=0)
        options = alice.verigator and VerigatorUser.objects.exclude(verigator_id=None).count()
        assert options == 2
        assert len(sandbox.calls(operation="users.create")) == 2, "adopted, not made again"
        return
    if operation == "auth.verify":
        give_password(browser)
        sandbox.add_fault(kind, operation=operation, when="after", times=1, **extra)
        browser.post(PIN_PAGE, {"pin": sandbox.last_pin(PHONE)})
        assert SESSION_KEY not in browser.session
        log_in(browser, sandbox)
        return
    sandbox.add_fault(kind, operation=operation, when="after", times=1, **extra)
    give_password(browser)
    assert "may be on its way" in browser.get(PIN_PAGE).content.decode()
    assert len(sandbox.calls(operation="auth.start")) == 1
    assert browser.post(PIN_PAGE, {"pin": sandbox.last_pin(PHONE)})["Location"] == "/private/"


@pytest.mark.threat("R01")
def test_provider_that_is_gone__is_said_so(alice, browser, sandbox):
    sandbox.stop()
    with in_time(1):
        assert give_password(browser)["Location"] == PIN_PAGE
    assert "We cannot send or check PINs" in browser.get(PIN_PAGE).content.decode()
    with in_time(1):
        assert "We cannot send or check PINs" in browser.post(RESEND).content.decode()
    assert SESSION_KEY not in browser.session


@pytest.mark.threat("R02")
def test_name_that_is_not_resolved__is_said_so_and_counts_no_send(alice, browser, sandbox, monkeypatch):
    def fail(*args, **kwargs):
        raise socket.gaierror("no such name")

    backends.default.api.close()  # the connection that registering has left open
    monkeypatch.setattr(socket, "getaddrinfo", fail)
    sandbox.clear_calls()
    assert give_password(browser)["Location"] == PIN_PAGE
    assert "We cannot send or check PINs" in browser.get(PIN_PAGE).content.decode()
    assert SESSION_KEY not in browser.session
    assert sandbox.calls() == []
    assert not Counter.objects.filter(scope__startswith="sends/", count__gt=0).exists()


@pytest.mark.threat("R03")
def test_connecting_hangs__is_cut_and_counts_no_send(alice, browser, sandbox, settings):
    with socket.create_server(("127.0.0.1", 0), backlog=0) as full, contextlib.ExitStack() as stack:
        for _ in range(8):  # fills the queue: from then on nobody answers a SYN
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(full.getsockname())
        endpoint = f"http://127.0.0.1:{full.getsockname()[1]}"
        with bounded(settings, {"fault": "hang"}, endpoint=endpoint):
            assert give_password(browser)["Location"] == PIN_PAGE
    assert "We cannot send or check PINs" in browser.get(PIN_PAGE).content.decode()
    assert SESSION_KEY not in browser.session
    assert not Counter.objects.filter(scope__startswith="sends/", count__gt=0).exists()


@pytest.mark.threat("R24")
def test_atomic_requests__leave_no_transaction_open_in_a_call(alice, browser, sandbox, monkeypatch):
    monkeypatch.setitem(connection.settings_dict, "ATOMIC_REQUESTS", True)
    give_password(browser)
    log_in(browser, sandbox)


@pytest.mark.threat("R12")
def test_user_that_vanished__is_made_again_under_a_fresh_id(alice, browser, sandbox):
    before = VerigatorUser.objects.get()
    service = sandbox.calls(operation="users.create")[0]["service_id"]
    Api("api", "secret", sandbox.url).users.delete(service, before.verigator_id)
    give_password(browser)
    after = VerigatorUser.objects.get()
    assert after.verigator_id != before.verigator_id
    assert after.id_in_service != before.id_in_service
    assert browser.post(PIN_PAGE, {"pin": sandbox.last_pin(PHONE)})["Location"] == "/private/"


def test_app__is_used_where_it_is_attached_and_its_code_is_no_send(alice, browser, sandbox, settings):
    settings.VERIGATOR = {**settings.VERIGATOR, "METHOD": "totp"}
    sandbox.attach_device(PHONE)
    give_password(browser)
    assert "Open the Verigator app" in browser.get(PIN_PAGE).content.decode()
    assert sandbox.messages(PHONE) == []
    assert browser.post(PIN_PAGE, {"pin": sandbox.code(PHONE)})["Location"] == "/private/"
    # D09: the code of one window opens nothing twice.
    other = Client()
    give_password(other)
    other.post(PIN_PAGE, {"pin": sandbox.code(PHONE)})
    assert SESSION_KEY not in other.session


@pytest.mark.threat("R24")
def test_atomic_requests__are_off_for_every_database(monkeypatch):
    monkeypatch.setattr(views, "connections", ["default", "other"])

    @method_decorator([never_cache, views._non_atomic, csrf_protect], name="dispatch")
    class Page(View):
        pass

    assert Page.as_view()._non_atomic_requests == {"default", "other"}
    for page in (views.LoginView, views.VerifyView, views.EnrolView, views.PhoneView):
        assert page.as_view()._non_atomic_requests == set(connections)
