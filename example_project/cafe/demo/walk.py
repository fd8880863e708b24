"""One complete login over HTTP, as a browser does it; each step is looked at from outside and told in plain words."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from http import HTTPStatus

import requests

from django_verigator.exceptions import VerigatorError
from django_verigator.sandbox import Sandbox

from ..models import User
from .people import PASSWORD
from .provider import api, service_id

PROTECTED = "/orders/"
CSRF_TOKEN = re.compile(r'name="csrfmiddlewaretoken" value="([^"]+)"')
ALERT = re.compile(r'role="alert">([^<]+)<')


class StepFailedError(Exception):
    """A step of the walk did not go as it should; the message says which, and what was seen instead."""


class Visitor:
    """What a login needs of a browser: cookies, redirects, and the form token of the page that is open."""

    def __init__(self, site: str) -> None:
        self._site = site
        self._session = requests.Session()
        self._session.trust_env = False  # no proxy on the way to this machine
        self.page = requests.Response()

    def open(self, path: str) -> None:
        self.page = self._session.get(self._site + path, timeout=30)

    def send(self, path: str, **fields: str) -> None:
        token = CSRF_TOKEN.search(self.page.text)
        form = {"csrfmiddlewaretoken": token[1] if token else "", **fields}
        self.page = self._session.post(self._site + path, data=form, timeout=30)

    @property
    def path(self) -> str:
        return self.page.url.removeprefix(self._site).partition("?")[0]

    @property
    def alert(self) -> str:
        found = ALERT.search(self.page.text)
        return html.unescape(found[1]).strip() if found else ""

    def sees(self, path: str, text: str = "") -> bool:
        return self.page.status_code == HTTPStatus.OK and self.path == path and text in self.page.text

    def is_kept_out(self) -> bool:
        """Whether the protected page sends this browser to the login page."""
        self.open(PROTECTED)
        return self.sees("/accounts/login/")

    def expect(self, holds: bool, step: str) -> None:
        if not holds:
            said = f', which says: "{self.alert}"' if self.alert else ""
            raise StepFailedError(f"{step}: the site showed {self.path} ({self.page.status_code}){said}")


def registration_steps(sandbox: Sandbox, user: User) -> Iterator[str]:
    """Look for ``user`` at a provider that keeps records of users.

    Raises:
        StepFailedError: there is none.
    """
    link = user.verigator
    link.refresh_from_db()
    if not link.verigator_id:
        raise StepFailedError(f"registered: {user.username} is not ({link.state}, last error: {link.last_error})")
    try:
        known_as = api(sandbox).users.get(service_id(sandbox), link.verigator_id).username
    except VerigatorError as error:
        raise StepFailedError(f"registered: the provider does not know {user.username} ({error})") from None
    if known_as != link.id_in_service:
        raise StepFailedError(f"registered: the provider knows {user.username} as {known_as}")
    yield f"{user.username} registered as {link.verigator_id}"


def steps(site: str, sandbox: Sandbox, user: User) -> Iterator[str]:
    """Log ``user`` in and out again; yield a sentence for each step that went as it should.

    Raises:
        StepFailedError: at the first step that did not.
    """
    visitor = Visitor(site)
    visitor.expect(visitor.is_kept_out(), "the protected page is closed")
    visitor.send(f"/accounts/login/?next={PROTECTED}", username=user.username, password=PASSWORD, next=PROTECTED)
    visitor.expect(visitor.sees("/accounts/verify/", f"<b>{user.phone_number[-2:]}</b>"), "password accepted")
    visitor.expect(visitor.is_kept_out(), "the password alone opens nothing")
    yield "password accepted: a PIN is asked for, and the protected page stays closed"

    messages = sandbox.messages(user.phone_number)
    if not messages or messages[-1]["user_id"] != (user.verigator.verigator_id or ""):
        raise StepFailedError(f"SMS: none came to {user.phone_number}")
    pin = messages[-1]["pin"]
    yield f'SMS says: "{messages[-1]["text"]}" (to {user.phone_number})'

    wrong = f"{(int(pin) + 1) % 10 ** len(pin):0{len(pin)}}"
    visitor.open("/accounts/verify/")
    visitor.send("/accounts/verify/", pin=wrong)
    visitor.expect(visitor.sees("/accounts/verify/") and bool(visitor.alert), f"wrong PIN {wrong} refused")
    refusal = visitor.alert
    visitor.expect(visitor.is_kept_out(), f"wrong PIN {wrong} opens nothing")
    yield f'wrong PIN refused: {wrong}, "{refusal}"'

    visitor.open("/accounts/verify/")
    visitor.send("/accounts/verify/", pin=pin)
    visitor.expect(visitor.sees(PROTECTED), f"right PIN {pin} accepted")
    yield f"right PIN accepted: {pin}"

    visitor.open(PROTECTED)
    visitor.expect(visitor.sees(PROTECTED, f"<b>{user.username}</b>"), "protected page open")
    yield f"protected page open: {PROTECTED}"

    visitor.send("/accounts/logout/")
    visitor.expect(visitor.is_kept_out(), "logged out")
    yield "logged out: the protected page is closed again"
