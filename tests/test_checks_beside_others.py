"""What the system checks say of other packages: their tokens, their login pages, their middleware, their routers."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import pytest
from django.apps import apps
from django.core.checks import run_checks
from django.urls import NoReverseMatch, include, path, reverse
from django.views import View

from django_verigator import checks
from django_verigator.decorators import verified_required

from .conftest import PASSWORD, sent_pin

OURS = "django_verigator.middleware.VerigatorMiddleware"


def ids() -> list[str]:
    return [message.id for message in run_checks(tags=[checks.TAG])]


@pytest.fixture
def at(settings: Any) -> Any:
    """Have the site answer at these paths alone."""

    def change(*patterns: Any) -> None:
        urls = ModuleType("urls")
        urls.urlpatterns = patterns  # type: ignore[attr-defined]
        settings.ROOT_URLCONF = urls

    return change


OUR_PAGES = path("accounts/", include("django_verigator.urls"))
ALL_BUT_LOGIN = path("accounts/", include("django_verigator.urls_without_login"))
THEIR_LOGIN = path("plain/", include("django.contrib.auth.urls"))


# --- tokens -----------------------------------------------------------------------------------------------------------


def stand_in(dotted: str, base: type = object) -> type:
    """A class that calls itself as one of a package that is not installed here."""
    module, _, name = dotted.rpartition(".")
    return type(name, (base,), {"__module__": module, "__qualname__": name})


Base = stand_in("rest_framework.authentication.BaseAuthentication")
Session = stand_in("rest_framework.authentication.SessionAuthentication", Base)
BELIEVERS = [
    stand_in("rest_framework.authentication.TokenAuthentication", Base),
    stand_in("rest_framework.authentication.BasicAuthentication", Base),
    stand_in("rest_framework_simplejwt.authentication.JWTAuthentication", Base),
    stand_in("dj_rest_auth.jwt_auth.JWTCookieAuthentication"),
    stand_in("knox.auth.TokenAuthentication", Base),
    stand_in("oauth2_provider.contrib.rest_framework.authentication.OAuth2Authentication", Base),
    stand_in("allauth.headless.contrib.rest_framework.authentication.XSessionTokenAuthentication", Base),
]


def a_site_s_own(base: type) -> type:
    return type("Own", (base,), {"__module__": "shop.api", "__qualname__": "Own"})


def api_view(**arguments: Any) -> Any:
    """A view as Django REST framework makes one."""

    def view(request: Any) -> None: ...

    view.cls = type("Orders", (), {"__module__": "shop.api", "__qualname__": "Orders"} | arguments)  # type: ignore[attr-defined]
    view.initkwargs = {}  # type: ignore[attr-defined]
    return view


@pytest.mark.fault("X05")
@pytest.mark.parametrize("believer", BELIEVERS)
def test_tokens__subclasses_of_what_believes_them_are_warned_of(settings, believer):
    settings.REST_FRAMEWORK = {"DEFAULT_AUTHENTICATION_CLASSES": [Session, a_site_s_own(believer)]}
    assert "shop.api.Own" in checks.check_logins()[0].msg


@pytest.mark.fault("X05")
def test_tokens__classes_by_their_paths_are_looked_into(settings):
    settings.REST_FRAMEWORK = {"DEFAULT_AUTHENTICATION_CLASSES": [f"{__name__}.OwnToken", f"{__name__}.OwnSession"]}
    (message,) = checks.check_logins()
    assert f"{__name__}.OwnToken:" in message.msg
    assert "OwnSession" not in message.msg


class OwnToken(BELIEVERS[0]):  # type: ignore[misc]
    pass


class OwnSession(Session):  # type: ignore[misc,valid-type]
    pass


@pytest.mark.fault("X05")
@pytest.mark.parametrize("believer", BELIEVERS)
def test_tokens__a_single_view_that_believes_them_is_warned_of(at, believer):
    by_argument = api_view()
    by_argument.initkwargs = {"authentication_classes": [believer]}
    for view in (api_view(authentication_classes=[believer]), by_argument):
        at(path("api/", include([path("orders/", view)])))
        assert [message.id for message in checks.check_logins()] == ["verigator.W003"]


@pytest.mark.fault("X05")
@pytest.mark.parametrize(
    "dotted",
    [
        "rest_framework.authtoken.views.ObtainAuthToken",
        "rest_framework_simplejwt.views.TokenObtainPairView",
        "rest_framework_simplejwt.views.TokenObtainSlidingView",
        "oauth2_provider.views.base.TokenView",
    ],
)
def test_tokens__views_that_give_them_for_a_password_are_warned_of_behind_our_decorator_too(at, dotted):
    own = a_site_s_own(stand_in(dotted, View))
    at(path("token/", verified_required(own.as_view())))
    (message,) = checks.check_logins()
    assert "shop.api.Own" in message.msg
    assert "for request.user" in message.hint


@pytest.mark.fault("X05")
def test_tokens__of_dj_rest_auth_are_warned_of_where_it_logs_nobody_in(at, settings):
    at(path("login/", stand_in("dj_rest_auth.views.LoginView", View).as_view()))
    assert checks.check_logins() == []
    settings.REST_AUTH = {"SESSION_LOGIN": False}
    assert "dj_rest_auth.views.LoginView" in checks.check_logins()[0].msg


@pytest.mark.fault("X05")
def test_tokens__views_for_sessions_are_not_warned_of(at):
    at(path("orders/", api_view(authentication_classes=[a_site_s_own(Session)])), OUR_PAGES)
    assert checks.check_logins() == []


# --- a second door ----------------------------------------------------------------------------------------------------


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> Any:
    real = apps.is_installed

    def change(other: str) -> None:
        monkeypatch.setattr(apps, "is_installed", lambda name: name == other or real(name))

    return change


@pytest.mark.fault("X02")
@pytest.mark.parametrize("other", ["allauth.account", "two_factor", "django_otp"])
def test_our_login_page__is_warned_of_beside_another_second_factor(at, installed, settings, other):
    at(OUR_PAGES, THEIR_LOGIN)
    assert ids() == []
    installed(other)
    assert ids() == ["verigator.W010"]
    at(ALL_BUT_LOGIN, THEIR_LOGIN)
    settings.LOGIN_URL = "/plain/login/"
    assert ids() == []


@pytest.mark.fault("X02")
def test_our_login_page__is_no_door_where_theirs_stands_before_it(at, installed, settings):
    installed("allauth.account")
    at(path("accounts/", include("django.contrib.auth.urls")), OUR_PAGES)
    settings.LOGIN_URL = "/accounts/login/"
    assert "verigator.W010" not in ids()


@pytest.mark.fault("X02")
def test_pages_without_login__are_all_the_others_and_lead_through_the_second_step(at, settings, alice, browser):
    at(ALL_BUT_LOGIN, THEIR_LOGIN)
    settings.LOGIN_URL = "/plain/login/"
    with pytest.raises(NoReverseMatch):
        reverse("verigator:login")
    assert browser.get("/accounts/login/").status_code == 404
    assert browser.get("/accounts/verify/")["Location"] == "/plain/login/"
    browser.post("/plain/login/", {"username": "alice", "password": PASSWORD, "next": "/accounts/security/"})
    assert browser.post("/accounts/verify/", {"pin": sent_pin()})["Location"] == "/accounts/security/"
    assert browser.get("/accounts/security/").status_code == 200


def test_login_url__that_leads_nowhere_is_warned_of_without_our_login_page_too(at, settings):
    at(ALL_BUT_LOGIN)
    assert ids() == ["verigator.W002"]


# --- the middleware's place -------------------------------------------------------------------------------------------


class Keeper:
    """Hands views the user as it found it."""

    def __init__(self, get_response: Any) -> None:
        self.get_response = get_response


@pytest.mark.fault("T07")
@pytest.mark.parametrize(
    ("middleware", "expected"),
    [
        (f"{__name__}.Keeper", ["verigator.W009"]),
        ("django.contrib.auth.middleware.PersistentRemoteUserMiddleware", []),
        ("django.contrib.messages.middleware.MessageMiddleware", []),
    ],
)
def test_middleware_before_ours__that_may_keep_the_unguarded_user_is_warned_of(settings, middleware, expected):
    others = [path for path in settings.MIDDLEWARE if path != middleware]
    place = others.index(OURS)
    settings.MIDDLEWARE = [*others[:place], middleware, *others[place:]]
    assert ids() == expected
    settings.MIDDLEWARE = [*others[: place + 1], middleware, *others[place + 1 :]]
    assert "verigator.W009" not in ids()


# --- databases --------------------------------------------------------------------------------------------------------


class Split:
    """Puts the app's tables elsewhere."""

    def db_for_write(self, model: Any, **hints: Any) -> str | None:
        return "elsewhere" if model._meta.app_label == "django_verigator" else None


class Curious:
    """Knows the way within a request alone."""

    def db_for_write(self, model: Any, **hints: Any) -> str:
        raise RuntimeError("no tenant")


@pytest.mark.fault("X19")
@pytest.mark.parametrize(("router", "expected"), [(Split, ["verigator.E011"]), (Curious, [])])
def test_router__that_parts_the_app_from_the_users_is_an_error(settings, router, expected):
    settings.DATABASE_ROUTERS = [router()]
    assert ids() == expected
