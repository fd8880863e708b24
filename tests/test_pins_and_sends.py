"""Tries, sends, time, and what a page says about them."""

from __future__ import annotations

import re
from datetime import timedelta
from http import HTTPStatus

import pytest
from django.contrib.auth import SESSION_KEY
from django.test import Client
from django.utils import timezone

from django_verigator import signals
from django_verigator.backends import Checked, Started, backends, locmem
from django_verigator.exceptions import (
    ConnectionFailedError,
    InternalError,
    NoSuchResourceError,
    RequestTimeoutError,
    ThrottledError,
    WrongCredentialsError,
)
from django_verigator.flows import recovery
from django_verigator.forms import PinForm
from django_verigator.models import Challenge, Counter, VerigatorUser
from django_verigator.views import VerifyView

from .conftest import PASSWORD, PHONE, WRONG_PIN, give_password, sent_pin

pytestmark = pytest.mark.usefixtures("pins")
PIN_PAGE = "/accounts/verify/"
RESEND = "/accounts/verify/resend/"


@pytest.fixture
def provider():
    return backends.default


@pytest.fixture
def checks(provider, monkeypatch):
    """Counts the PINs that reach the provider."""
    asked: list[str] = []
    real = provider.check

    def check(recipient, pin, reference, **kwargs):
        asked.append(pin)
        return real(recipient, pin, reference, **kwargs)

    monkeypatch.setattr(provider, "check", check)
    return asked


@pytest.fixture
def limits(settings):
    def use(**limits):
        settings.VERIGATOR = {**settings.VERIGATOR, "LIMITS": limits}

    return use


@pytest.fixture
def heard():
    """Collects what the signals say."""
    events: list[tuple[str, dict]] = []
    connected = []
    for name in ("verified", "verification_failed", "code_sent", "locked", "limit_reached"):

        def receiver(sender, signal, name=name, **kwargs):
            events.append((name, kwargs))

        getattr(signals, name).connect(receiver)
        connected.append((getattr(signals, name), receiver))
    yield events
    for signal, receiver in connected:
        signal.disconnect(receiver)


def raising(error):
    def fail(*args, **kwargs):
        raise error

    return fail


def resend(client: Client, **data: str):
    return client.post(RESEND, data)


def pause_over() -> None:
    Challenge.objects.update(resend_at=timezone.now())


@pytest.mark.threat("C01")
def test_right_pin_after_five_wrong_ones__is_refused_without_a_call(alice, browser, checks):
    give_password(browser)
    for _ in range(5):
        page = browser.post(PIN_PAGE, {"pin": WRONG_PIN})
    assert "Too many tries with this PIN" in page.content.decode()
    page = browser.post(PIN_PAGE, {"pin": sent_pin()})
    assert "Too many tries with this PIN" in page.content.decode()
    assert len(checks) == 5
    assert SESSION_KEY not in browser.session


@pytest.mark.threat("C02", "C03")
def test_user_budget__survives_resends_and_new_logins(alice, browser, checks, heard):
    for round_ in range(4):
        give_password(browser) if round_ % 2 == 0 else (pause_over(), resend(browser))
        for _ in range(3):
            page = browser.post(PIN_PAGE, {"pin": WRONG_PIN})
        browser.post("/accounts/verify/cancel/") if round_ % 2 else None
    assert len(checks) == 10
    assert "Set a new password, or ask our support" in page.content.decode()  # of four digits: ten in a row
    assert [name for name, _ in heard].count("locked") == 1


@pytest.mark.threat("C16")
def test_locked_user__gets_the_same_words_for_a_right_pin_and_a_wrong_one(alice, browser, checks, limits):
    limits(TRIES_PER_USER_HOUR=2)
    give_password(browser)
    for _ in range(2):
        browser.post(PIN_PAGE, {"pin": WRONG_PIN})
    del checks[:]
    wrong = browser.post(PIN_PAGE, {"pin": WRONG_PIN}).content
    right = browser.post(PIN_PAGE, {"pin": sent_pin()}).content
    text = "Too many wrong PINs. Signing in is locked for a while. Try again in"
    assert text in right.decode()
    assert text in wrong.decode()
    assert checks == []


def test_right_pins__use_up_no_tries(alice, limits):
    limits(TRIES_PER_USER_HOUR=2, TRIES_PER_USER_DAY=2, SENDS_PER_PHONE_10_MINUTES=10)
    for _ in range(5):
        client = Client()
        give_password(client)
        assert client.post(PIN_PAGE, {"pin": sent_pin()}).status_code == HTTPStatus.FOUND


def test_lock__ends_with_its_window(alice, browser, limits):
    limits(TRIES_PER_USER_HOUR=1)
    give_password(browser)
    browser.post(PIN_PAGE, {"pin": WRONG_PIN})
    Counter.objects.filter(scope="tries/user/hour").update(expires_at=timezone.now())
    assert browser.post(PIN_PAGE, {"pin": sent_pin()})["Location"] == "/private/"


@pytest.mark.threat("H01", "A15")
@pytest.mark.parametrize(
    "pin",
    ["", "   ", "123", "1" * 17, "12a4", "²345", "+1234", "-1234", "1e55", "12.34", "...", "12\x0034", "①②③④", "true",
     "null", "[]", "1" * 100_000],
)  # fmt: skip
def test_what_is_no_pin__is_refused_without_a_call_or_a_try(alice, browser, checks, pin):
    give_password(browser)
    page = browser.post(PIN_PAGE, {"pin": pin})
    assert page.status_code == HTTPStatus.OK
    assert "vg-error" in page.content.decode()
    assert checks == []
    assert Challenge.objects.get().tries == 0


def test_pin__may_be_typed_with_blanks_and_dashes(alice, browser, checks):
    give_password(browser)
    pin = sent_pin()
    assert browser.post(PIN_PAGE, {"pin": f" {pin[:2]} -{pin[2:]} "})["Location"] == "/private/"
    assert checks == [pin]


@pytest.mark.threat("C09")
def test_list_of_pins__is_one_try(alice, browser, checks):
    give_password(browser)
    browser.post(PIN_PAGE, {"pin": ["1111", "2222", "3333"]})
    assert len(checks) == 1


@pytest.mark.threat("D01")
def test_accepted_pin__is_not_accepted_again_even_if_the_provider_says_yes(alice, browser, provider, monkeypatch):
    monkeypatch.setattr(provider, "check", lambda *args, **kwargs: Checked(True))
    give_password(browser)
    assert browser.post(PIN_PAGE, {"pin": "4711"})["Location"] == "/private/"
    other = Client()
    give_password(other)
    page = other.post(PIN_PAGE, {"pin": "4711"})
    assert SESSION_KEY not in other.session
    assert "used already" in page.content.decode()
    give_password(other)
    VerigatorUser.objects.update(last_pin_at=timezone.now() - timedelta(seconds=601))
    assert other.post(PIN_PAGE, {"pin": "4711"})["Location"] == "/private/"


@pytest.mark.threat("D08")
def test_completed_step__cannot_be_replayed(alice, browser, checks):
    give_password(browser)
    cookies = browser.cookies.output(header="", sep=";")
    pin = sent_pin()
    browser.post(PIN_PAGE, {"pin": pin})
    thief = Client()
    thief.cookies.load(cookies.replace(";", "\n").split("\n")[0])
    for morsel in browser.cookies.values():
        thief.cookies[morsel.key] = morsel.value
    thief.cookies.pop("sessionid", None)
    assert thief.post(PIN_PAGE, {"pin": pin})["Location"] == "/accounts/login/"
    assert len(checks) == 1


@pytest.mark.threat("G02")
def test_copy_of_the_pending_cookie__is_worth_nothing_after_the_login(alice, browser):
    give_password(browser)
    thief = Client()
    thief.cookies["verigator_token_sessionid"] = browser.cookies["verigator_token_sessionid"].value
    assert thief.get(PIN_PAGE).status_code == HTTPStatus.OK
    pause_over()
    resend(browser)
    browser.post(PIN_PAGE, {"pin": sent_pin()})
    assert thief.get(PIN_PAGE)["Location"] == "/accounts/login/"
    assert resend(thief)["Location"] == "/accounts/login/"


@pytest.mark.threat("D05")
def test_second_login__supersedes_the_first_without_a_call(alice, browser, checks):
    give_password(browser)
    other = Client()
    give_password(other)
    page = browser.post(PIN_PAGE, {"pin": sent_pin()})
    assert "A newer PIN was sent" in page.content.decode()
    assert checks == []
    assert other.post(PIN_PAGE, {"pin": sent_pin()})["Location"] == "/private/"


@pytest.mark.threat("D06")
def test_pin_after_its_time__is_refused_without_a_call(alice, browser, checks):
    give_password(browser)
    Challenge.objects.update(expires_at=timezone.now())
    page = browser.post(PIN_PAGE, {"pin": sent_pin()})
    assert "This PIN is too old" in page.content.decode()
    assert checks == []


def test_second_right_password__goes_on_with_the_running_challenge(alice, browser):
    give_password(browser, next="/cart/")
    give_password(browser, next="/verified/")
    assert len(locmem.outbox) == 1
    assert browser.post(PIN_PAGE, {"pin": sent_pin()})["Location"] == "/verified/"


def test_resend__waits_for_its_pause(alice, browser, heard):
    give_password(browser)
    page = resend(browser)
    assert page.status_code == HTTPStatus.OK
    assert "A PIN was sent a moment ago" in page.content.decode()
    assert 'data-wait="' in page.content.decode()
    assert len(locmem.outbox) == 1
    pause_over()
    assert resend(browser)["Location"] == PIN_PAGE
    assert len(locmem.outbox) == 2
    assert browser.post(PIN_PAGE, {"pin": sent_pin()})["Location"] == "/private/"
    assert [name for name, _ in heard] == ["code_sent", "code_sent", "verified"]


@pytest.mark.threat("E07")
def test_get_and_head__send_nothing(alice, browser):
    give_password(browser)
    pause_over()
    for url in (PIN_PAGE, RESEND, "/accounts/verify/cancel/", "/accounts/enrol/"):
        browser.get(url)
        browser.head(url)
        browser.options(url)
    assert len(locmem.outbox) == 1
    assert browser.post(PIN_PAGE, {"pin": sent_pin()})["Location"] == "/private/"


@pytest.mark.threat("E02")
def test_sends__stop_at_the_cap_of_the_phone_whoever_logs_in(alice, heard, browser):
    for _ in range(8):
        give_password(Client())
    assert len(locmem.outbox) == 5
    give_password(browser)
    page = browser.get(PIN_PAGE).content.decode()
    assert "Too many PINs were asked for" in page
    assert "Try again in" in page
    name, event = heard[-1]
    assert (name, event["scope"], event["user"]) == ("limit_reached", "sends/phone/10min", alice)
    assert event["until"] > timezone.now()


@pytest.mark.threat("E03")
def test_users_that_share_a_number__share_its_cap(db, django_user_model, django_capture_on_commit_callbacks):
    for number in range(7):
        with django_capture_on_commit_callbacks(execute=True):
            django_user_model.objects.create_user(
                f"user{number}", password=PASSWORD, phone_number=("+372 5550 0067", "0037255500067", PHONE)[number % 3]
            )
        give_password(Client(), f"user{number}")
    assert len(locmem.outbox) == 5


def test_sends__stop_at_the_cap_of_the_user(alice, browser, limits):
    limits(SENDS_PER_USER_HOUR=3)
    for _ in range(6):
        give_password(Client())
    assert len(locmem.outbox) == 3


@pytest.mark.threat("E08")
def test_wrong_password__sends_nothing(alice, browser):
    for _ in range(3):
        browser.post("/accounts/login/", {"username": "alice", "password": "no"})
    assert locmem.outbox == []
    assert not Challenge.objects.exists()


@pytest.mark.threat("C15")
def test_without_the_password__nobody_uses_up_tries_or_texts(alice, browser, checks):
    for _ in range(20):
        assert browser.post(PIN_PAGE, {"pin": WRONG_PIN, "verify": "alice"})["Location"] == "/accounts/login/"
        assert resend(browser)["Location"] == "/accounts/login/"
    browser.cookies["verigator_token_sessionid"] = "forged:1:x"
    assert browser.post(PIN_PAGE, {"pin": WRONG_PIN})["Location"] == "/accounts/login/"
    assert checks == []
    assert not Counter.objects.exists()


@pytest.mark.threat("I01")
def test_posts_without_a_csrf_token__change_nothing(alice):
    strict = Client(enforce_csrf_checks=True)
    page = strict.get("/accounts/login/")
    token = page.context["csrf_token"]
    data = {"username": "alice", "password": PASSWORD, "csrfmiddlewaretoken": str(token)}
    assert strict.post("/accounts/login/", data).status_code == HTTPStatus.FOUND
    for url in (PIN_PAGE, RESEND, "/accounts/verify/cancel/", "/accounts/enrol/"):
        assert strict.post(url, {"pin": sent_pin()}).status_code == HTTPStatus.FORBIDDEN
    assert len(locmem.outbox) == 1
    assert Challenge.objects.get().tries == 0


def test_cancel__ends_the_login(alice, browser, checks):
    give_password(browser)
    assert browser.post("/accounts/verify/cancel/")["Location"] == "/accounts/login/"
    assert browser.post(PIN_PAGE, {"pin": sent_pin()})["Location"] == "/accounts/login/"
    assert checks == []


@pytest.mark.threat("R01")
@pytest.mark.parametrize(
    "error",
    [
        ConnectionFailedError(sent=False),
        RequestTimeoutError(sent=False),
        InternalError(status=500),
        ThrottledError(status=429, retry_after=60),
        WrongCredentialsError(status=401),
    ],
)
def test_provider_that_cannot_send__is_said_so_and_tried_again(alice, browser, provider, monkeypatch, error):
    with monkeypatch.context() as patch:
        patch.setattr(provider, "start", raising(error))
        assert give_password(browser)["Location"] == PIN_PAGE
        page = browser.get(PIN_PAGE)
    assert page.status_code == HTTPStatus.OK
    assert SESSION_KEY not in browser.session
    text = page.content.decode()
    if error.status == 500:
        assert "may be on its way" in text
        pause_over()
    else:
        assert "We cannot send or check PINs at the moment" in text
        assert "Try again" in text
    if error.retry_after:  # which is kept
        pause_over()
    assert resend(browser)["Location"] == PIN_PAGE
    assert browser.post(PIN_PAGE, {"pin": sent_pin()})["Location"] == "/private/"


def test_start_that_was_never_sent__is_given_back(alice, browser, provider, monkeypatch):
    monkeypatch.setattr(provider, "start", raising(ConnectionFailedError(sent=False)))
    for _ in range(12):
        give_password(Client())
    assert set(Counter.objects.filter(scope__startswith="sends").values_list("count", flat=True)) == {0}


@pytest.mark.threat("R06")
def test_lost_reply_of_a_start__counts_and_its_pin_works(alice, browser, provider, monkeypatch):
    real = provider.start

    def lose_the_reply(*args, **kwargs):
        real(*args, **kwargs)
        raise RequestTimeoutError

    monkeypatch.setattr(provider, "start", lose_the_reply)
    give_password(browser)
    assert "may be on its way" in browser.get(PIN_PAGE).content.decode()
    assert len(locmem.outbox) == 1
    assert set(Counter.objects.filter(scope__startswith="sends").values_list("count", flat=True)) == {1}
    assert browser.post(PIN_PAGE, {"pin": sent_pin()})["Location"] == "/private/"


def test_resend_that_was_never_sent__leaves_the_first_pin_good(alice, browser, provider, monkeypatch):
    give_password(browser)
    pause_over()
    with monkeypatch.context() as patch:
        patch.setattr(provider, "start", raising(ConnectionFailedError(sent=False)))
        page = resend(browser)
    assert "We cannot send or check PINs" in page.content.decode()
    assert browser.post(PIN_PAGE, {"pin": sent_pin()})["Location"] == "/private/"


@pytest.mark.threat("R07")
def test_unknown_verdict__counts_as_a_try_and_not_as_a_failure(alice, browser, provider, monkeypatch):
    give_password(browser)
    with monkeypatch.context() as patch:
        patch.setattr(provider, "check", raising(RequestTimeoutError()))
        page = browser.post(PIN_PAGE, {"pin": sent_pin()})
    assert "could not be checked" in page.content.decode()
    assert Challenge.objects.get().tries == 1
    assert VerigatorUser.objects.get().consecutive_failures == 0
    assert browser.post(PIN_PAGE, {"pin": sent_pin()})["Location"] == "/private/"


def test_check_that_was_never_sent__gives_the_try_back(alice, browser, provider, monkeypatch, settings):
    settings.VERIGATOR = {**settings.VERIGATOR, "LIMITS": {"CIRCUIT_FAILURES": 100}}
    provider = backends.default
    give_password(browser)
    with monkeypatch.context() as patch:
        patch.setattr(provider, "check", raising(ConnectionFailedError(sent=False)))
        for _ in range(12):
            page = browser.post(PIN_PAGE, {"pin": sent_pin()})
    assert "We cannot send or check PINs" in page.content.decode()
    assert Challenge.objects.get().tries == 0
    assert browser.post(PIN_PAGE, {"pin": sent_pin()})["Location"] == "/private/"


@pytest.mark.parametrize(
    ("verdict", "text"),
    [
        (lambda *args, **kwargs: Checked(False, expired=True), "This PIN is too old"),
        (lambda *args, **kwargs: Checked(False, throttled=True), "Too many tries with this PIN"),
        (raising(NoSuchResourceError(status=404)), "This PIN is too old"),
    ],
)
def test_code_the_provider_has_ended__needs_a_new_one_in_the_same_login(
    alice, browser, provider, monkeypatch, verdict, text
):
    give_password(browser)
    with monkeypatch.context() as patch:
        patch.setattr(provider, "check", verdict)
        assert text in browser.post(PIN_PAGE, {"pin": WRONG_PIN}).content.decode()
    assert text in browser.get(PIN_PAGE).content.decode()
    pause_over()
    assert resend(browser)["Location"] == PIN_PAGE
    assert browser.post(PIN_PAGE, {"pin": sent_pin()})["Location"] == "/private/"


@pytest.mark.parametrize("answer", [1, "true", None, [True]])
def test_verdict_that_is_not_true__is_no_proof(alice, browser, provider, monkeypatch, answer):
    monkeypatch.setattr(provider, "check", lambda *args, **kwargs: Checked(answer))
    give_password(browser)
    browser.post(PIN_PAGE, {"pin": WRONG_PIN})
    assert SESSION_KEY not in browser.session


def test_app__is_named_and_left_for_a_text_without_a_pause(alice, browser, provider, monkeypatch, settings):
    settings.VERIGATOR = {**settings.VERIGATOR, "METHOD": "totp"}
    provider = backends.default
    real = provider.start
    monkeypatch.setattr(
        provider,
        "start",
        lambda recipient, method, **kwargs: Started("totp") if method == "totp" else real(recipient, method),
    )
    give_password(browser)
    page = browser.get(PIN_PAGE).content.decode()
    assert "Open the Verigator app" in page
    assert "Send me an SMS instead" in page
    assert set(Counter.objects.filter(scope__startswith="sends").values_list("count", flat=True)) == {0}
    assert resend(browser, method="sms")["Location"] == PIN_PAGE
    assert set(Counter.objects.filter(scope__startswith="sends").values_list("count", flat=True)) == {1}
    assert "ending in <b>67</b>" in browser.get(PIN_PAGE).content.decode()
    assert "A PIN was sent a moment ago" in resend(browser, method="sms").content.decode()
    assert browser.post(PIN_PAGE, {"pin": sent_pin()})["Location"] == "/private/"


@pytest.mark.threat("E09")
def test_fallback_to_sms__is_said_and_counts(alice, browser, settings):
    settings.VERIGATOR = {**settings.VERIGATOR, "METHOD": "totp"}
    give_password(browser)
    assert "not linked to your number, so we sent a PIN by SMS" in browser.get(PIN_PAGE).content.decode()
    assert set(Counter.objects.filter(scope__startswith="sends").values_list("count", flat=True)) == {1}


@pytest.mark.asks_provider("it has the app; with a gateway of texts no code is sent at all")
@pytest.mark.threat("E09")
def test_fallback_where_sms_is_forbidden__kills_the_challenge(alice, browser, settings, checks):
    settings.VERIGATOR = {**settings.VERIGATOR, "METHOD": "totp", "WAYS": ["totp"]}
    give_password(browser)
    assert "needs the Verigator app" in browser.get(PIN_PAGE).content.decode()
    browser.post(PIN_PAGE, {"pin": sent_pin()})
    assert SESSION_KEY not in browser.session
    assert "needs the Verigator app" in resend(browser, method="sms").content.decode()


def test_failure_signal__tells_the_reason_and_no_secret(alice, browser, heard, caplog):
    pin = "271828182845"  # too long to be in an id by chance
    give_password(browser)
    with caplog.at_level("DEBUG"):
        browser.post(PIN_PAGE, {"pin": pin})
    name, event = heard[-1]
    assert (name, event["user"], event["reason"]) == ("verification_failed", alice, "wrong")
    assert f"verification_failed user={alice.pk} reason=wrong" in caplog.text
    assert pin not in caplog.text
    assert PHONE not in caplog.text


REFUSING = {
    "country": ({"COUNTRIES": ["LV"]}, "number_refused", "No PIN can be sent to this kind of number"),
    "site": ({"LIMITS": {"SENDS_PER_SITE_HOUR": 1}}, "sends/site/hour", "If you have a recovery code, use that"),
    "app alone": ({"WAYS": ["totp"]}, "sms_forbidden", "needs the Verigator app"),
}


@pytest.mark.threat("E11")
@pytest.mark.parametrize("name", REFUSING)
def test_first_send_that_is_refused__is_explained_told_and_logged(
    alice, browser, settings, heard, caplog, django_user_model, name
):
    change, scope, text = REFUSING[name]
    if name == "site":
        django_user_model.objects.create_user("bob", password=PASSWORD, phone_number="+37255500011")
        settings.VERIGATOR = {**settings.VERIGATOR, **change}
        give_password(Client(), "bob")
    settings.VERIGATOR = {**settings.VERIGATOR, **change}
    give_password(browser)
    for _ in range(2):  # the page goes on saying so
        assert text in browser.get(PIN_PAGE).content.decode()
    told = [event for event, arguments in heard if event == "limit_reached" and arguments["scope"] == scope]
    assert told == ["limit_reached"]
    assert f"send_refused user={alice.pk} scope={scope}" in caplog.text
    assert Challenge.objects.filter(user=alice).get().refusal


def test_refused_pin__is_an_event_whatever_refused_it(alice, browser, heard):
    """The fifth wrong one is a wrong one; what comes after is refused without asking the provider."""
    give_password(browser)
    for _ in range(6):
        browser.post(PIN_PAGE, {"pin": WRONG_PIN})
    reasons = [arguments["reason"] for event, arguments in heard if event == "verification_failed"]
    assert reasons == ["wrong"] * 5 + ["too_many_tries"]


@pytest.mark.threat("C07")
def test_pin_refused_because_of_its_address__leaves_a_trace(alice, browser, settings, heard):
    settings.VERIGATOR = {**settings.VERIGATOR, "LIMITS": {"TRIES_PER_ADDRESS_HOUR": 1}}
    browser.defaults["REMOTE_ADDR"] = "9.9.9.9"
    give_password(browser)
    for _ in range(2):
        browser.post(PIN_PAGE, {"pin": WRONG_PIN})
    reasons = [arguments["reason"] for event, arguments in heard if event == "verification_failed"]
    assert reasons[0] == "wrong"
    assert len(reasons) == 2


def test_receiver_that_raises__stops_nobody(alice, browser, caplog):
    def broken(**kwargs):
        raise ValueError(PHONE)

    signals.verified.connect(broken)
    try:
        give_password(browser)
        assert browser.post(PIN_PAGE, {"pin": sent_pin()})["Location"] == "/private/"
    finally:
        signals.verified.disconnect(broken)
    ours = [record.getMessage() for record in caplog.records if record.name == "django_verigator"]
    assert any("receiver_failed event=verified" in line for line in ours)
    assert PHONE not in "".join(ours)


@pytest.mark.threat("G06")
def test_user_deactivated_between_the_steps__is_refused(alice, browser, settings):
    settings.AUTHENTICATION_BACKENDS = ["django.contrib.auth.backends.AllowAllUsersModelBackend"]
    give_password(browser)
    alice.is_active = False
    alice.save()
    assert browser.post(PIN_PAGE, {"pin": sent_pin()})["Location"] == "/accounts/login/"
    assert SESSION_KEY not in browser.session


@pytest.mark.threat("G07")
def test_password_changed_between_the_steps__is_refused(alice, browser):
    give_password(browser)
    alice.set_password("another one")
    alice.save()
    assert browser.post(PIN_PAGE, {"pin": sent_pin()})["Location"] == "/accounts/login/"
    assert SESSION_KEY not in browser.session


@pytest.mark.threat("G09")
@pytest.mark.parametrize("change", [{"verigator_id": "another"}, {"trust_version": "another"}])
def test_record_or_epoch_changed_between_the_steps__is_refused(alice, browser, change):
    give_password(browser)
    VerigatorUser.objects.update(**change)
    assert browser.post(PIN_PAGE, {"pin": sent_pin()})["Location"] == "/accounts/login/"
    assert SESSION_KEY not in browser.session


@pytest.mark.threat("G10")
def test_authentication_backend_removed_between_the_steps__is_refused(alice, browser, settings):
    give_password(browser)
    settings.AUTHENTICATION_BACKENDS = ["django.contrib.auth.backends.RemoteUserBackend"]
    assert browser.post(PIN_PAGE, {"pin": sent_pin()})["Location"] == "/accounts/login/"
    assert SESSION_KEY not in browser.session


def test_provider_removed_from_the_settings_between_the_steps__asks_for_a_new_pin(alice, browser, settings):
    give_password(browser)
    entry = settings.VERIGATOR["BACKENDS"]["default"]
    settings.VERIGATOR = {**settings.VERIGATOR, "BACKENDS": {"other": entry}}
    page = browser.post(PIN_PAGE, {"pin": sent_pin()})
    assert "Ask for a new one" in page.content.decode()
    assert SESSION_KEY not in browser.session


@pytest.mark.threat("I03")
@pytest.mark.parametrize(
    "url", ["//evil.example/", "https://evil.example/", "javascript:alert(1)", "\\\\evil", "%0d%0a"]
)
def test_next__leads_to_this_site_only(alice, browser, url):
    give_password(browser, next=url)
    location = browser.post(PIN_PAGE, {"pin": sent_pin()})["Location"]
    assert location in ("/private/", "%0d%0a")


@pytest.mark.threat("I03")
def test_next_that_was_tampered_with_in_the_database__is_checked_again(alice, browser):
    give_password(browser, next="/cart/")
    Challenge.objects.update(next_url="https://evil.example/")
    assert browser.post(PIN_PAGE, {"pin": sent_pin()})["Location"] == "/private/"


@pytest.mark.threat("I04", "I05")
def test_pages__are_not_framed_cached_or_referred(alice, browser):
    for page in (browser.get("/accounts/login/"), give_password(browser), browser.get(PIN_PAGE)):
        assert page["X-Frame-Options"] == "DENY"
        assert "no-store" in page["Cache-Control"]
        assert page["Referrer-Policy"] == "same-origin"


@pytest.mark.threat("I06", "F04")
def test_pin_page__works_under_a_strict_csp_and_shows_no_more_than_it_must(alice, browser):
    give_password(browser)
    page = browser.get(PIN_PAGE).content.decode()
    assert 'autocomplete="one-time-code"' in page
    assert 'inputmode="numeric"' in page
    for forbidden in ("<style", "style=", "<script>", "onclick", PHONE, PHONE[1:], sent_pin(), "alice"):
        assert forbidden not in page
    link = VerigatorUser.objects.get()
    assert (link.verigator_id or Challenge.objects.get().reference) not in page


def title_of(page):
    return re.search(r"<title>(.*?)</title>", page)[1]


def input_of(page, name):
    """The attributes of a field, and the ids that its page has."""
    tag = re.search(rf'<input[^>]* name="{name}"[^>]*>', page)[0]
    return dict(re.findall(r'([\w-]+)="(.*?)"', tag)), set(re.findall(r' id="(.*?)"', page))


def test_title__names_the_pin_where_there_is_a_field_for_it(alice, browser):
    give_password(browser)
    assert title_of(browser.get(PIN_PAGE).content.decode()) == "Type your PIN"
    Challenge.objects.update(expires_at=timezone.now())
    assert title_of(browser.get(PIN_PAGE).content.decode()) == "One more step"


def test_app__shows_a_code_and_no_pin(alice, browser, settings, monkeypatch):
    settings.VERIGATOR = {**settings.VERIGATOR, "METHOD": "totp"}
    monkeypatch.setattr(backends.default, "start", lambda recipient, method, **kwargs: Started("totp"))
    give_password(browser)
    for page in (browser.get(PIN_PAGE), browser.post(PIN_PAGE, {"pin": "x"}), browser.post(RESEND)):
        assert '<label for="id_pin">Code:</label>' in page.content.decode()
        assert title_of(page.content.decode()) == "Type your code"


@pytest.mark.parametrize("pin", ["", "12x4", WRONG_PIN])
def test_pin_that_is_wrong__is_marked_and_described_by_what_is_there(alice, browser, pin):
    give_password(browser)
    attributes, ids = input_of(browser.get(PIN_PAGE).content.decode(), "pin")
    assert "aria-invalid" not in attributes
    assert set(attributes["aria-describedby"].split()) == {"vg-status"} <= ids
    attributes, ids = input_of(browser.post(PIN_PAGE, {"pin": pin}).content.decode(), "pin")
    assert attributes["aria-invalid"] == "true"
    described_by = set(attributes["aria-describedby"].split())
    assert described_by == ({"vg-status"} if pin == WRONG_PIN else {"vg-status", "id_pin_error"})
    assert described_by <= ids


def test_recovery_code_that_is_wrong__is_marked_and_described(alice, browser):
    recovery.renew(alice)
    give_password(browser)
    page = browser.post(f"{PIN_PAGE}recovery/", {"code": "0000-0000-0000-0000"}).content.decode()
    attributes, ids = input_of(page, "code")
    assert attributes["aria-invalid"] == "true"
    assert attributes["aria-describedby"] == "vg-status"
    assert "vg-status" in ids


def test_resend_that_is_refused__marks_no_field_and_keeps_the_question_of_trust(alice, browser, settings):
    settings.VERIGATOR = {**settings.VERIGATOR, "TRUSTED_BROWSER_DAYS": 30}
    give_password(browser)
    page = browser.post(RESEND).content.decode()
    assert "aria-invalid" not in page
    assert 'name="trust"' in page


def test_question_of_trust__is_no_heading(alice, browser, settings):
    settings.VERIGATOR = {**settings.VERIGATOR, "TRUSTED_BROWSER_DAYS": 30}
    give_password(browser)
    assert "for 30 days</label>" in browser.get(PIN_PAGE).content.decode()


def test_site_s_own_form__keeps_the_question_of_trust_after_a_wrong_pin(alice, browser, settings, monkeypatch):
    settings.VERIGATOR = {**settings.VERIGATOR, "TRUSTED_BROWSER_DAYS": 30}
    monkeypatch.setattr(VerifyView, "form_class", type("OwnForm", (PinForm,), {}))
    give_password(browser)
    assert 'name="trust"' in browser.post(PIN_PAGE, {"pin": WRONG_PIN}).content.decode()


@pytest.mark.parametrize(("seconds", "said"), [(1, "in 1 second."), (9, "in 9 seconds.")])
def test_pause__is_told_without_scripts(alice, browser, seconds, said):
    give_password(browser)
    Challenge.objects.update(resend_at=timezone.now() + timedelta(seconds=seconds))
    assert said in re.search(r"<noscript>(.*?)</noscript>", browser.get(PIN_PAGE).content.decode())[1]


def test_pending_cookie__is_closed_to_scripts_and_as_secure_as_the_session(alice, browser, settings):
    settings.SESSION_COOKIE_SECURE = True
    give_password(browser)
    cookie = browser.cookies["verigator_token_sessionid"]
    assert cookie["httponly"]
    assert cookie["secure"]
    assert cookie["samesite"] == "Lax"
    assert cookie["max-age"] == 600 + 3600, "the login page can say that it was too late"


@pytest.mark.threat("F07")
def test_nothing_secret__is_stored(alice, browser):
    from django.contrib.sessions.models import Session
    from django.core import serializers

    give_password(browser)
    pin = sent_pin()
    browser.post(PIN_PAGE, {"pin": pin})
    rows = [*Challenge.objects.all(), *Counter.objects.all()]
    dump = serializers.serialize("json", rows)
    sessions = "".join(str(session.get_decoded()) for session in Session.objects.all())
    for secret in (f'"{pin}"', PHONE, PASSWORD):
        assert secret not in dump
        assert secret not in sessions
    assert repr(Challenge.objects.get()) + repr(VerigatorUser.objects.get()) == (
        f"<Challenge {Challenge.objects.get().pk} user={alice.pk} verified>"
        f"<VerigatorUser user={alice.pk} state={'registered' if backends.default.keeps_users else 'pending'}>"
    )


@pytest.mark.fault("T08")
def test_pin_accepted_before__is_refused_also_after_another_one(alice, provider, monkeypatch):
    monkeypatch.setattr(provider, "check", lambda *args, **kwargs: Checked(True))
    pins = [f"{number:04}" for number in range(1, 9)]

    def is_let_in(pin: str) -> bool:
        Counter.objects.all().delete()
        client = Client()
        give_password(client)
        client.post(PIN_PAGE, {"pin": pin})
        return SESSION_KEY in client.session

    assert all(is_let_in(pin) for pin in pins)
    assert not any(is_let_in(pin) for pin in pins)
    VerigatorUser.objects.update(last_pin_at=timezone.now() - timedelta(seconds=601))
    assert is_let_in(pins[0])
    assert is_let_in(pins[1]), "what is older than that is forgotten"


@pytest.mark.fault("T04")
def test_start__is_counted_where_it_was_refused_and_not_where_nobody_was_asked(alice, monkeypatch, provider):
    def started() -> int:
        return Counter.objects.get(scope="starts/user/hour").count

    monkeypatch.setattr(provider, "start", raising(InternalError(status=503)))
    give_password(Client())
    assert started() == 1
    monkeypatch.setattr(provider, "start", raising(ConnectionFailedError(sent=False)))
    for _ in range(3):
        give_password(Client())
    assert started() == 4
    give_password(Client())  # the circuit is open
    assert started() == 4
