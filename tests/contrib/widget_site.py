"""A site with the widget, and what comes back from the widget: by its documented form, with any value changed."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

from django.conf import settings as django_settings
from django.contrib.auth import SESSION_KEY
from django.test import Client
from django.utils import timezone

from django_verigator import testing
from django_verigator.client import widget
from django_verigator.models import Challenge, VerigatorUser
from tests.conftest import PASSWORD

ACCOUNT = {"username": "widget-account", "password": "canary-of-the-widget"}
WIDGET_APP = "django_verigator.contrib.widget"
ENROL, PHONE_PAGE = "/accounts/enrol/", "/accounts/security/phone/"
VERIFY, OPEN = "/accounts/verify/", "/accounts/widget/"
NEW = "+37255500099"
MANY = 1000
FORM = "application/x-www-form-urlencoded"
ROOM = dict.fromkeys(("SENDS_PER_USER_HOUR", "SENDS_PER_PHONE_10_MINUTES", "SENDS_PER_LOGIN"), MANY)


def configure(settings: Any, **limits: int) -> None:
    if WIDGET_APP not in django_settings.INSTALLED_APPS:
        settings.INSTALLED_APPS = [WIDGET_APP, *django_settings.INSTALLED_APPS]
    settings.ROOT_URLCONF = "tests.contrib.widget_urls"
    settings.VERIGATOR_WIDGET = ACCOUNT
    settings.VERIGATOR = {**settings.VERIGATOR, "REQUIRED": "all", "LIMITS": {**ROOM, **limits}}


def login(browser: Client, name: str) -> Any:
    return browser.post("/accounts/login/", {"username": name, "password": PASSWORD})


def let_the_pause_pass() -> None:
    Challenge.objects.update(resend_at=timezone.now() - timedelta(seconds=1))


def enrolling(name: str = "carol", number: str = NEW) -> Client:
    """A browser whose login waits for the PIN on a first number."""
    browser = Client()
    login(browser, name)
    assert browser.post(ENROL, {"phone": number})["Location"] == VERIFY
    let_the_pause_pass()
    return browser


def changing(name: str = "alice", number: str = NEW) -> Client:
    """A browser that is logged in, and whose user confirms another number."""
    browser = Client()
    login(browser, name)
    browser.post(VERIFY, {"pin": testing.last_pin()})
    response = browser.post(PHONE_PAGE, {"phone": number, "password": PASSWORD})
    assert response["Location"] == "/accounts/security/phone/confirm/"
    let_the_pause_pass()
    return browser


def open_widget(browser: Client) -> dict[str, str]:
    """Have the browser sent to the widget; return what it takes along."""
    response = browser.post(OPEN)
    assert response.status_code == 302, response.content.decode()
    assert response["Location"].startswith("https://verify.messente.com/?")
    query = parse_qs(urlsplit(response["Location"]).query, strict_parsing=True)
    return {key: value for key, (value,) in query.items()}


def signed(**values: str) -> dict[str, str]:
    return {**values, "sig": widget.sign(values, ACCOUNT["password"])}


def answer(**changed: str) -> dict[str, str]:
    """What the widget posts after a right PIN, signed after it was changed."""
    return signed(**{"user": ACCOUNT["username"], "version": "1", "status": "VERIFIED", "phone": NEW, **changed})


def come_back(asked: dict[str, str], posted: Any, **more: Any) -> str:
    """Post to where the widget was told to, as another site's page does: without cookies; return where to go next."""
    response = Client(enforce_csrf_checks=True).post(urlsplit(asked["callback_url"]).path, posted, **more)
    assert (response.status_code, response.cookies) == (303, {})
    location = str(response["Location"])
    assert location.startswith("/accounts/widget/confirm/?answer=")
    return location


def finish(browser: Client, asked: dict[str, str], posted: dict[str, str] | str) -> Any:
    """Come back to the site, and be sent on in this browser."""
    body = posted if isinstance(posted, str) else urlencode(posted)
    return browser.get(come_back(asked, body, content_type=FORM))


def is_logged_in(browser: Client) -> bool:
    return SESSION_KEY in browser.session


def phone_of(user: Any) -> str:
    return VerigatorUser.objects.get(user=user).phone_number
