"""What the sites with other packages (tests/neighbours) have shown, without the packages."""

from __future__ import annotations

import traceback
from functools import partial
from http import HTTPStatus
from typing import Any

import pytest
from django.contrib.auth import get_user_model, login, logout
from django.contrib.auth.models import Group
from django.db import connection
from django.http import HttpResponse
from django.urls import path, reverse
from django.utils.functional import SimpleLazyObject

from django_verigator.backends import backends
from django_verigator.flows import policy
from django_verigator.models import VerigatorUser
from django_verigator.testing import login_verified
from tests.site.urls import DJANGO_S_KEYS
from tests.site.urls import urlpatterns as site_urls

from .conftest import PHONE, give_password, sent_pin

OURS = "django_verigator.middleware.VerigatorMiddleware"


class Devices:
    """Hangs something on every user, also on nobody, as django-otp's middleware does."""

    def __init__(self, get_response: Any) -> None:
        self.get_response = get_response

    def __call__(self, request: Any) -> Any:
        request.user = SimpleLazyObject(partial(self.with_device, request.user))
        return self.get_response(request)

    def with_device(self, user: Any) -> Any:
        user.has_device = False
        return user


def vault(request: Any) -> HttpResponse:
    return HttpResponse(f"user={request.user.pk} {request.user.has_device} {request.user.has_device}")


def log_in_again(request: Any) -> HttpResponse:
    """Asks who is in, and logs the same user in again, as a page does that has asked for something more."""
    login(request, get_user_model().objects.get(pk=request.user.pk), "django.contrib.auth.backends.ModelBackend")
    return HttpResponse("again")


def out_and_in(request: Any) -> HttpResponse:
    """Logs out, keeps what the session held, and logs the same user in."""
    pk = request.user.pk
    kept = {key: value for key, value in request.session.items() if key not in DJANGO_S_KEYS}
    logout(request)
    request.session.update(kept)
    login(request, get_user_model().objects.get(pk=pk), "django.contrib.auth.backends.ModelBackend")
    return HttpResponse("again")


urlpatterns = [
    *site_urls,
    path("vault/", vault),
    path("log-in-again/", log_in_again),
    path("out-and-in/", out_and_in),
]
pytestmark = pytest.mark.urls(__name__)


@pytest.mark.parametrize("offset", [0, 1], ids=["before ours", "behind ours"])
def test_middleware_that_hangs_something_on_each_user__hangs_it_on_nobody_too(alice, browser, settings, offset):
    place = settings.MIDDLEWARE.index(OURS) + offset
    devices = f"{__name__}.Devices"
    settings.MIDDLEWARE = [*settings.MIDDLEWARE[:place], devices, *settings.MIDDLEWARE[place:]]
    browser.force_login(alice)
    assert browser.get("/vault/")["Location"] == reverse("verigator:verify")
    assert browser.get("/vault/").content == b"user=None False False"
    login_verified(browser, alice)
    assert browser.get("/vault/").content.decode() == f"user={alice.pk} False False"


def test_login_of_who_is_in_with_the_proof__keeps_it(alice, browser):
    login_verified(browser, alice)
    assert browser.get("/log-in-again/").content == b"again"
    assert browser.get("/verified/").status_code == HTTPStatus.OK


@pytest.mark.fault("T02")
def test_login_after_a_log_out_in_the_same_request__ends_the_proof(alice, browser):
    login_verified(browser, alice)
    assert browser.get("/out-and-in/")["Location"] == reverse("verigator:verify")
    assert browser.get("/whoami/").content == b"user=None verified=False"


@pytest.mark.fault("X03")
def test_cached_standing__is_not_of_a_copy_in_another_schema(carol, monkeypatch):
    """Tenants are made as copies of one another, keys and passwords included (django-tenants)."""
    policy.evaluate(carol, None)
    assert policy.recent_requirement(carol) is not None
    monkeypatch.setattr(connection, "schema_name", "two", raising=False)
    assert policy.recent_requirement(carol) is None


@pytest.mark.fault("X19")
def test_user_model_that_is_swapped_in_while_running__is_none_of_ours(
    carol, settings, django_capture_on_commit_callbacks
):
    """As Django's own tests do; the tables point to the users there were at the start."""
    VerigatorUser.objects.all().delete()
    settings.AUTH_USER_MODEL = "auth.Group"
    with django_capture_on_commit_callbacks(execute=True):
        Group.objects.create(pk=carol.pk, name="swapped in")
    assert not VerigatorUser.objects.exists()


@pytest.mark.fault("X10")
def test_state_of_the_providers__stands_in_the_page_and_not_in_its_head(admin_client):
    """Skins of the admin leave the subtitle out (django-jazzmin)."""
    page = admin_client.get("/admin/django_verigator/verigatoruser/").content.decode()
    assert "Providers: default: in order" in page.partition('class="verigator-glance"')[2].partition("</section>")[0]


# --- error trackers ---------------------------------------------------------------------------------------------------


def shown_in_frames(error: BaseException) -> str:
    """Return what an error tracker sends of an error: the variables of each frame of ours, by their repr()."""
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    ours = [frame for frame in frames if frame.f_globals["__name__"].startswith("django_verigator.")]
    assert ours
    return "\n".join(repr(value) for frame in ours for value in frame.f_locals.values())


@pytest.fixture
def break_backend(monkeypatch):
    def broken(*args, **kwargs):
        raise ZeroDivisionError

    return lambda name: monkeypatch.setattr(type(backends.default), name, broken)


def frames_of(action) -> str:
    with pytest.raises(ZeroDivisionError) as raised:
        action()
    return shown_in_frames(raised.value)


@pytest.mark.fault("X14")
def test_frames_of_an_error_while_sending__show_no_number(alice, browser, break_backend):
    break_backend("start")
    shown = frames_of(lambda: give_password(browser))
    assert PHONE[1:] not in shown


@pytest.mark.fault("X14")
def test_frames_of_an_error_while_checking__show_no_pin(alice, browser, break_backend):
    give_password(browser)
    break_backend("check")
    shown = frames_of(lambda: browser.post(reverse("verigator:verify"), {"pin": sent_pin()}))
    assert f"'{sent_pin()}'" not in shown
    assert PHONE[1:] not in shown


@pytest.mark.fault("X14")
def test_frames_of_an_error_while_enrolling__show_no_number(carol, browser, settings, break_backend):
    settings.VERIGATOR = {**settings.VERIGATOR, "REQUIRED": "all"}
    give_password(browser, "carol")
    break_backend("register")
    shown = frames_of(lambda: browser.post(reverse("verigator:enrol"), {"phone": "+372 5550 0099"}))
    assert "37255500099" not in shown
