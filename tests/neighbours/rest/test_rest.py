"""Django REST framework, with simplejwt and dj-rest-auth."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import modify_settings, override_settings
from django.urls import reverse

from tests.conftest import PASSWORD
from tests.neighbours.conftest import said

ORDERS = "/api/orders/"


def give_password(visitor: Any, path: str, name: str = "alice", **extra: str) -> Any:
    return visitor.post(path, {"username": name, "password": PASSWORD, **extra})


def test_browsable_api__leads_to_the_pin_and_back(visitor, alice):
    page = give_password(visitor, "/api-auth/login/", next=ORDERS)
    assert page["Location"] == reverse("verigator:verify")
    assert visitor.get(ORDERS).status_code in (401, 403)
    assert visitor.gives_pin()["Location"] == ORDERS
    assert visitor.get(ORDERS).json() == {"user": alice.pk}


def test_browsable_api__lets_in_who_owes_nothing(visitor, carol):
    assert give_password(visitor, "/api-auth/login/", "carol", next=ORDERS)["Location"] == ORDERS
    assert visitor.get(ORDERS).json() == {"user": carol.pk}


def test_token__is_given_behind_the_pin_and_works(visitor, alice, client):
    assert visitor.post("/api/token/").status_code in (401, 403)
    give_password(visitor, "/accounts/login/")
    assert visitor.post("/api/token/").status_code in (401, 403)
    visitor.gives_pin()
    tokens = visitor.post("/api/token/").json()
    assert client.get(ORDERS, headers={"Authorization": f"Bearer {tokens['access']}"}).json() == {"user": alice.pk}
    renewed = client.post("/api/token/refresh/", {"refresh": tokens["refresh"]}).json()
    assert client.get(ORDERS, headers={"Authorization": f"Bearer {renewed['access']}"}).status_code == 200


@pytest.mark.fault("X05")
def test_token_view__takes_no_password_of_another_user(visitor, alice, carol, client):
    give_password(visitor, "/accounts/login/", "carol")
    answer = visitor.post("/api/token/", {"username": "alice", "password": PASSWORD}).json()
    assert client.get(ORDERS, headers={"Authorization": f"Bearer {answer['access']}"}).json() == {"user": carol.pk}


# --- dj-rest-auth -----------------------------------------------------------------------------------------------------


@pytest.mark.fault("X01", "X07")
def test_jwt__is_not_given_for_the_password_alone(visitor, alice):
    answer = give_password(visitor, "/rest-auth/login/")
    assert answer["Location"] == reverse("verigator:verify")
    assert not set(visitor.cookies) & {"jwt", "jwt-refresh"}
    assert visitor.get(ORDERS).status_code in (401, 403)
    assert not visitor.gets_in()


@pytest.mark.fault("X01")
@override_settings(REST_AUTH={"USE_JWT": False, "SESSION_LOGIN": True})
def test_key__is_not_given_for_the_password_alone(visitor, alice, client):
    answer = give_password(visitor, "/rest-auth/login/")
    assert "key" not in answer.content.decode()
    assert not visitor.gets_in()


def test_jwt__is_given_to_who_owes_nothing(visitor, carol, client):
    answer = give_password(visitor, "/rest-auth/login/", "carol").json()
    assert client.get(ORDERS, headers={"Authorization": f"Bearer {answer['access']}"}).json() == {"user": carol.pk}
    assert visitor.get(ORDERS).status_code == 200


def test_dj_rest_auth__is_usable_after_the_pin(visitor, alice):
    give_password(visitor, "/rest-auth/login/")
    visitor.gives_pin()
    assert visitor.get("/rest-auth/user/").json()["username"] == "alice"
    assert visitor.post("/rest-auth/logout/").status_code == 200
    assert not visitor.gets_in()


# --- what the checks say ----------------------------------------------------------------------------------------------

JWT_COOKIES = "dj_rest_auth.jwt_auth.JWTCookieAuthentication"


def with_classes(*paths: Any) -> Any:
    return override_settings(REST_FRAMEWORK={"DEFAULT_AUTHENTICATION_CLASSES": paths})


def test_checks__warn_of_tokens(db):
    assert "rest_framework_simplejwt" in said()["verigator.W003"]


@pytest.mark.fault("X05")
def test_checks__warn_of_dj_rest_auths_own_class(db):
    with with_classes(JWT_COOKIES):
        assert JWT_COOKIES in said()["verigator.W003"]


@pytest.mark.fault("X05")
def test_checks__warn_of_a_subclass(db):
    with with_classes("tests.neighbours.rest.test_rest.Ours"):
        assert "tests.neighbours.rest.test_rest.Ours" in said()["verigator.W003"]


@pytest.mark.fault("X05")
@override_settings(ROOT_URLCONF="tests.neighbours.rest.per_view_urls")
@modify_settings(INSTALLED_APPS={"remove": ["rest_framework.authtoken", "rest_framework_simplejwt", "dj_rest_auth"]})
def test_checks__warn_of_a_class_that_one_view_has(db):
    with with_classes("rest_framework.authentication.SessionAuthentication"):
        assert "JWTAuthentication" in said().get("verigator.W003", "")


@modify_settings(INSTALLED_APPS={"remove": ["rest_framework.authtoken", "rest_framework_simplejwt", "dj_rest_auth"]})
@override_settings(ROOT_URLCONF="tests.neighbours.axes.urls")
def test_checks__have_nothing_to_say_of_sessions_alone(db):
    with with_classes("rest_framework.authentication.SessionAuthentication"):
        assert said() == {}


def _ours() -> Any:
    from rest_framework_simplejwt.authentication import JWTAuthentication

    class Ours(JWTAuthentication):
        pass

    return Ours


Ours = _ours()
