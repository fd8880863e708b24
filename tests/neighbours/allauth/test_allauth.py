"""django-allauth: account, mfa and headless."""

from __future__ import annotations

import re
from typing import Any

import pytest
from allauth.mfa.models import Authenticator
from allauth.mfa.totp.internal.auth import (
    format_hotp_value,
    generate_totp_secret,
    hotp_value,
    yield_hotp_counters_from_time,
)
from allauth.socialaccount.models import SocialAccount
from django.contrib.messages import get_messages
from django.core import mail
from django.urls import reverse

from django_verigator.backends import locmem
from tests.conftest import PASSWORD
from tests.neighbours.conftest import said

LOGIN = "/accounts/login/"
ORDERS = "/api/orders/"


@pytest.fixture
def totp(db: None) -> Any:
    """Give a user an app code of allauth's own, and return what makes the codes."""

    def give(user: Any) -> Any:
        secret = generate_totp_secret()
        Authenticator.objects.create(user=user, type=Authenticator.Type.TOTP, data={"secret": secret})
        return lambda: format_hotp_value(hotp_value(secret, next(yield_hotp_counters_from_time())))

    return give


def give_password(visitor: Any, name: str = "alice", **extra: str) -> Any:
    return visitor.post(LOGIN, {"login": name, "password": PASSWORD, **extra})


def headless(visitor: Any, client: str, path: str, body: dict[str, Any], token: str | None = None) -> Any:
    headers = {"X-Session-Token": token} if token else {}
    return visitor.post(f"/_allauth/{client}/v1/{path}", body, content_type="application/json", headers=headers)


def code_in_mail() -> str:
    return re.search(r"^([A-Z0-9]{3,}(-[A-Z0-9]+)*)$", mail.outbox[-1].body, re.MULTILINE)[1]


# --- the login pages --------------------------------------------------------------------------------------------------


def test_login_page__leads_to_the_pin_and_then_where_the_user_was_going(visitor, alice):
    page = give_password(visitor, next="/verified/")
    assert page["Location"] == reverse("verigator:verify")
    assert not visitor.gets_in()
    assert visitor.gives_pin()["Location"] == "/verified/"
    assert visitor.gets_in()


def test_login_page__lets_in_who_owes_nothing(visitor, carol):
    assert give_password(visitor, "carol", next="/private/")["Location"] == "/private/"
    assert visitor.gets_in()


@pytest.mark.fault("X08")
def test_login_page__sends_the_pin_at_once(visitor, alice):
    give_password(visitor)
    assert len(locmem.outbox) == 1


@pytest.mark.fault("X04")
def test_trusted_browser__is_trusted_at_its_login_page(visitor, alice, settings):
    settings.VERIGATOR = {**settings.VERIGATOR, "TRUSTED_BROWSER_DAYS": 30}
    give_password(visitor)
    visitor.post(reverse("verigator:verify"), {"pin": locmem.outbox[-1].pin, "trust": "on"})
    visitor.post("/accounts/logout/")
    assert not visitor.gets_in()
    assert give_password(visitor, next="/private/")["Location"] == "/private/"
    assert visitor.gets_in()


@pytest.mark.fault("X07")
def test_its_message__is_shown_after_the_pin(visitor, alice):
    give_password(visitor)
    visitor.gives_pin()
    shown = get_messages(visitor.get("/public/").wsgi_request)
    assert "Successfully signed in as alice." in [str(message) for message in shown]


def test_code_by_mail__leads_to_the_pin(visitor, alice):
    visitor.post("/accounts/login/code/", {"email": alice.email})
    page = visitor.post("/accounts/login/code/confirm/", {"code": code_in_mail()})
    assert page["Location"] == reverse("verigator:verify")
    assert not visitor.gets_in()
    visitor.gives_pin()
    assert visitor.gets_in()


def test_password_reset__logs_nobody_in_without_the_pin(visitor, alice):
    visitor.post("/accounts/password/reset/", {"email": alice.email})
    link = re.search(r"http://[^/]+(/accounts/password/reset/key/\S+)", mail.outbox[-1].body)[1]
    form = visitor.get(link)["Location"]
    visitor.post(form, {"password1": "battery staple 7", "password2": "battery staple 7"})
    assert not visitor.gets_in()
    visitor.gives_pin()
    assert visitor.gets_in()


def test_login_of_a_provider__leads_to_the_pin(visitor, alice):
    """Such as that of Google; this one is for tests, and believes what it is told."""
    SocialAccount.objects.create(user=alice, provider="dummy", uid="7")
    form = visitor.post("/accounts/dummy/login/?next=/private/")["Location"]
    assert visitor.post(form, {"id": 7})["Location"] == reverse("verigator:verify")
    assert not visitor.gets_in()
    assert visitor.gives_pin()["Location"] == "/private/"
    assert visitor.gets_in()


def test_sign_up__lets_a_new_user_in(visitor, db):
    form = {"username": "dora", "email": "dora@example.com", "password1": PASSWORD, "password2": PASSWORD}
    visitor.post("/accounts/signup/", form)
    assert visitor.gets_in()


def test_reauthentication__is_allauths_and_needs_no_second_pin(visitor, alice):
    give_password(visitor)
    visitor.gives_pin()
    page = visitor.post("/accounts/reauthenticate/", {"password": PASSWORD, "next": "/private/"})
    assert page["Location"] == "/private/"
    assert visitor.gets_in()


def test_log_out__ends_it(visitor, alice):
    give_password(visitor)
    visitor.gives_pin()
    visitor.post("/accounts/logout/")
    assert not visitor.gets_in()


# --- beside allauth's own second factor -------------------------------------------------------------------------------


def test_own_factor__comes_first_and_the_pin_after_it(visitor, alice, totp):
    code = totp(alice)
    assert give_password(visitor)["Location"] == reverse("mfa_authenticate")
    assert not visitor.gets_in()
    assert visitor.post(reverse("mfa_authenticate"), {"code": code()})["Location"] == reverse("verigator:verify")
    assert not visitor.gets_in()
    visitor.gives_pin()
    assert visitor.gets_in()


@pytest.mark.fault("X02")
def test_checks__name_a_second_door_and_nothing_else(db, settings):
    assert list(said()) == ["verigator.W003"]  # its session tokens, which orders/ believes
    assert "XSessionTokenAuthentication" in said()["verigator.W003"]
    settings.ROOT_URLCONF = "tests.neighbours.axes.urls"
    assert "allauth.account" in said()["verigator.W010"]


@pytest.mark.fault("X02")
def test_our_pages__are_no_way_past_allauths_factor(visitor, carol, totp):
    totp(carol)
    for name in ("/accounts/login/", "/verigator/login/", "/accounts/verigator/login/"):
        visitor.post(name, {"username": "carol", "login": "carol", "password": PASSWORD})
        assert not visitor.gets_in(), name


# --- headless ---------------------------------------------------------------------------------------------------------


def test_headless_browser__is_caught_and_let_in_by_the_pin(visitor, alice):
    headless(visitor, "browser", "auth/login", {"username": "alice", "password": PASSWORD})
    assert not visitor.get("/_allauth/browser/v1/auth/session").json()["meta"]["is_authenticated"]
    assert not visitor.gets_in()
    visitor.gives_pin()
    assert visitor.gets_in()
    assert visitor.get("/_allauth/browser/v1/auth/session").json()["meta"]["is_authenticated"]


def test_headless_browser__lets_in_who_owes_nothing(visitor, carol):
    answer = headless(visitor, "browser", "auth/login", {"username": "carol", "password": PASSWORD})
    assert answer.json()["meta"]["is_authenticated"]
    assert visitor.gets_in()


@pytest.mark.fault("X01")
def test_headless_app__has_no_token_that_works_before_the_pin(visitor, alice, client):
    answer = headless(visitor, "app", "auth/login", {"username": "alice", "password": PASSWORD})
    for token in _tokens(answer):
        assert client.get(ORDERS, headers={"X-Session-Token": token}).status_code == 403
        session = client.get("/_allauth/app/v1/auth/session", headers={"X-Session-Token": token})
        assert session.status_code in (401, 410), session.content
        client.cookies["sessionid"] = token
        assert client.get("/private/").status_code == 302


@pytest.mark.fault("X01")
def test_headless_app__leaves_no_session_in_the_database_before_the_pin(visitor, alice):
    from django.contrib.sessions.models import Session

    headless(visitor, "app", "auth/login", {"username": "alice", "password": PASSWORD})
    assert not [row for row in Session.objects.all() if "_auth_user_id" in row.get_decoded()]


@pytest.mark.fault("X01")
def test_headless_app__mfa_gives_no_token_that_works_before_the_pin(visitor, alice, totp, client):
    code = totp(alice)
    answer = headless(visitor, "app", "auth/login", {"username": "alice", "password": PASSWORD})
    token = answer.json()["meta"]["session_token"]
    answer = headless(visitor, "app", "auth/2fa/authenticate", {"code": code()}, token)
    for found in {token, *_tokens(answer)}:
        assert client.get(ORDERS, headers={"X-Session-Token": found}).status_code == 403


@pytest.mark.fault("X01")
@pytest.mark.parametrize("kind", ["browser", "app"])
def test_headless_code_by_mail__gives_nothing_before_the_pin(visitor, alice, client, kind):
    asked = headless(visitor, kind, "auth/code/request", {"email": alice.email})
    token = asked.json()["meta"].get("session_token")
    answer = headless(visitor, kind, "auth/code/confirm", {"code": code_in_mail()}, token)
    assert answer["Location"] == reverse("verigator:verify")
    assert_nobody_is_in(visitor, client, {token, *_tokens(answer)} - {None})


@pytest.mark.fault("X01")
@pytest.mark.parametrize("kind", ["browser", "app"])
def test_headless_password_reset__gives_nothing_before_the_pin(visitor, alice, client, kind):
    headless(visitor, kind, "auth/password/request", {"email": alice.email})
    key = re.search(r"/accounts/password/reset/key/([^/\s]+)", mail.outbox[-1].body)[1]
    answer = headless(visitor, kind, "auth/password/reset", {"key": key, "password": "battery staple 7"})
    assert_nobody_is_in(visitor, client, set(_tokens(answer)))


@pytest.mark.fault("X01")
@pytest.mark.parametrize("kind", ["browser", "app"])
def test_headless_token_of_a_provider__gives_nothing_before_the_pin(visitor, alice, client, kind):
    SocialAccount.objects.create(user=alice, provider="dummy", uid="7")
    body = {"provider": "dummy", "process": "login", "token": {"id_token": '{"id": 7}'}}
    answer = headless(visitor, kind, "auth/provider/token", body)
    assert answer["Location"] == reverse("verigator:verify")
    assert_nobody_is_in(visitor, client, set(_tokens(answer)))


def assert_nobody_is_in(visitor: Any, other: Any, tokens: set[str]) -> None:
    assert not visitor.gets_in()
    for token in tokens:
        assert other.get(ORDERS, headers={"X-Session-Token": token}).status_code == 403


def test_headless_app__gives_who_owes_nothing_a_token_that_works(visitor, carol, client):
    answer = headless(visitor, "app", "auth/login", {"username": "carol", "password": PASSWORD})
    (token,) = _tokens(answer)
    assert client.get(ORDERS, headers={"X-Session-Token": token}).json() == {"user": carol.pk}


def test_headless_app__log_in_of_one_is_not_the_log_in_of_the_browser(visitor, alice, carol):
    give_password(visitor, "carol")
    headless(visitor, "app", "auth/login", {"username": "alice", "password": PASSWORD})
    assert visitor.get("/whoami/").content.decode().startswith(f"user={carol.pk} ")


def _tokens(answer: Any) -> list[str]:
    """Return every token in an answer."""
    if not answer["Content-Type"].startswith("application/json"):
        return []
    meta = answer.json().get("meta", {})
    return [meta[name] for name in ("session_token", "access_token") if meta.get(name)]
