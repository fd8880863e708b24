"""What people do to the pages: click twice, load again, open two tabs, go back, come too late."""

from __future__ import annotations

from datetime import timedelta
from http import HTTPStatus

import pytest
from django.contrib.auth.backends import BaseBackend
from django.test import Client
from django.urls import include, path
from django.utils import timezone

from django_verigator.backends import locmem
from django_verigator.exceptions import Reason, Refused
from django_verigator.models import Challenge, VerigatorUser
from django_verigator.testing import login_verified
from django_verigator.views import LoginView
from tests.site.models import User

from .conftest import PASSWORD, PHONE, WRONG_PIN, give_password, sent_pin

LOGIN = "/accounts/login/"
PIN_PAGE = "/accounts/verify/"
CANCEL = "/accounts/verify/cancel/"
RECOVERY = "/accounts/verify/recovery/"
SECURITY = "/accounts/security/"
CHANGE = "/accounts/security/phone/"
ENDED = "This sign-in has ended."
OUT_OF_DATE = "This page was out of date."
FORM = {"csrfmiddlewaretoken": "t" * 64}
ANOTHER = {"csrfmiddlewaretoken": "u" * 64}


def token(client: Client, url: str) -> dict[str, str]:
    return {"csrfmiddlewaretoken": str(client.get(url).context["csrf_token"])}


# --- clicks and reloads -----------------------------------------------------------------------------------------------


@pytest.mark.fault("P04")
def test_login_form_posted_twice__sends_once_and_its_pin_is_right(alice, browser):
    twin = Client()  # the second click, sent before the first answer
    give_password(browser, **FORM)
    assert give_password(twin, **FORM)["Location"] == PIN_PAGE
    assert len(locmem.outbox) == 1
    assert twin.post(PIN_PAGE, {"pin": sent_pin()})["Location"] == "/private/"


@pytest.mark.fault("P04")
def test_login_form_posted_twice__by_who_has_no_phone_begins_one_login(carol, browser, settings):
    settings.VERIGATOR = {**settings.VERIGATOR, "REQUIRED": "all"}
    for client in (browser, Client()):
        assert give_password(client, "carol", **FORM)["Location"] == PIN_PAGE
    assert Challenge.objects.count() == 1


@pytest.mark.fault("P04")
def test_login_form_posted_again__after_its_login_has_ended_begins_another_one(alice, browser):
    give_password(browser, **FORM)
    browser.post(CANCEL)
    Challenge.objects.update(created_at=timezone.now() - timedelta(minutes=9))
    assert give_password(Client(), **FORM)["Location"] == PIN_PAGE
    assert len(locmem.outbox) == 2


@pytest.mark.fault("P04")
def test_other_forms_with_the_same_password__are_logins_of_their_own(alice, browser):
    give_password(browser, **FORM)
    give_password(Client(), **ANOTHER)
    assert len(locmem.outbox) == 2


@pytest.mark.fault("P04")
def test_change_of_phone_posted_twice__sends_once(alice, browser):
    login_verified(browser, alice)
    twin = Client()
    twin.cookies = browser.cookies.__class__(browser.cookies.output(header="", sep=";"))
    for client in (browser, twin):
        assert client.post(CHANGE, {"phone": "+37255500099", "password": PASSWORD, **FORM}).status_code == 302
    assert len(locmem.outbox) == 1


@pytest.mark.fault("P05")
def test_wrong_pin_that_is_loaded_again__costs_one_try(alice, browser):
    give_password(browser)
    browser.post(PIN_PAGE, {"pin": WRONG_PIN, **FORM})
    page = browser.post(PIN_PAGE, {"pin": WRONG_PIN, **FORM}).content.decode()
    assert "You have sent this form already. You can try 4 more times." in page
    assert Challenge.objects.get().tries == 1
    assert VerigatorUser.objects.get(user=alice).consecutive_failures == 1
    assert browser.post(PIN_PAGE, {"pin": sent_pin(), **ANOTHER})["Location"] == "/private/"


@pytest.mark.fault("P05")
def test_wrong_code_that_is_loaded_again__costs_one_try(alice, browser):
    give_password(browser)
    for _ in range(3):
        page = browser.post(RECOVERY, {"code": "0000-0000-0000-0000", **FORM})
    assert "You have sent this form already." in page.content.decode()
    assert VerigatorUser.objects.get(user=alice).consecutive_failures == 1


# --- too late, and already in -----------------------------------------------------------------------------------------


@pytest.mark.fault("P09")
def test_login_that_ended__is_told_on_the_login_page_which_keeps_where_to_go(alice, browser):
    give_password(browser, next="/cart/")
    Challenge.objects.update(started_at=timezone.now() - timedelta(hours=1))
    assert browser.post(PIN_PAGE, {"pin": sent_pin()})["Location"] == LOGIN
    page = browser.get(LOGIN)
    assert ENDED in page.content.decode()
    assert page.context["next"] == "/cart/"
    assert ENDED not in browser.get(LOGIN).content.decode(), "it is told once"


@pytest.mark.fault("P09")
def test_login_that_its_user_cancelled__is_not_told_to_have_ended(alice, browser):
    give_password(browser)
    browser.post(CANCEL)
    assert ENDED not in browser.get(LOGIN).content.decode()


@pytest.mark.fault("P12")
@pytest.mark.parametrize("url", [PIN_PAGE, RECOVERY])
def test_page_of_the_second_step__leads_on_who_is_in_already(alice, browser, url):
    login_verified(browser, alice)
    assert browser.get(url)["Location"] == "/private/"
    assert browser.post(url, {"pin": WRONG_PIN, "code": "x"})["Location"] == "/private/"


@pytest.mark.fault("P11")
@pytest.mark.parametrize(
    ("came_from", "goes_to"),
    [
        ("http://testserver/cart/", "http://testserver/cart/"),
        ("https://evil.example/", SECURITY),
        ("javascript:alert(1)", SECURITY),
        ("", SECURITY),
    ],
)
def test_cancel_of_who_is_logged_in__goes_back(alice, browser, came_from, goes_to):
    login_verified(browser, alice)
    session = browser.session
    session["_auth_verigator"] = {**session["_auth_verigator"], "at": 0}
    session.save()
    assert browser.get("/recent/")["Location"] == PIN_PAGE
    back = browser.get(PIN_PAGE, headers={"referer": came_from}).context["back"]
    assert browser.post(CANCEL, {"back": back} if back else {})["Location"] == goes_to
    assert browser.get("/private/").status_code == HTTPStatus.OK


# --- two tabs ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def strict():
    return Client(enforce_csrf_checks=True)


def credentials(tokens):
    return {"username": "alice", "password": PASSWORD, **tokens}


@pytest.mark.fault("P10")
def test_second_login_form__of_who_waits_for_a_pin_is_shown_again(alice, strict):
    first, second = token(strict, LOGIN), token(strict, LOGIN)
    strict.post(LOGIN, credentials(first))
    page = strict.post(LOGIN, credentials(second))
    assert page.status_code == HTTPStatus.FORBIDDEN
    assert OUT_OF_DATE in page.content.decode()
    assert len(locmem.outbox) == 1
    again = {"csrfmiddlewaretoken": str(page.context["csrf_token"])}
    assert strict.post(LOGIN, credentials(again))["Location"] == PIN_PAGE


@pytest.mark.fault("P10")
def test_second_login_form__of_who_is_in_leads_on(alice, strict):
    first, second = token(strict, LOGIN), token(strict, LOGIN)
    strict.post(LOGIN, credentials(first))
    strict.post(PIN_PAGE, {"pin": sent_pin(), **token(strict, PIN_PAGE)})
    assert strict.post(LOGIN, credentials(second))["Location"] == "/private/"


@pytest.mark.fault("P10")
def test_second_pin_page__of_who_is_in_leads_on(alice, strict):
    strict.post(LOGIN, credentials(token(strict, LOGIN)))
    first, second = token(strict, PIN_PAGE), token(strict, PIN_PAGE)
    strict.post(PIN_PAGE, {"pin": sent_pin(), **first})
    assert strict.post(PIN_PAGE, {"pin": sent_pin(), **second})["Location"] == "/private/"


@pytest.mark.fault("P10")
def test_pin_page_with_an_old_token__costs_no_try(alice, strict):
    strict.post(LOGIN, credentials(token(strict, LOGIN)))
    page = strict.post(PIN_PAGE, {"pin": sent_pin(), **FORM})
    assert page.status_code == HTTPStatus.FORBIDDEN
    assert OUT_OF_DATE in page.content.decode()
    assert Challenge.objects.get().tries == 0


# --- the site's own login view and backend ----------------------------------------------------------------------------


class OwnLoginView(LoginView):
    success_url_allowed_hosts = frozenset({"shop.example"})

    def get_default_redirect_url(self):
        return f"/home-of/{self.request.user.username}/"


class OwnUrls:
    app_name = None
    urlpatterns = (
        path("sign-in/", OwnLoginView.as_view(), name="sign_in"),
        path("accounts/", include("django_verigator.urls")),
    )


@pytest.mark.fault("P13")
@pytest.mark.parametrize("with_pin", [True, False])
@pytest.mark.parametrize("next_url", ["", "https://shop.example/cart/", "https://evil.example/"])
def test_landing__is_the_site_s_view_s_after_the_login(alice, carol, browser, settings, with_pin, next_url):
    settings.ROOT_URLCONF, settings.LOGIN_URL = OwnUrls, "sign_in"
    name = "alice" if with_pin else "carol"
    data = {"username": name, "password": PASSWORD, "next": next_url}
    response = browser.post("/sign-in/", data, secure=True)
    if with_pin:
        response = browser.post(PIN_PAGE, {"pin": sent_pin()}, secure=True)
    assert response["Location"] == (next_url if "shop" in next_url else f"/home-of/{name}/")


class Directory(BaseBackend):
    """Passwords are kept elsewhere."""

    def authenticate(self, request, username=None, password=None):
        return User.objects.filter(username=username).first() if password == "of the directory" else None

    def get_user(self, user_id):
        return User.objects.filter(pk=user_id).first()


@pytest.mark.fault("P07")
def test_password_once_more__is_asked_where_the_user_signs_in(alice, browser, settings):
    settings.AUTHENTICATION_BACKENDS = ["tests.test_clicks.Directory"]
    login_verified(browser, alice)
    codes = "/accounts/security/recovery-codes/"
    assert "The password is not right." in browser.post(codes, {"password": PASSWORD}).content.decode()
    assert len(browser.post(codes, {"password": "of the directory"}).context["codes"]) == 10


@pytest.mark.fault("P07")
def test_user_whose_password_column_is_empty__is_asked_for_none(db, browser):
    user = User.objects.create(username="sso", phone_number=PHONE)
    assert user.password == ""
    login_verified(browser, user)
    assert len(browser.post("/accounts/security/recovery-codes/").context["codes"]) == 10


@pytest.mark.fault("P04")
def test_login_that_the_database_never_takes__is_tried_twice_and_not_for_ever(alice, browser, monkeypatch):
    """As where its user is deleted just now."""
    calls = []

    def refuse(*args, **kwargs):
        calls.append(args)
        raise Refused(Reason.PAUSE)

    monkeypatch.setattr("django_verigator.flows.sending.reserve", refuse)
    assert give_password(browser, **FORM)["Location"] == PIN_PAGE
    assert len(calls) == 2
