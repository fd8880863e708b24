"""Ways round the second step that were found by trying; each stays shut."""

from __future__ import annotations

from http import HTTPStatus

import pytest
from asgiref.sync import async_to_sync
from django.contrib.auth import SESSION_KEY
from django.core.cache import cache
from django.db import connection
from django.test import AsyncClient, Client
from django.utils import timezone
from django.views.debug import ExceptionReporter

from django_verigator.backends import backends, locmem
from django_verigator.exceptions import ConnectionFailedError, InvalidDataError, NoSuchResourceError
from django_verigator.flows import recovery
from django_verigator.models import Challenge, PhoneChange, VerigatorUser, new_trust_version
from django_verigator.testing import login_verified
from tests.site.models import User

from .conftest import PASSWORD, PHONE, WRONG_PIN, give_password, sent_pin

pytestmark = pytest.mark.usefixtures("pins")
PIN_PAGE = "/accounts/verify/"
ENROL = "/accounts/enrol/"
EVIL = "+37255500066"


def raising(error):
    def fail(*args, **kwargs):
        raise error

    return fail


@pytest.mark.threat("J01")
@pytest.mark.parametrize("required", ["enrolled", "staff", "none"])
@pytest.mark.parametrize("confirmed", [True, False])
def test_enrolment_that_was_begun__replaces_no_phone_that_came_meanwhile(carol, browser, settings, required, confirmed):
    settings.VERIGATOR = {**settings.VERIGATOR, "REQUIRED": required}
    carol.set_unusable_password()
    carol.save()
    browser.force_login(carol)
    browser.post(ENROL, {"phone": EVIL})
    carol.phone_number = PHONE
    carol.save()
    if confirmed:
        VerigatorUser.objects.filter(user=carol).update(confirmed_at=timezone.now())
    Challenge.objects.update(resend_at=None)
    browser.post("/accounts/verify/resend/")
    browser.post(PIN_PAGE, {"pin": sent_pin()})
    assert VerigatorUser.objects.get(user=carol).phone_number == PHONE


@pytest.mark.threat("R12")
@pytest.mark.parametrize("status", [400, 422])
def test_refusal_of_a_record_that_was_lost__does_not_switch_the_second_step_off(alice, browser, monkeypatch, status):
    locmem.reset()
    with monkeypatch.context() as patch:
        patch.setattr(backends.default, "register", raising(InvalidDataError(status=status)))
        for _ in range(3):
            assert give_password(browser)["Location"] == PIN_PAGE
    browser.post("/accounts/verify/resend/")
    assert browser.post(PIN_PAGE, {"pin": sent_pin()})["Location"] == "/private/"


def test_400_of_a_first_registration__is_tried_again(db, browser, monkeypatch, django_capture_on_commit_callbacks):
    with monkeypatch.context() as patch:
        patch.setattr(backends.default, "register", raising(InvalidDataError(status=400)))
        with django_capture_on_commit_callbacks(execute=True):
            User.objects.create_user("bob", password=PASSWORD, phone_number=PHONE)
    assert VerigatorUser.objects.get().state == "pending"
    assert give_password(browser, "bob")["Location"] == PIN_PAGE


@pytest.mark.threat("E13")
def test_strangers__cannot_use_up_the_texts_of_a_number_that_is_somebody_s(alice, settings, db):
    settings.VERIGATOR = {**settings.VERIGATOR, "REQUIRED": "all"}
    VerigatorUser.objects.filter(user=alice).update(confirmed_at=timezone.now())
    for number in range(6):
        User.objects.create_user(f"u{number}", password=PASSWORD)
        stranger = Client()
        give_password(stranger, f"u{number}")
        stranger.post(ENROL, {"phone": PHONE})
    assert len(locmem.outbox) == 2
    client = Client()
    give_password(client)
    assert client.post(PIN_PAGE, {"pin": sent_pin()})["Location"] == "/private/"


def test_PHONE_that_raises__keeps_the_door_shut(db, browser, settings):
    settings.VERIGATOR = {**settings.VERIGATOR, "PHONE": lambda user: 1 / 0}
    User.objects.create_user("bob", password=PASSWORD)
    give_password(browser, "bob")
    assert browser.get(PIN_PAGE)["Location"] == ENROL
    assert SESSION_KEY not in browser.session
    settings.VERIGATOR = {**settings.VERIGATOR, "PHONE": "phone_number"}
    give_password(browser, "bob")
    assert SESSION_KEY in browser.session


@pytest.mark.parametrize("rule", [lambda user: None, lambda user: "no", lambda user: 0])
def test_REQUIRED_that_answers_neither_true_nor_false__means_everybody(carol, browser, settings, rule):
    settings.VERIGATOR = {**settings.VERIGATOR, "REQUIRED": rule}
    give_password(browser, "carol")
    assert SESSION_KEY not in browser.session


@pytest.mark.threat("A08")
@pytest.mark.parametrize("middleware", ["RemoteUserMiddleware", "PersistentRemoteUserMiddleware"])
def test_remote_user_on_each_request__reaches_the_pin_page(alice, browser, settings, middleware):
    chain = list(settings.MIDDLEWARE)
    ours = chain.index("django_verigator.middleware.VerigatorMiddleware")
    chain.insert(ours, f"django.contrib.auth.middleware.{middleware}")
    settings.MIDDLEWARE = chain
    settings.AUTHENTICATION_BACKENDS = ["django.contrib.auth.backends.RemoteUserBackend"]
    assert browser.get("/private/", REMOTE_USER="alice")["Location"] == PIN_PAGE
    assert "Send me a PIN" in browser.get(PIN_PAGE, REMOTE_USER="alice").content.decode()
    browser.post("/accounts/verify/resend/", REMOTE_USER="alice")
    page = browser.post(PIN_PAGE, {"pin": WRONG_PIN}, REMOTE_USER="alice")
    assert "The PIN is not right" in page.content.decode()
    assert browser.post(PIN_PAGE, {"pin": sent_pin()}, REMOTE_USER="alice")["Location"] == "/private/"
    assert browser.get("/private/", REMOTE_USER="alice").status_code == HTTPStatus.OK


def test_auser_of_a_login_behind_ours__is_nobody_once_the_trust_has_ended(aalice, settings):
    settings.MIDDLEWARE = [*settings.MIDDLEWARE, "tests.site.middleware.LogAliceIn"]
    client = AsyncClient()
    login_verified(client, aalice)
    VerigatorUser.objects.update(trust_version=new_trust_version())
    cache.clear()
    assert async_to_sync(client.get)("/averified/").status_code == HTTPStatus.FOUND
    assert SESSION_KEY not in client.session


def test_second_login_in_one_request__is_looked_at_although_the_first_was_caught(alice, db, browser):
    bob = User.objects.create_user("bob", password=PASSWORD, phone_number="+37255500011")
    browser.force_login(bob)
    assert browser.get("/whoami-then-login/alice/")["Location"] == PIN_PAGE
    assert SESSION_KEY not in browser.session


@pytest.mark.threat("F06")
@pytest.mark.parametrize("url", ["/accounts/verify/", "/accounts/verify/recovery/"])
def test_report_of_an_unexpected_error__shows_no_secret(alice, browser, monkeypatch, url):
    give_password(browser)
    code = recovery.renew(alice)[0]
    monkeypatch.setattr(backends.default, "check", raising(RuntimeError("boom")))
    monkeypatch.setattr(recovery, "consume", raising(RuntimeError("boom")))
    browser.raise_request_exception = False
    response = browser.post(url, {"pin": "4711471147114711", "code": code})
    assert response.status_code == HTTPStatus.INTERNAL_SERVER_ERROR
    reporter = ExceptionReporter(response.wsgi_request, *response.exc_info)
    for report in (reporter.get_traceback_text(), reporter.get_traceback_html()):
        for secret in (
            "4711471147114711",
            code,
            recovery.normalise(code),
            PHONE,
            browser.cookies["verigator_token_sessionid"].value,
        ):
            assert secret not in report


def test_recovery_code__works_after_the_provider_has_ended_the_pin(alice, browser, monkeypatch):
    code = recovery.renew(alice)[0]
    give_password(browser)
    monkeypatch.setattr(backends.default, "check", raising(NoSuchResourceError(status=404)))
    browser.post(PIN_PAGE, {"pin": WRONG_PIN})
    assert browser.post("/accounts/verify/recovery/", {"code": code})["Location"] == "/private/"


def test_naive_times__work(alice, browser, settings):
    settings.USE_TZ = False
    give_password(browser)
    page = browser.post("/accounts/verify/resend/").content.decode()
    assert "Try again in" in page
    assert browser.post(PIN_PAGE, {"pin": sent_pin()})["Location"] == "/private/"


@pytest.fixture
def narrow_column(transactional_db):
    """A database that takes no character beyond the first 65,536, as many older ones on MariaDB are."""
    column = "ALTER TABLE django_verigator_challenge MODIFY next_url longtext CHARACTER SET %s NOT NULL"
    if connection.vendor != "mysql":
        yield
        return
    with connection.cursor() as cursor:
        cursor.execute(column % "utf8mb3")
    yield
    with connection.cursor() as cursor:
        cursor.execute(column % "utf8mb4")


@pytest.mark.fault("X15")
def test_next__with_any_character_is_kept_by_any_database(narrow_column, alice, browser):
    give_password(browser)
    give_password(browser, next="/\N{GRINNING FACE}/?q=%C3%A4%20b&ä")
    assert Challenge.objects.latest("created_at").next_url == "/%F0%9F%98%80/?q=%C3%A4%20b&%C3%A4"
    response = browser.post("/accounts/verify/", {"pin": sent_pin()})
    assert response["Location"] == "/%F0%9F%98%80/?q=%C3%A4%20b&%C3%A4"


@pytest.mark.threat("I03")
@pytest.mark.parametrize("next_url", ["/a%00b", "/a\x00b", "/a%0d%0ab"])
def test_next_with_control_characters__is_dropped(alice, browser, next_url):
    give_password(browser, next=next_url)
    browser.force_login(alice)
    assert browser.get(next_url).status_code in (HTTPStatus.FOUND, HTTPStatus.NOT_FOUND)


def test_rotated_key__is_no_new_password_and_ends_no_pending_login(alice, browser, settings):
    give_password(browser)
    VerigatorUser.objects.update(consecutive_failures=10, failures_auth_hash=alice.get_session_auth_hash())
    settings.SECRET_KEY_FALLBACKS = [settings.SECRET_KEY]
    settings.SECRET_KEY = "another"
    assert browser.get(PIN_PAGE).status_code == HTTPStatus.OK
    give_password(Client())
    assert VerigatorUser.objects.get().consecutive_failures == 10


def test_PHONE_that_begins_to_fail__shuts_the_door_of_a_user_without_a_phone(carol, settings):
    for phone, let_in in (("phone_number", True), (lambda user: 1 / 0, False), ("phone_number", True)):
        settings.VERIGATOR = {**settings.VERIGATOR, "PHONE": phone}
        client = Client()
        give_password(client, "carol")
        assert (SESSION_KEY in client.session) is let_in


def test_address_with_a_zone__is_stored_without_it(alice):
    give_password(Client(REMOTE_ADDR="fe80::1%eth0"))
    assert Challenge.objects.get().ip == "fe80::1"


@pytest.mark.threat("D05")
def test_resend_that_failed__revives_nothing_beside_a_newer_login(alice, browser, monkeypatch):
    give_password(browser)
    Challenge.objects.update(resend_at=None)
    other = Client()
    real = backends.default.start

    def fail(*args, **kwargs):
        monkeypatch.setattr(backends.default, "start", real)
        give_password(other)
        raise ConnectionFailedError(sent=False)

    monkeypatch.setattr(backends.default, "start", fail)
    browser.post("/accounts/verify/resend/")
    assert Challenge.objects.filter(superseded_at=None, consumed_at=None).count() == 1
    browser.post(PIN_PAGE, {"pin": sent_pin()})
    assert SESSION_KEY not in browser.session
    assert other.post(PIN_PAGE, {"pin": sent_pin()})["Location"] == "/private/"


@pytest.mark.threat("G05")
def test_cancel__ends_a_login_whose_pin_had_expired_too(alice, browser, monkeypatch):
    give_password(browser)
    with monkeypatch.context() as patch:
        patch.setattr(backends.default, "check", raising(NoSuchResourceError(status=404)))
        browser.post(PIN_PAGE, {"pin": WRONG_PIN})
    thief = Client()
    thief.cookies["verigator_token_sessionid"] = browser.cookies["verigator_token_sessionid"].value
    browser.post("/accounts/verify/cancel/")
    assert thief.post("/accounts/verify/resend/")["Location"] == "/accounts/login/"


@pytest.mark.threat("I02")
def test_planted_cookie__does_not_take_the_number_of_a_user_who_is_logged_in(carol, browser, settings, db):
    settings.VERIGATOR = {**settings.VERIGATOR, "REQUIRED": lambda user: user.username == "evil"}
    User.objects.create_user("evil", password=PASSWORD)
    evil = Client()
    give_password(evil, "evil")
    browser.force_login(carol)
    browser.cookies["verigator_token_sessionid"] = evil.cookies["verigator_token_sessionid"].value
    page = browser.post(ENROL, {"phone": PHONE})
    assert 'name="password"' in page.content.decode(), "carol's own form, which asks for her password"
    assert not PhoneChange.objects.exists()


@pytest.mark.threat("A18")
@pytest.mark.parametrize("url", [PIN_PAGE, "/accounts/verify/resend/", ENROL, "/accounts/verify/cancel/"])
def test_put__changes_nothing(alice, browser, url):
    give_password(browser)
    Challenge.objects.update(resend_at=None)
    for method in (browser.put, browser.patch, browser.delete):
        assert method(url).status_code in (HTTPStatus.METHOD_NOT_ALLOWED, HTTPStatus.FOUND)
    assert len(locmem.outbox) == 1
    assert Challenge.objects.get().consumed_at is None


@pytest.mark.threat("G05")
def test_logout_of_an_older_session__is_a_logout(alice, browser):
    browser.force_login(alice)
    response = browser.post("/plain/logout/")
    assert response.get("Location") != PIN_PAGE
    assert not Challenge.objects.exists()


@pytest.mark.threat("G07")
def test_pending_login_of_an_old_password__spends_no_tries(alice, browser):
    give_password(browser)
    alice.set_password("another one")
    alice.save()
    browser.post(PIN_PAGE, {"pin": WRONG_PIN})
    assert Challenge.objects.get().tries == 0
    assert VerigatorUser.objects.get().consecutive_failures == 0


def test_password_in_a_session_left_open__can_be_guessed_a_few_times_only(carol, browser, monkeypatch):
    browser.force_login(carol)
    asked = []
    real = User.check_password
    monkeypatch.setattr(User, "check_password", lambda self, raw: asked.append(raw) or real(self, raw))
    for number in range(15):
        browser.post(ENROL, {"phone": EVIL, "password": f"guess {number}"})
    assert len(asked) == 10
    assert "Too many wrong passwords" in browser.post(ENROL, {"phone": EVIL, "password": PASSWORD}).content.decode()


def test_username_that_is_no_text__is_masked():
    from django_verigator.messages import mask_name

    assert [mask_name(name) for name in (12345, None, "alice", "al")] == ["1•••5", "•••", "a•••e", "•••"]


def stop(user) -> None:
    VerigatorUser.objects.update(consecutive_failures=10, failures_auth_hash=user.get_session_auth_hash())


def is_stopped() -> bool:
    give_password(Client())
    return VerigatorUser.objects.get().consecutive_failures == 10


NEWER_HASHER = "django.contrib.auth.hashers.ScryptPasswordHasher"


@pytest.mark.fault("P08")
def test_stop__does_not_end_with_the_same_password_stored_anew(alice, settings):
    stop(alice)
    stored = alice.password
    settings.PASSWORD_HASHERS = [NEWER_HASHER, *settings.PASSWORD_HASHERS]
    assert is_stopped()
    alice.refresh_from_db()
    assert alice.password != stored, "the newer hasher has stored it"
    assert is_stopped()


@pytest.mark.fault("P08")
@pytest.mark.parametrize("fields", [None, ["password"]])
def test_stop__ends_with_a_new_password_and_not_with_the_old_one_set_again(alice, fields):
    stop(alice)
    alice.set_password(PASSWORD)
    alice.save(update_fields=fields)
    assert is_stopped()
    alice.set_password("another one")
    alice.save(update_fields=fields)
    alice.set_password(PASSWORD)
    alice.save(update_fields=fields)
    assert not is_stopped()


@pytest.mark.fault("P08")
def test_save_of_a_user__costs_no_statement_more_but_where_a_password_is_set(alice, django_assert_num_queries):
    with django_assert_num_queries(1):
        alice.save(update_fields=["last_login"])
    alice.set_password("another one")
    with django_assert_num_queries(4):  # and is there a stop, in a savepoint
        alice.save(update_fields=["password"])
