"""The site under attack and the browsers that come to it."""

from __future__ import annotations

import copy
import re
import secrets
import time
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth import SESSION_KEY, get_user_model
from django.core.cache import cache
from django.core.management import call_command
from django.test import Client
from django.utils import timezone

from django_verigator.backends import backends, texts
from django_verigator.backends.verigator import VerigatorBackend
from django_verigator.client import Api
from django_verigator.exceptions import ConnectionFailedError
from django_verigator.models import VerigatorUser
from tests.deadlines import Stopwatch
from tests.gateway import BACKEND as GATEWAY_BACKEND

from .oracle import Oracle, Person, session_of

HOME = "/private/"
LOGIN, PIN, RESEND = "/accounts/login/", "/accounts/verify/", "/accounts/verify/resend/"
CANCEL, RECOVERY, ENROL = "/accounts/verify/cancel/", "/accounts/verify/recovery/", "/accounts/enrol/"
SECURITY, PHONE, CONFIRM = "/accounts/security/", "/accounts/security/phone/", "/accounts/security/phone/confirm/"
CODES, BROWSERS = "/accounts/security/recovery-codes/", "/accounts/security/browsers/"
STEP_2 = (PIN, RESEND, CANCEL, RECOVERY)
ACCOUNT = (SECURITY, PHONE, CONFIRM, CODES, BROWSERS)
PENDING_COOKIE = "verigator_token_sessionid"
PENDING = "verigator_token_sessionid"
"""The cookie of a login that waits."""
MODEL_BACKEND = "django.contrib.auth.backends.ModelBackend"
DEADLINE = 3.0
"""Seconds for all calls of one request to the provider: what the site is configured with here."""
PIN_DIGITS = 12
"""So long that a PIN found anywhere is no coincidence; the hard stop is left at that of short PINs."""

_real_now, _real_time = timezone.now, time.time


class Site:
    """The test site with the real backend, the sandbox behind it, and its users."""

    pins_are_ours = False
    """The provider only sends texts, and is not asked whether a PIN is right."""

    def __init__(self, sandbox: Any, account: dict[str, str], settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        self.sandbox = sandbox
        self.settings = settings
        self.account = account
        self.service_id = self._sign_up()
        credential = (account["username"], account["password"])
        self.oracle = Oracle(sandbox, self.service_id, credential=credential, deadline=DEADLINE)
        self._offset = 0.0
        self._monkeypatch = monkeypatch
        self._keys: dict[str, Any] = {}
        self.configure()
        sandbox.clear_calls()

    def _sign_up(self) -> str:
        self.api = Api(**self.account, endpoint=self.sandbox.url)
        return self.api.services.create("localhost", "attacks").id

    # --- its settings and its time ------------------------------------------------------------------------------------

    def configure(self, **keys: Any) -> None:
        """Set keys of VERIGATOR on top of those set before."""
        self._keys |= keys
        self.oracle.limits = dict(self._keys.get("LIMITS", {}))
        self._close_connections()
        self.settings.VERIGATOR = {
            "BACKENDS": {"default": self._entry()},
            "PHONE": "phone_number",
            "STAND_IN": True,
            **self._keys,
        }

    def _entry(self) -> dict[str, Any]:
        options = {
            **self.account,
            "endpoint": self.sandbox.url,
            "service_id": self.service_id,
            "total_timeout": DEADLINE,
        }
        return {"BACKEND": "django_verigator.backends.verigator.VerigatorBackend", "OPTIONS": options}

    def _close_connections(self) -> None:
        for backend in backends._built.values():
            if isinstance(backend, VerigatorBackend):
                backend.api.close()

    def close(self) -> None:
        self._close_connections()
        self.api.close()

    def wait(self, seconds: float) -> None:
        """Let time pass, for the site and for its provider."""
        self._offset += seconds
        self.sandbox.advance(seconds)
        self._monkeypatch.setattr(timezone, "now", lambda: _real_now() + timedelta(seconds=self._offset))
        self._monkeypatch.setattr(time, "time", lambda: _real_time() + self._offset)

    def provider_says(self, body: Any = None, *, operation: str = "auth.verify", **order: Any) -> None:
        """Have the provider answer this, whatever its own rules say."""
        self.sandbox.add_fault("body", operation=operation, body={"verified": True} if body is None else body, **order)

    def lie(self) -> None:
        """The provider says yes to every PIN: what is refused now, the app refuses."""
        self.provider_says(status=200)
        self.oracle.provider_lies = True

    def slow_down(self, seconds: float) -> None:
        self.sandbox.add_fault("latency", seconds=seconds)

    def break_down(self) -> None:
        self.sandbox.add_fault("reset")

    def sync(self) -> None:
        self.oracle.learn()
        call_command("verigator_sync", verbosity=0)

    # --- its users ----------------------------------------------------------------------------------------------------

    def room(self, **limits: int) -> None:
        """Lift the caps on sends, where they are not what is attacked; and set these."""
        self.configure(LIMITS={"SENDS_PER_PHONE_10_MINUTES": 1000, "SENDS_PER_USER_HOUR": 1000, **limits})

    def user(self, name: str, phone: str = "", *, owes: bool | None = None, **fields: Any) -> Any:
        """Make a user; the oracle watches over everyone who has a phone, or of whom ``owes`` says so."""
        password = f"{name}'s horse {secrets.token_hex(6)}"
        user = get_user_model().objects.create_user(name, password=password, phone_number=phone, **fields)
        owes = bool(phone) if owes is None else owes
        self.oracle.people[name] = Person(name, str(user.pk), password, {phone} if phone else set(), owes)
        return user

    def person(self, user: Any) -> Person:
        return self.oracle.people[user.get_username()]

    def password(self, user: Any) -> str:
        return self.person(user).password

    def owns(self, user: Any, phone: str) -> None:
        """From now on this phone is the user's too."""
        self.person(user).phones.add(phone)

    def phone(self, user: Any) -> str:
        return min(self.person(user).phones)

    def link(self, user: Any) -> VerigatorUser:
        return VerigatorUser.objects.get(user_id=user.pk)

    def pin(self, user: Any) -> str:
        """The PIN that came last to the user's (first) phone."""
        return self.sandbox.last_pin(self.phone(user))

    def pin_at(self, phone: str) -> str:
        return self.sandbox.last_pin(phone)

    def wrong(self, number: int = 0) -> str:
        """A PIN that was sent to nobody."""
        sent = {message["pin"] for message in self.sandbox.messages()}
        return next(pin for pin in (f"{place:0{PIN_DIGITS}}" for place in range(1 + number, 10**6)) if pin not in sent)

    # --- what came to the provider ------------------------------------------------------------------------------------

    def sends(self, user: Any = None) -> int:
        return self._count("auth.start", user)

    def tries(self, user: Any = None) -> int:
        return self._count("auth.verify", user)

    def _count(self, operation: str, user: Any) -> int:
        if user is None:
            return len(self.sandbox.calls(operation=operation))
        return len(self.oracle.calls_for(user.get_username(), operation))

    @property
    def calls(self) -> list[str]:
        return [f"{call['method']} {call['path']}" for call in self.sandbox.calls()]

    # --- its browsers -------------------------------------------------------------------------------------------------

    def browser(self, **defaults: Any) -> Browser:
        return Browser(self, **defaults)

    def logged_in(self, user: Any, **extra: Any) -> Browser:
        """A browser in which the user has done both steps."""
        browser = self.browser()
        browser.give_password(user)
        response = browser.give_pin(self.pin(user), **extra)
        assert response.status_code == 302, response.content.decode()
        assert browser.session_user == str(user.pk)
        self._note_trust(user, browser)
        return browser

    def _note_trust(self, user: Any, browser: Browser) -> None:
        self.person(user).browsers |= {morsel.value for name, morsel in browser.cookies.items() if "browser" in name}

    def pending(self, user: Any, **extra: Any) -> Browser:
        """A browser in which the user's password was right and the PIN is asked for."""
        browser = self.browser(**extra)
        assert browser.give_password(user)["Location"] == PIN
        return browser

    def old_session(self, user: Any) -> Browser:
        """A browser that was logged in before anybody asked for a second step."""
        browser = self.browser()
        browser.force_login(user, MODEL_BACKEND)
        return browser

    def codes(self, user: Any, browser: Browser) -> list[str]:
        """Have a browser whose proof is fresh make the user's recovery codes."""
        response = browser.post(CODES, {"password": self.password(user)})
        codes = re.findall(r"<code>([0-9A-Z-]+)</code>", response.content.decode())
        self.person(user).codes |= set(codes)
        self.oracle.excuse(response, *codes)
        return codes

    def clear_caches(self) -> None:
        cache.clear()
        backends.reset()


class TextSite(Site):
    """The same site with a gateway that only sends texts: the PINs are its own, and nobody is asked about them."""

    pins_are_ours = True

    def _sign_up(self) -> str:
        # A text tells a phone, and no user. Of several users with one phone it is the newest.
        self.sandbox.owners = lambda: {
            phone: person.name for person in self.oracle.people.values() for phone in person.phones
        }
        return "gateway"

    def _entry(self) -> dict[str, Any]:
        options = {"gateway": self.sandbox, "pin_length": PIN_DIGITS, "total_timeout": DEADLINE}
        return {"BACKEND": GATEWAY_BACKEND, "OPTIONS": options}

    def close(self) -> None:
        """There is no connection."""

    def lie(self) -> None:
        """From here on each code has the same PIN, by a chance of one in 10**12: the check says yes to an old one."""
        self._monkeypatch.setattr(texts.secrets, "randbelow", lambda most: 271_828_182_845)

    def slow_down(self, seconds: float) -> None:
        self.sandbox.latency = seconds

    def break_down(self) -> None:
        def refuse(text: str) -> None:
            raise ConnectionFailedError("no connection", sent=False)

        self.sandbox.behave = refuse


class Browser(Client):
    """A browser whose every answer the oracle sees. A view that raises is a 500, as it is for a visitor."""

    def __init__(self, site: Site, *, csrf: bool = False, **defaults: Any) -> None:
        super().__init__(enforce_csrf_checks=csrf, raise_request_exception=False, **defaults)
        self.site = site
        self._posted: Any = None

    def request(self, **request: Any) -> Any:
        what = f"{request.get('REQUEST_METHOD', 'GET')} {str(request.get('PATH_INFO', ''))[:100]}"
        posted, self._posted = self._posted, None
        with Stopwatch() as watch:
            response = super().request(**request)
        self.site.oracle.answered(self, what, posted, response, watch.seconds)
        return response

    def post(self, path: str, data: Any = None, *args: Any, **kwargs: Any) -> Any:
        self._posted = data
        return super().post(path, data, *args, **kwargs)

    # --- the steps ----------------------------------------------------------------------------------------------------

    def give_password(self, user: Any, password: str | None = None, **extra: Any) -> Any:
        name = user if isinstance(user, str) else user.get_username()
        return self.post(LOGIN, {"username": name, "password": password or self.site.password(user), **extra})

    def give_pin(self, pin: Any, **extra: Any) -> Any:
        return self.post(PIN, {"pin": pin, **extra})

    def give_code(self, code: str) -> Any:
        return self.post(RECOVERY, {"code": code})

    def resend(self, **data: Any) -> Any:
        return self.post(RESEND, data)

    # --- what came of it ----------------------------------------------------------------------------------------------

    @property
    def session_user(self) -> str | None:
        """Whom the session names, whether or not the guard would let it act."""
        return session_of(self).get(SESSION_KEY)

    @property
    def acts_as(self) -> str:
        """Whom a page of the site takes this browser for: a primary key, or "None"."""
        response = self.get("/whoami/")
        if response.status_code == 302:
            return "None"
        return re.match(r"user=(\S+)", response.content.decode())[1]

    @property
    def page(self) -> str:
        """The PIN page as it stands."""
        return self.get(PIN).content.decode()

    def is_nobody(self) -> bool:
        return self.session_user is None and self.acts_as == "None"

    def copy(self) -> Browser:
        """Another browser with the same cookies."""
        twin = Browser(self.site)
        twin.cookies = copy.deepcopy(self.cookies)
        return twin
