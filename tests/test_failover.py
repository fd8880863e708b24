"""One provider fails, the next sends: once, within one deadline, and never where the text may be out already."""

from __future__ import annotations

import time
from http import HTTPStatus

import pytest
from django.contrib.auth import SESSION_KEY
from django.test import Client

from django_verigator.backends import Circuit, backends, locmem
from django_verigator.exceptions import (
    ConnectionFailedError,
    InternalError,
    InvalidDataError,
    InvalidResponseError,
    NoSuchResourceError,
    RequestTimeoutError,
    ResourceForbiddenError,
    ThrottledError,
    WrongCredentialsError,
)
from django_verigator.models import Challenge, Counter, PhoneChange, VerigatorUser
from tests.site.models import User

from .conftest import PASSWORD, PHONE, give_password, sent_pin

PIN_PAGE, RESEND = "/accounts/verify/", "/accounts/verify/resend/"
LOCMEM = "django_verigator.backends.locmem.LocMemBackend"
FIRST, SECOND = {"BACKEND": LOCMEM}, {"BACKEND": LOCMEM, "OPTIONS": {"keeps_users": False}}
BOTH = {"first": FIRST, "second": SECOND}

UNSENT = [
    ConnectionFailedError(sent=False),
    RequestTimeoutError(sent=False),
    ThrottledError(status=429),
    ThrottledError(status=429, retry_after=60),
    InternalError(status=503),
    WrongCredentialsError(status=401),
    ResourceForbiddenError(status=403),
    NoSuchResourceError(status=404),
]
PERHAPS_SENT = [
    ConnectionFailedError(),
    RequestTimeoutError(),
    InternalError(status=500),
    InternalError(status=502),
    InternalError(status=504),
    InvalidResponseError(status=200),
    InvalidResponseError(status=302),
]


def name(error):
    return f"{error.reason}-{error.status or error.sent}"


@pytest.fixture
def use(settings):
    def use(backends=BOTH, **more):
        settings.VERIGATOR = {**settings.VERIGATOR, "BACKENDS": backends, **more}

    use()
    return use


@pytest.fixture
def alice(use, alice):
    return alice


def page(client) -> str:
    return client.get(PIN_PAGE).content.decode()


def sends() -> set[int]:
    return {row.count for row in Counter.objects.filter(scope__startswith="sends/")}


def in_with(client, pin: str) -> bool:
    return client.post(PIN_PAGE, {"pin": pin}).get("Location") == "/private/" and SESSION_KEY in client.session


@pytest.mark.threat("R01", "R03", "R10", "R11")
@pytest.mark.parametrize("error", UNSENT, ids=name)
def test_first_cannot_send__the_next_does(alice, browser, error):
    locmem.fail_next(error, alias="first", times=None)
    assert give_password(browser)["Location"] == PIN_PAGE
    assert f"number ending in <b>{PHONE[-2:]}</b>" in page(browser)
    challenge = Challenge.objects.get()
    assert (challenge.backend, challenge.outcome, challenge.verigator_id) == ("second", "sent", "")
    assert len(locmem.outbox) == 1
    assert sends() == {1}, "one send, however many were asked"
    assert in_with(browser, sent_pin())
    assert VerigatorUser.objects.get().confirmed_at is not None


@pytest.mark.threat("R06", "R09")
@pytest.mark.parametrize("error", PERHAPS_SENT, ids=name)
def test_text_may_be_out__nothing_is_sent_by_itself_and_the_user_may_ask_the_next(alice, browser, error):
    locmem.fail_next(error, alias="first", after=True)
    give_password(browser)
    assert [message.user_id != "" for message in locmem.outbox] == [True]
    text = page(browser)
    assert "may be on its way" in text
    assert "Send it another way" in text
    assert Challenge.objects.get().backend == "first"
    # The button heeds the pause, as every other send does.
    assert "A PIN was sent a moment ago" in browser.post(RESEND, {"way": "other"}).content.decode()
    Challenge.objects.update(resend_at=None)
    assert browser.post(RESEND, {"way": "other"})["Location"] == PIN_PAGE
    assert Challenge.objects.latest("step").backend == "second"
    assert sends() == {2}
    assert not in_with(browser, locmem.outbox[0].pin), "the new one has replaced it"
    assert in_with(browser, sent_pin())


@pytest.mark.threat("R06")
def test_text_that_came_all_the_same__is_good(alice, browser):
    locmem.fail_next(alias="first", after=True)
    give_password(browser)
    assert in_with(browser, sent_pin())


@pytest.mark.threat("R06")
def test_answer_lost_where_a_pin_is_found_by_it_alone__asks_for_no_pin(alice, browser, use):
    use({"second": SECOND, "first": FIRST})
    locmem.fail_next(alias="second", after=True)
    give_password(browser)
    text = page(browser)
    assert "We could not find out whether a PIN was sent. Ask for a new one." in text
    assert 'name="pin"' not in text
    assert "Send it another way" in text
    assert not in_with(browser, sent_pin())
    assert Challenge.objects.get().tries == 0
    Challenge.objects.update(resend_at=None)
    browser.post(RESEND)
    assert in_with(browser, sent_pin())


def test_another_way__goes_round_and_comes_back(alice, browser):
    give_password(browser)
    used = [Challenge.objects.latest("step").backend]
    for _ in range(3):
        Challenge.objects.update(resend_at=None)
        browser.post(RESEND, {"way": "other"})
        used.append(Challenge.objects.latest("step").backend)
    assert used == ["first", "second", "first", "second"]
    Challenge.objects.update(resend_at=None)
    browser.post(RESEND)
    assert Challenge.objects.latest("step").backend == "first", "a plain resend begins with the first"


def test_another_way__is_not_offered_where_there_is_none(alice, browser, use):
    use({"first": FIRST})
    give_password(browser)
    assert "Send it another way" not in page(browser)
    Challenge.objects.update(resend_at=None)
    assert browser.post(RESEND, {"way": "other"})["Location"] == PIN_PAGE  # a form from before: the only way there is


@pytest.mark.threat("R15")
@pytest.mark.parametrize("status", [400, 422])
def test_number_that_is_refused__is_not_offered_to_the_next(alice, browser, status):
    locmem.fail_next(InvalidDataError(status=status), alias="first")
    give_password(browser)
    assert locmem.outbox == []
    assert Challenge.objects.get().outcome == "unavailable"


@pytest.mark.threat("R20")
def test_killed_in_the_second_call__leaves_a_row_that_names_the_second(alice, browser, monkeypatch):
    locmem.fail_next(alias="first")

    def die(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr(backends["second"], "start", die)
    with pytest.raises(KeyboardInterrupt):
        give_password(browser)
    challenge = Challenge.objects.get()
    assert (challenge.backend, challenge.outcome) == ("second", "sending")
    assert sends() == {1}


@pytest.mark.threat("R05")
def test_one_deadline_for_all(alice, browser, monkeypatch):
    left = []
    real = {alias: backends[alias].start for alias in BOTH}

    def slow(recipient, method, *, timeout):
        left.append(timeout)
        time.sleep(0.2)
        raise RequestTimeoutError(sent=False)

    def second(recipient, method, *, timeout):
        left.append(timeout)
        return real["second"](recipient, method, timeout=timeout)

    monkeypatch.setattr(backends["first"], "start", slow)
    monkeypatch.setattr(backends["second"], "start", second)
    give_password(browser)
    first, then = left
    assert first <= backends["first"].total_timeout
    assert then <= first - 0.2
    assert in_with(browser, sent_pin())


@pytest.mark.threat("R05")
def test_deadline_that_is_used_up__leaves_the_next_alone(alice, browser, monkeypatch):
    def slow(recipient, method, *, timeout):
        time.sleep(0.15)
        raise RequestTimeoutError(sent=False)

    monkeypatch.setattr(backends["first"], "total_timeout", 0.1)
    monkeypatch.setattr(backends["first"], "start", slow)
    give_password(browser)
    assert locmem.outbox == []
    assert "We cannot send or check PINs" in page(browser)
    assert sends() == {0}


@pytest.mark.threat("R01")
@pytest.mark.parametrize("error", UNSENT, ids=name)
def test_nothing_can_send__says_so_and_lets_nobody_in(alice, browser, error):
    locmem.fail_next(error, times=None)
    assert give_password(browser)["Location"] == PIN_PAGE
    text = page(browser)
    assert "We cannot send or check PINs" in text
    assert "A recovery code works also now" in text
    assert SESSION_KEY not in browser.session
    # What a provider has seen and refused stays counted; what none has seen is given back.
    assert sends() == {1 if error.sent else 0}
    assert "A recovery code works also now" in browser.post(RESEND).content.decode()
    Challenge.objects.update(resend_at=None)
    locmem.reset()
    assert browser.post(RESEND)["Location"] == PIN_PAGE
    assert in_with(browser, sent_pin())


def test_code_from_before__stays_good_where_nothing_can_send(alice, browser):
    give_password(browser)
    Challenge.objects.update(resend_at=None)
    locmem.fail_next(times=None)
    assert "We cannot send" in browser.post(RESEND).content.decode()
    assert Challenge.objects.count() == 1
    assert in_with(browser, sent_pin())


def test_new_user__is_sent_a_code_though_the_first_provider_takes_no_record(use, browser, transactional_db):
    locmem.fail_next(operation="register", times=None)
    User.objects.create_user("alice", password=PASSWORD, phone_number=PHONE)
    give_password(browser)
    assert Challenge.objects.get().backend == "second"
    assert in_with(browser, sent_pin())
    link = VerigatorUser.objects.get()
    assert (link.state, link.confirmed_at is not None, link.leased_until) == ("pending", True, None)
    locmem.reset()
    other = Client()
    give_password(other)
    assert VerigatorUser.objects.get().state == "registered"
    assert in_with(other, sent_pin())


@pytest.mark.threat("R15")
def test_number_refused_at_registration__is_no_outage(use, browser, transactional_db):
    locmem.fail_next(InvalidDataError(status=422), operation="register", times=None)
    User.objects.create_user("alice", password=PASSWORD, phone_number=PHONE)
    assert VerigatorUser.objects.get().state == "failed"
    give_password(browser)
    assert locmem.outbox == []


ONE_WAY = [
    pytest.param({"second": SECOND}, None, id="without user records"),
    pytest.param(BOTH, ConnectionFailedError(sent=False), id="first is down"),
]


@pytest.mark.parametrize(("configured", "error"), ONE_WAY)
@pytest.mark.parametrize("operation", ["start", "register"])
def test_first_phone__is_enrolled_through_a_provider_without_user_records(
    carol, browser, use, configured, error, operation
):
    use(configured, REQUIRED="all")
    if error is not None:
        locmem.fail_next(error, operation=operation, alias="first", times=None)
    give_password(browser, "carol")
    assert browser.post("/accounts/enrol/", {"phone": PHONE})["Location"] == PIN_PAGE
    assert locmem.outbox[-1].to == PHONE
    assert in_with(browser, sent_pin())
    link = VerigatorUser.objects.get()
    assert link.phone_number == PHONE
    assert link.confirmed_at is not None
    assert not PhoneChange.objects.exists()


@pytest.mark.parametrize(("configured", "error"), ONE_WAY)
def test_new_phone__is_confirmed_through_a_provider_without_user_records(alice, browser, use, configured, error):
    use(configured)
    if error is not None:
        locmem.fail_next(error, alias="first", times=None)
    give_password(browser)
    assert in_with(browser, sent_pin())
    new, old_record = "+37255500099", VerigatorUser.objects.get().verigator_id
    page = browser.post("/accounts/security/phone/", {"phone": new, "password": PASSWORD})
    assert page.status_code == HTTPStatus.FOUND
    assert locmem.outbox[-1].to == new
    browser.post("/accounts/security/phone/confirm/", {"pin": sent_pin()})
    link = VerigatorUser.objects.get()
    assert link.phone_number == new
    # The record made for the old number never stands for the new one.
    assert link.verigator_id is None or link.verigator_id != old_record


@pytest.mark.threat("J02")
def test_code_for_a_number_that_was_replaced__proves_nothing(alice, browser, use):
    use({"second": SECOND})
    give_password(browser)
    pin = sent_pin()
    VerigatorUser.objects.update(phone_number="+37255500099")  # the site's number has changed, nobody confirmed any
    assert not in_with(browser, pin)
    assert VerigatorUser.objects.get().confirmed_at is None


def test_switch__is_one_setting_and_logins_under_way_finish(alice, browser, use):
    use({"first": FIRST})
    give_password(browser)
    pin = sent_pin()
    use({"second": SECOND, "first": FIRST})
    other = Client()
    give_password(other)
    assert [c.backend for c in Challenge.objects.order_by("created_at")] == ["first", "second"]
    assert in_with(other, sent_pin())
    Challenge.objects.update(superseded_at=None)
    assert in_with(browser, pin)


def test_switch__old_alias_dropped__asks_for_a_new_pin(alice, browser, use):
    use({"first": FIRST})
    give_password(browser)
    use({"second": SECOND})
    text = browser.post(PIN_PAGE, {"pin": sent_pin()}).content.decode()
    assert "This PIN is too old. Ask for a new one." in text
    Challenge.objects.update(resend_at=None)
    assert browser.post(RESEND)["Location"] == PIN_PAGE
    assert in_with(browser, sent_pin())


BROKEN = {"BACKEND": LOCMEM, "OPTIONS": {"no_such": "option"}}


@pytest.mark.parametrize("configured", [{"second": SECOND, "broken": BROKEN}, {"broken": BROKEN, "second": SECOND}])
def test_entry_that_cannot_be_built__stops_nobody(alice, browser, use, caplog, configured):
    use(configured)
    give_password(browser)
    assert page(browser)
    assert in_with(browser, sent_pin())
    assert 'VERIGATOR["BACKENDS"]["broken"]' in caplog.text


def test_alias_that_is_broken_since__asks_for_a_new_pin(alice, browser, use):
    use({"first": FIRST})
    give_password(browser)
    use({"second": SECOND, "first": BROKEN})
    assert "This PIN is too old" in browser.post(PIN_PAGE, {"pin": sent_pin()}).content.decode()


@pytest.mark.threat("E09")
def test_app_alone__nothing_is_sent_by_a_provider_that_knows_only_text_messages(alice, browser, use):
    use(METHOD="totp", WAYS=["totp"])
    locmem.fail_next(alias="first", times=None)
    give_password(browser)
    assert locmem.outbox == []
    use({"second": SECOND}, METHOD="totp", WAYS=["totp"])
    give_password(browser)
    assert locmem.outbox == []
    assert "Signing in needs the Verigator app" in browser.post(RESEND).content.decode()


def test_page__says_why_a_text_came_in_place_of_the_app(alice, browser, use):
    use(METHOD="totp")
    locmem.fail_next(alias="first")
    give_password(browser)
    assert "The Verigator app cannot be asked at the moment, so we sent a PIN by SMS" in page(browser)


def test_open_circuit__is_passed_by_without_a_call(alice, browser, monkeypatch):
    for _ in range(4):
        Circuit("first").record_failure(ConnectionFailedError(sent=False))

    def never(*args, **kwargs):
        raise AssertionError("asked")

    monkeypatch.setattr(backends["first"], "start", never)
    monkeypatch.setattr(backends["first"], "register", never)
    give_password(browser)
    assert Challenge.objects.get().backend == "second"
    assert in_with(browser, sent_pin())
