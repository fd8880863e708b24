"""A phone confirmed on the Verification Widget: which answers count, in which browser, for which number, how often."""

from __future__ import annotations

import copy
import logging
from datetime import timedelta
from urllib.parse import urlencode, urlsplit

import pytest
from django.contrib.auth import get_user_model
from django.core.exceptions import ImproperlyConfigured
from django.core.management import call_command
from django.db import connection
from django.test import Client
from django.utils import timezone

from django_verigator import signals, testing
from django_verigator.backends import locmem
from django_verigator.client import widget
from django_verigator.contrib.widget import answers, options
from django_verigator.models import Challenge, Counter, VerigatorUser
from tests.conftest import PASSWORD, PHONE
from tests.races.crowd import crowd

from .widget_site import (
    ACCOUNT,
    ENROL,
    FORM,
    MANY,
    NEW,
    OPEN,
    VERIFY,
    WIDGET_APP,
    answer,
    changing,
    come_back,
    configure,
    enrolling,
    finish,
    is_logged_in,
    let_the_pause_pass,
    login,
    open_widget,
    phone_of,
    signed,
)

NOT_CONFIRMED = "Messente&#x27;s page has not confirmed your number."
BEFORE = "This number was confirmed on Messente&#x27;s page before."


@pytest.fixture(autouse=True)
def widget_site(settings) -> None:
    configure(settings)


@pytest.fixture
def log(caplog):
    caplog.set_level(logging.DEBUG)
    return caplog


def events_of(log, name: str) -> list[str]:
    return [record.getMessage() for record in log.records if getattr(record, "event", "") == name]


def is_refused(response, browser: Client, user, text: str = NOT_CONFIRMED) -> None:
    assert response.status_code == 200
    assert text in response.content.decode()
    assert not is_logged_in(browser)
    assert phone_of(user) == ""
    assert not Challenge.objects.filter(user=user, outcome=Challenge.Outcome.VERIFIED).exists()


# --- The way there and back -------------------------------------------------------------------------------------------


def test_first_phone__is_confirmed_and_the_user_logged_in(carol, log):
    heard = []
    signals.verified.connect(receiver := lambda **kwargs: heard.append(kwargs["method"]), weak=True)
    browser = enrolling()

    asked = open_widget(browser)
    response = finish(browser, asked, answer())

    signals.verified.disconnect(receiver)
    assert (response.status_code, response["Location"]) == (302, "/private/")
    assert is_logged_in(browser)
    assert phone_of(carol) == NEW
    assert browser.get("/verified/").content == f"verified {carol.pk}".encode()
    assert heard == ["widget"]
    assert len(events_of(log, "widget_opened")) == 1


def test_new_phone__is_confirmed_in_place_of_the_old_one(alice):
    browser = changing()
    assert phone_of(alice) == PHONE

    response = finish(browser, open_widget(browser), answer())

    assert (response.status_code, response["Location"]) == (302, "/accounts/security/")
    assert phone_of(alice) == NEW
    assert browser.get("/verified/").status_code == 200
    # And it is the one to which the next code goes.
    login(Client(), "alice")
    assert locmem.outbox[-1].to == NEW


def test_request__is_signed_with_the_documented_parameters(carol):
    asked = open_widget(enrolling())

    assert set(asked) == {"user", "version", "callback_url", "phone", "sig"}
    assert (asked["user"], asked["version"], asked["phone"]) == (ACCOUNT["username"], "1", NEW)
    assert asked["callback_url"].startswith("http://testserver/accounts/widget/answer/")
    assert widget.verify(asked, ACCOUNT["password"])


def test_answer__may_come_by_get_and_the_number_goes_no_further(carol):
    browser = enrolling()
    path = urlsplit(open_widget(browser)["callback_url"]).path

    response = Client().get(f"{path}?{urlencode(answer())}")

    assert response.status_code == 303
    assert NEW[1:] not in response["Location"]
    assert browser.get(response["Location"])["Location"] == "/private/"


def test_pin_page__has_the_button_for_a_pending_confirmation_alone(carol, alice):
    assert f'action="{OPEN}"' in enrolling().get(VERIFY).content.decode()
    browser = Client()
    login(browser, "alice")
    assert f'action="{OPEN}"' not in browser.get(VERIFY).content.decode()


def test_pin_page__while_the_widget_is_open_takes_no_pin(carol):
    browser = enrolling()
    pin = testing.last_pin()
    open_widget(browser)

    page = browser.get(VERIFY).content.decode()
    response = browser.post(VERIFY, {"pin": pin})

    assert "on Messente's page, or ask for a PIN" in page
    assert 'name="pin"' not in page
    assert (response.status_code, is_logged_in(browser)) == (200, False)


def test_pin__works_after_all(carol):
    browser = enrolling()
    asked = open_widget(browser)
    let_the_pause_pass()

    browser.post("/accounts/verify/resend/")
    assert finish(browser, asked, answer()).status_code == 200
    browser.post(VERIFY, {"pin": testing.last_pin()})

    assert is_logged_in(browser)
    assert phone_of(carol) == NEW


def test_cancelled__goes_back_to_the_pin_page_with_a_word(carol, log):
    browser = enrolling()

    response = finish(browser, open_widget(browser), answer(status="CANCELLED"))

    is_refused(response, browser, carol, "You have cancelled on Messente&#x27;s page.")
    assert len(events_of(log, "widget_cancelled")) == 1
    assert 'action="/accounts/verify/resend/"' in response.content.decode()


def test_cancelled_without_a_number__is_cancelled_too(carol):
    browser = enrolling()

    posted = signed(user=ACCOUNT["username"], version="1", status="CANCELLED")

    is_refused(finish(browser, open_widget(browser), posted), browser, carol, "You have cancelled")


# --- What is no answer ------------------------------------------------------------------------------------------------

UNSIGNED = {"user": ACCOUNT["username"], "version": "1", "status": "VERIFIED", "phone": NEW}
FORGED = {
    "without a signature": (UNSIGNED, "signature"),
    "an empty signature": ({**UNSIGNED, "sig": ""}, "signature"),
    "another signature": ({**UNSIGNED, "sig": "0" * 32}, "signature"),
    "a signature that is no ASCII": ({**UNSIGNED, "sig": "é" * 32}, "signature"),
    "a signature without the password": ({**UNSIGNED, "sig": widget.sign(UNSIGNED, " x")}, "signature"),
    "a cancelled one made a verified one": ({**answer(status="CANCELLED"), "status": "VERIFIED"}, "signature"),
    "one for another number, made one for ours": ({**answer(phone="+37255500098"), "phone": NEW}, "signature"),
    "nothing": ({}, "signature"),
    "another user": (answer(user="another-account"), "user"),
    "no user": (signed(version="1", status="VERIFIED", phone=NEW), "user"),
    "another version": (answer(version="2"), "version"),
    "another status": (answer(status="PENDING"), "status"),
    "a status in other letters": (answer(status="verified"), "status"),
    "no status": (signed(user=ACCOUNT["username"], version="1", phone=NEW), "status"),
    "another number": (answer(phone="+37255500098"), "number"),
    "no number": (signed(user=ACCOUNT["username"], version="1", status="VERIFIED"), "number"),
    "a number that is none": (answer(phone="NaN"), "number"),
    "a number that another answer's words follow": (
        answer(phone=f"{NEW}statusCANCELLEDuser{ACCOUNT['username']}version1"),
        "number",
    ),
    "a number with a NUL": (answer(phone=f"{NEW}\0"), "number"),
    "two numbers": (f"{urlencode(answer(phone='+37255500098'))}&phone=%2B{NEW[1:]}", "malformed"),
    "two numbers, ours first": (f"phone=%2B{NEW[1:]}&{urlencode(answer(phone='+37255500098'))}", "malformed"),
    "two statuses": (f"{urlencode(answer(status='CANCELLED'))}&status=VERIFIED", "malformed"),
    "two signatures": (f"{urlencode(answer())}&sig=0", "malformed"),
    "a long number": (answer(phone="1" * 10_000), "malformed"),
    "a long signature": ({**answer(), "sig": "0" * 10_000}, "malformed"),
    "a long user": (answer(user="u" * 10_000), "malformed"),
}


@pytest.mark.threat("J02", "J04")
@pytest.mark.parametrize(("posted", "problem"), FORGED.values(), ids=FORGED)
def test_answer_that_is_not_right__confirms_nothing(carol, log, posted, problem):
    browser = enrolling()
    asked = open_widget(browser)

    is_refused(
        finish(browser, asked, posted),
        browser,
        carol,
        "Another number was confirmed" if problem == "number" else NOT_CONFIRMED,
    )

    (line,) = events_of(log, "widget_refused")
    assert f"reason={problem} " in line
    # The state is used up, so that nothing can be tried after it.
    is_refused(finish(browser, asked, answer()), browser, carol)


def test_status_and_number_in_the_address__are_not_read_beside_a_post(carol):
    browser = enrolling()
    path = urlsplit(open_widget(browser)["callback_url"]).path
    posted = answer(status="CANCELLED")

    response = Client().post(f"{path}?{urlencode(answer())}", urlencode(posted), content_type=FORM)

    is_refused(browser.get(response["Location"]), browser, carol, "You have cancelled")


def test_thousands_of_parameters__are_refused_and_leave_the_state_alone(carol, settings):
    browser = enrolling()
    asked = open_widget(browser)
    body = "&".join(f"key{number}=1" for number in range(settings.DATA_UPLOAD_MAX_NUMBER_FIELDS + 1))

    response = Client().post(urlsplit(asked["callback_url"]).path, body, content_type=FORM)

    assert response.status_code == 400
    assert finish(browser, asked, answer())["Location"] == "/private/"


def test_request__is_no_answer(carol):
    """The browser sees our own signature of the request."""
    browser = enrolling()
    asked = open_widget(browser)

    is_refused(finish(browser, asked, asked), browser, carol)


def test_request_with_a_status__is_no_answer(carol):
    browser = enrolling()
    asked = open_widget(browser)

    is_refused(finish(browser, asked, {**asked, "status": "VERIFIED"}), browser, carol)


def test_number__is_compared_as_it_is_meant(carol):
    browser = enrolling()

    finish(browser, open_widget(browser), answer(phone="00372 555-00099"))

    assert phone_of(carol) == NEW


@pytest.mark.parametrize("content_type", ["application/json", "multipart/form-data; boundary=x", "text/plain"])
def test_answer_in_another_form__is_none(carol, content_type):
    browser = enrolling()
    asked = open_widget(browser)

    location = come_back(asked, urlencode(answer()), content_type=content_type)

    is_refused(browser.get(location), browser, carol)


@pytest.mark.parametrize("text", ["", "x", "eyJ:1:2", "a" * 10_000])
def test_page_after_the_answer__takes_only_what_we_signed(carol, text):
    browser = enrolling()
    asked = open_widget(browser)

    response = browser.get("/accounts/widget/confirm/", {"answer": text})

    assert (response.status_code, response["Location"]) == (302, VERIFY)
    assert not is_logged_in(browser)
    assert finish(browser, asked, answer())["Location"] == "/private/", "the state is still good"


def test_page_after_the_answer__takes_it_for_a_minute(carol, monkeypatch):
    browser = enrolling()
    location = come_back(open_widget(browser), urlencode(answer()), content_type=FORM)
    monkeypatch.setattr(answers, "CARRY_SECONDS", -1)

    assert browser.get(location)["Location"] == VERIFY
    assert not is_logged_in(browser)


# --- Which state, which browser, how often ----------------------------------------------------------------------------


@pytest.mark.threat("D08")
def test_answer__counts_once(carol):
    browser = enrolling()
    asked = open_widget(browser)
    location = come_back(asked, urlencode(answer()), content_type=FORM)
    browser.get(location)
    browser.post("/plain/logout/")

    assert browser.get(location)["Location"] == "/accounts/login/"
    assert finish(browser, asked, answer())["Location"] == "/accounts/login/"
    assert not is_logged_in(browser)


@pytest.mark.threat("J03")
def test_answer__in_another_browser_is_refused_and_leaves_the_state_alone(carol, alice):
    browser, stranger, other = enrolling(), Client(), changing()
    asked = open_widget(browser)

    assert finish(stranger, asked, answer())["Location"] == "/accounts/login/"
    assert finish(other, asked, answer()).status_code == 200

    assert not is_logged_in(stranger)
    assert (phone_of(alice), phone_of(carol)) == (PHONE, "")
    assert finish(browser, asked, answer())["Location"] == "/private/"


@pytest.mark.threat("D04")
def test_state_of_another_challenge__is_refused(carol):
    browser = enrolling()
    first = open_widget(browser)
    let_the_pause_pass()
    second = open_widget(browser)

    is_refused(finish(browser, first, answer()), browser, carol)

    assert finish(browser, second, answer())["Location"] == "/private/"


def test_state_that_was_never_given_out__is_refused(carol):
    browser = enrolling()
    asked = open_widget(browser)

    for state in ("x", "é", "0" * 10_000):
        forged = {"callback_url": f"http://testserver/accounts/widget/answer/{state}/"}
        is_refused(finish(browser, forged, answer()), browser, carol)

    assert finish(browser, asked, answer())["Location"] == "/private/"


@pytest.mark.threat("D05")
def test_challenge_that_a_newer_login_has_superseded__is_refused(carol):
    browser = enrolling()
    asked = open_widget(browser)
    second = enrolling()

    is_refused(finish(browser, asked, answer()), browser, carol)
    assert not is_logged_in(second)


@pytest.mark.threat("D06")
def test_challenge_that_has_expired__is_refused(carol):
    browser = enrolling()
    asked = open_widget(browser)
    Challenge.objects.update(expires_at=timezone.now() - timedelta(seconds=1))

    is_refused(finish(browser, asked, answer()), browser, carol)


def test_login_that_was_cancelled__is_refused(carol):
    browser = enrolling()
    asked = open_widget(browser)
    kept = browser.cookies.copy()
    browser.post("/accounts/verify/cancel/")
    browser.cookies = kept

    assert finish(browser, asked, answer())["Location"] == "/accounts/login/"
    assert phone_of(carol) == ""


@pytest.mark.threat("J07")
def test_number_that_was_replaced_meanwhile__is_not_confirmed(carol):
    browser = enrolling()
    asked = open_widget(browser)
    browser.post("/accounts/enrol/", {"phone": "+37255500098"})

    is_refused(finish(browser, asked, answer()), browser, carol)
    assert phone_of(carol) == ""


@pytest.mark.threat("G06")
def test_user_who_is_no_longer_active__is_not_let_in(carol):
    browser = enrolling()
    asked = open_widget(browser)
    get_user_model().objects.filter(pk=carol.pk).update(is_active=False)

    finish(browser, asked, answer())

    assert (is_logged_in(browser), phone_of(carol)) == (False, "")


@pytest.mark.threat("G07")
def test_password_that_was_changed__ends_it(carol):
    browser = enrolling()
    asked = open_widget(browser)
    carol.set_password("another one")
    carol.save()

    finish(browser, asked, answer())

    assert (is_logged_in(browser), phone_of(carol)) == (False, "")


def test_new_phone_of_a_session_that_has_ended__is_not_confirmed(alice):
    browser = changing()
    asked = open_widget(browser)
    del browser.cookies["sessionid"]

    finish(browser, asked, answer())

    assert (is_logged_in(browser), phone_of(alice)) == (False, PHONE)


@pytest.mark.parametrize("changed", [{"is_active": False}, {"password": "!"}], ids=["deactivated", "new password"])
def test_user_who_changes_a_number__confirms_nothing_once_deactivated_or_with_a_new_password(alice, changed):
    browser = changing()
    asked = open_widget(browser)
    get_user_model().objects.filter(pk=alice.pk).update(**changed)

    finish(browser, asked, answer())

    assert phone_of(alice) == PHONE
    assert not Challenge.objects.filter(method="widget", outcome=Challenge.Outcome.VERIFIED).exists()


def test_another_user_who_has_taken_the_session_over__confirms_nothing(alice, carol):
    browser = changing()
    asked = open_widget(browser)
    pending = browser.cookies["verigator_token_sessionid"]
    browser.force_login(carol)
    browser.cookies["verigator_token_sessionid"] = pending

    finish(browser, asked, answer())

    assert (phone_of(alice), phone_of(carol)) == (PHONE, "")


@pytest.mark.threat("C16")
def test_locked_user__is_not_let_in_by_the_widget_either(carol):
    browser = enrolling()
    asked = open_widget(browser)
    VerigatorUser.objects.update(consecutive_failures=MANY)

    response = finish(browser, asked, answer())

    is_refused(response, browser, carol, "Too many wrong PINs.")


def test_tries_that_are_used_up__hold_the_widget_s_answer_back_too(settings, carol):
    configure(settings, TRIES_PER_USER_HOUR=1)
    browser = enrolling()
    browser.post(VERIFY, {"pin": "0000"})
    VerigatorUser.objects.update(locked_until=None)  # what the counter says is what counts
    Counter.objects.filter(scope="sends/user/hour").delete()

    asked = open_widget(browser)

    is_refused(finish(browser, asked, answer()), browser, carol, "Too many wrong PINs.")


def test_answer_that_a_lock_holds_back__may_be_given_again(settings, carol):
    """Nothing was confirmed by it, so the number is not used up."""
    configure(settings, TRIES_PER_USER_HOUR=1)
    browser = enrolling()
    browser.post(VERIFY, {"pin": "0000"})
    VerigatorUser.objects.update(locked_until=None)  # the counter holds it back
    Counter.objects.filter(scope="sends/user/hour").delete()
    finish(browser, open_widget(browser), answer())
    assert phone_of(carol) == ""

    Counter.objects.filter(scope="tries/user/hour").delete()  # an hour later
    VerigatorUser.objects.update(locked_until=None)
    let_the_pause_pass()
    finish(browser, open_widget(browser), answer())

    assert phone_of(carol) == NEW


def test_answer_kept_from_an_earlier_confirmation__is_worth_nothing(carol, django_user_model, log):
    """The signature has neither time nor nonce: the answer for a number is the same for every user, and for ever."""
    browser = enrolling()
    kept = answer()
    finish(browser, open_widget(browser), kept)
    VerigatorUser.objects.all().delete()
    Challenge.objects.all().delete()
    call_command("verigator_prune")
    mallory = django_user_model.objects.create_user("mallory", password=PASSWORD)

    browser = enrolling("mallory")
    is_refused(finish(browser, open_widget(browser), kept), browser, mallory, BEFORE)
    assert "reason=number_again" in events_of(log, "widget_refused")[-1]
    # A PIN still does it.
    let_the_pause_pass()
    browser.post("/accounts/verify/resend/")
    browser.post(VERIFY, {"pin": testing.last_pin()})
    assert phone_of(mallory) == NEW


@pytest.mark.threat("F11")
def test_opening__tells_nobody_that_a_number_was_confirmed_before(carol, django_user_model):
    browser = enrolling()
    finish(browser, open_widget(browser), answer())
    django_user_model.objects.create_user("mallory", password=PASSWORD)

    asked = open_widget(enrolling("mallory"))
    assert asked["phone"] == NEW


def test_kept_answer__is_worth_nothing_under_a_new_secret_key_either(settings, carol, django_user_model):
    browser = enrolling()
    finish(browser, open_widget(browser), answer())
    mallory = django_user_model.objects.create_user("mallory", password=PASSWORD)
    settings.SECRET_KEY, settings.SECRET_KEY_FALLBACKS = "new" * 20, [settings.SECRET_KEY]

    browser = enrolling("mallory")
    is_refused(finish(browser, open_widget(browser), answer()), browser, mallory, BEFORE)


def test_widget_that_is_open__outlives_a_new_secret_key(settings, carol):
    browser = enrolling()
    asked = open_widget(browser)
    settings.SECRET_KEY, settings.SECRET_KEY_FALLBACKS = "new" * 20, [settings.SECRET_KEY]

    assert finish(browser, asked, answer())["Location"] == "/private/"


@pytest.mark.threat("F05")
def test_answers__leave_no_number_behind(carol, log):
    browser = enrolling()
    log.clear()

    for posted in (answer(phone="+37255500098"), answer(status="CANCELLED"), answer()):
        let_the_pause_pass()
        finish(browser, open_widget(browser), posted)

    written = " ".join(record.getMessage() for record in log.records if record.name.startswith("django_verigator"))
    assert "widget_opened" in written
    for secret in (NEW[1:], "37255500098", ACCOUNT["password"]):
        assert secret not in written


def test_widget__is_reached_also_where_every_request_logs_in(carol, settings):
    """RemoteUser: the guard lets the pages of the second factor through, and so these."""
    ours = "django_verigator.middleware.VerigatorMiddleware"
    settings.MIDDLEWARE = list(settings.MIDDLEWARE)
    settings.MIDDLEWARE.insert(settings.MIDDLEWARE.index(ours), "django.contrib.auth.middleware.RemoteUserMiddleware")
    settings.AUTHENTICATION_BACKENDS = ["django.contrib.auth.backends.RemoteUserBackend"]
    browser = Client(REMOTE_USER="carol")
    carol.set_unusable_password()
    carol.save()
    browser.get("/private/")
    assert browser.post(ENROL, {"phone": NEW})["Location"] == VERIFY
    let_the_pause_pass()

    response = finish(browser, open_widget(browser), answer())

    assert response["Location"] == "/private/"
    assert phone_of(carol) == NEW


# --- At once ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def proofs():
    heard: list[int] = []

    def hear(user, **kwargs):
        heard.append(user.pk)

    signals.verified.connect(hear)
    yield heard
    signals.verified.disconnect(hear)


def same_browser(browser: Client) -> Client:
    copied = Client()
    copied.cookies = copy.deepcopy(browser.cookies)
    return copied


@pytest.mark.threat("D02")
def test_twenty_answers_at_once__make_one_proof(transactional_db, proofs):
    carol = get_user_model().objects.create_user("carol", password=PASSWORD)
    browser = enrolling()
    asked = open_widget(browser)
    browsers = [same_browser(browser) for _ in range(20)]

    responses = crowd(lambda each: finish(each, asked, answer()), browsers)

    assert proofs == [carol.pk]
    assert [is_logged_in(each) for each in browsers].count(True) == 1
    assert [response.get("Location") for response in responses].count("/private/") == 1
    assert phone_of(carol) == NEW


def test_one_answer_in_the_logins_of_many_users_at_once__proves_one(transactional_db, proofs):
    users = [get_user_model().objects.create_user(f"user{number}", password=PASSWORD) for number in range(6)]
    browsers = [enrolling(user.username) for user in users]
    opened = [open_widget(browser) for browser in browsers]

    crowd(lambda pair: finish(*pair, answer()), list(zip(browsers, opened, strict=True)))

    assert len(proofs) == 1
    assert [phone_of(user) for user in users].count(NEW) == 1
    assert [is_logged_in(browser) for browser in browsers].count(True) == 1


def test_widget_opened_ten_times_at_once__is_opened_once(transactional_db):
    get_user_model().objects.create_user("carol", password=PASSWORD)
    browser = enrolling()

    responses = crowd(lambda each: each.post(OPEN), [same_browser(browser) for _ in range(10)])

    assert [response.status_code for response in responses].count(302) == 1
    assert Challenge.objects.filter(method="widget").count() == 1


# --- Opening ----------------------------------------------------------------------------------------------------------


@pytest.mark.threat("E07")
def test_opening__is_a_post_with_a_token(carol):
    browser = enrolling()
    strict = Client(enforce_csrf_checks=True)
    strict.cookies = browser.cookies
    before = Challenge.objects.count()

    assert browser.get(OPEN)["Location"] == VERIFY
    assert strict.post(OPEN).status_code == 403
    assert Challenge.objects.count() == before


def test_opening__needs_a_pending_confirmation_of_a_phone(alice):
    browser = Client()
    assert browser.post(OPEN)["Location"] == "/accounts/login/"
    login(browser, "alice")

    assert browser.post(OPEN)["Location"] == "/accounts/login/"
    assert not Challenge.objects.filter(method="widget").exists()


def test_opening__waits_for_the_pause(carol):
    browser = enrolling()
    open_widget(browser)

    response = browser.post(OPEN)

    assert (response.status_code, "A PIN was sent a moment ago." in response.content.decode()) == (200, True)
    assert Challenge.objects.filter(method="widget").count() == 1


@pytest.mark.threat("E01")
@pytest.mark.parametrize("limit", ["SENDS_PER_USER_HOUR", "SENDS_PER_PHONE_10_MINUTES", "SENDS_PER_LOGIN"])
def test_opening__counts_as_a_code_that_is_sent(settings, carol, limit):
    configure(settings, **{limit: 2})
    browser = enrolling()
    open_widget(browser)
    let_the_pause_pass()

    response = browser.post(OPEN)

    assert (response.status_code, "Too many PINs were asked for." in response.content.decode()) == (200, True)
    assert Challenge.objects.filter(method="widget").count() == 1


def test_opening__sends_nothing_by_a_backend(carol):
    browser = enrolling()
    sent = len(locmem.outbox)

    open_widget(browser)

    assert len(locmem.outbox) == sent


def test_opening__where_texts_are_forbidden_is_refused(settings, carol):
    browser = enrolling()
    settings.VERIGATOR = {**settings.VERIGATOR, "WAYS": ["totp"], "METHOD": "totp"}

    assert browser.post(OPEN).status_code == 200
    assert not Challenge.objects.filter(method="widget").exists()


# --- Sites ---------------------------------------------------------------------------------------------------------


@pytest.mark.threat("R24")
def test_atomic_requests__open_no_transaction_around_the_pages(transactional_db, monkeypatch):
    get_user_model().objects.create_user("carol", password=PASSWORD)
    monkeypatch.setitem(connection.settings_dict, "ATOMIC_REQUESTS", True)
    browser = enrolling()
    asked = open_widget(browser)

    # A refusal that were rolled back would leave the state good.
    finish(browser, asked, answer(phone="+37255500098"))
    assert finish(browser, asked, answer()).status_code == 200
    let_the_pause_pass()

    assert finish(browser, open_widget(browser), answer())["Location"] == "/private/"


def test_login_required_middleware__lets_the_pages_through(settings, carol):
    settings.MIDDLEWARE = [*settings.MIDDLEWARE, "django.contrib.auth.middleware.LoginRequiredMiddleware"]
    browser = enrolling()

    assert finish(browser, open_widget(browser), answer())["Location"] == "/private/"


@pytest.mark.parametrize("strict", ["Strict", "strict"])
def test_strict_cookies__come_along_from_a_page_of_ours(settings, carol, strict):
    settings.SESSION_COOKIE_SAMESITE = strict
    browser = enrolling()
    path = urlsplit(open_widget(browser)["callback_url"]).path

    page = Client(enforce_csrf_checks=True).post(path, urlencode(answer()), content_type=FORM)

    assert (page.status_code, page.cookies) == (200, {})
    assert (page["Referrer-Policy"], page["X-Frame-Options"]) == ("same-origin", "DENY")
    assert NEW[1:] not in page.content.decode()
    following = page.context["following"]
    assert f'content="0; url={following}"' in page.content.decode()
    assert browser.get(following)["Location"] == "/private/"


# --- Settings ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "value",
    [
        None,
        "account",
        {},
        {"username": "u"},
        {**ACCOUNT, "user": "u"},
        {**ACCOUNT, "password": ""},
        {**ACCOUNT, "password": 5},
        {**ACCOUNT, "username": " "},
        {**ACCOUNT, "endpoint": "http://verify.messente.com/"},
    ],
)
def test_options_that_cannot_be_used__are_a_clear_error(settings, value):
    settings.VERIGATOR_WIDGET = value

    with pytest.raises(ImproperlyConfigured, match="VERIGATOR_WIDGET") as caught:
        options.current()

    assert ACCOUNT["password"] not in str(caught.value)


def test_options__show_no_password():
    assert ACCOUNT["password"] not in repr(options.current())


def test_site_without_the_app__has_none_of_it(settings, carol):
    settings.INSTALLED_APPS = [app for app in settings.INSTALLED_APPS if app != WIDGET_APP]
    settings.ROOT_URLCONF = "tests.site.urls"

    browser = enrolling()

    assert "Messente" not in browser.get(VERIFY).content.decode()
    assert browser.post(OPEN).status_code == 404
