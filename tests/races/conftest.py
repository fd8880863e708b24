"""A provider that takes 0.2 seconds for each answer, and browsers that do not wait for one another."""

from __future__ import annotations

import copy
import threading
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.contrib.sessions.models import Session
from django.db import connection, connections
from django.test import Client
from django.utils import timezone

from django_verigator import signals
from django_verigator.backends import texts
from django_verigator.client import Api, http
from django_verigator.exceptions import ConnectionFailedError
from django_verigator.models import Challenge, PhoneChange, RemoteDeletion, VerigatorUser
from django_verigator.sandbox import Sandbox
from tests.gateway import BACKEND as GATEWAY_BACKEND
from tests.gateway import Gateway, SharedGateway

LATENCY = 0.2
ACCOUNT = {"username": "races", "password": "a password"}
PASSWORD = "correct horse"
LOGIN, VERIFY, RESEND, ENROL = "/accounts/login/", "/accounts/verify/", "/accounts/verify/resend/", "/accounts/enrol/"
MANY = 1000


class Provider:
    """The sandbox behind the site; its call log is the witness of what really went out."""

    pins_are_ours = False

    def __init__(self, sandbox: Any, settings: Any) -> None:
        self.sandbox = sandbox
        self._settings = settings
        self._sign_up()
        self.configure()

    def _sign_up(self) -> None:
        api = Api(**ACCOUNT, endpoint=self.sandbox.url)
        self.service_id = api.services.create("localhost", "races").id
        api.close()

    def _entry(self) -> dict[str, Any]:
        options = {**ACCOUNT, "endpoint": self.sandbox.url, "service_id": self.service_id}
        return {"BACKEND": "django_verigator.backends.verigator.VerigatorBackend", "OPTIONS": options}

    def configure(self, *, limits: dict[str, int] | None = None, **more: Any) -> None:
        self._settings.VERIGATOR = {
            "BACKENDS": {"default": self._entry()},
            "STAND_IN": True,
            # A slow machine must not look like a slow provider.
            "LIMITS": {"PROVIDER_CALLS_AT_ONCE": MANY, "CIRCUIT_FAILURES": MANY, **(limits or {})},
            **more,
        }

    def share(self, folder: Path) -> None:
        """Let other processes ask it too, as they can a sandbox at once."""

    def settings_as_json(self) -> Any:
        """VERIGATOR for another process."""
        return self._settings.VERIGATOR

    def slow_down(self) -> None:
        self.sandbox.add_fault("latency", seconds=LATENCY)

    def fail_to_send(self) -> None:
        self.sandbox.add_fault("body", operation="auth.start", status=500, body={"message": "no"})

    def always_says_yes(self) -> None:
        self.sandbox.add_fault("body", operation="auth.verify", status=200, body={"verified": True})

    def count(self, operation: str) -> int:
        return len(self.sandbox.calls(operation=operation))

    @property
    def tries(self) -> int:
        return self.count("auth.verify")

    @property
    def sends(self) -> int:
        return self.count("auth.start")

    @property
    def records(self) -> dict[str, str]:
        """The UserIDs the provider has, with their id_in_service."""
        api = Api(**ACCOUNT, endpoint=self.sandbox.url)
        found = {user.id: user.username for user in api.users.get_all(self.service_id)}
        api.close()
        return found

    def pin(self, phone: str) -> str:
        return self.sandbox.last_pin(phone)

    def wrong_pins(self, phone: str) -> list[str]:
        """Twenty PINs, all different, none of them right for any code sent to this number so far."""
        right = {message["pin"] for message in self.sandbox.messages(phone)}
        return [pin for pin in (f"{number:04}" for number in range(1, MANY)) if pin not in right][:20]


class TextProvider(Provider):
    """A gateway that only sends texts: what it was given to send, and what the backend has checked, is the witness."""

    pins_are_ours = True
    _same_pin: pytest.MonkeyPatch

    def _sign_up(self) -> None:
        """There is no account."""

    def _entry(self) -> dict[str, Any]:
        return {"BACKEND": GATEWAY_BACKEND, "OPTIONS": {"gateway": self.sandbox}}

    def share(self, folder: Path) -> None:
        self.sandbox = SharedGateway(str(folder / "gateway"))
        self.configure()

    def settings_as_json(self) -> Any:
        entry = {"BACKEND": GATEWAY_BACKEND, "OPTIONS": {"gateway": self.sandbox.options}}
        return {**self._settings.VERIGATOR, "BACKENDS": {"default": entry}}

    def slow_down(self) -> None:
        self.sandbox.latency = LATENCY

    def fail_to_send(self) -> None:
        def fail(text: str) -> None:
            raise ConnectionFailedError("no connection", sent=False)

        self.sandbox.behave = fail

    def always_says_yes(self) -> None:
        """The check says yes to a right PIN each time, whoever asks; and each code has the same one, by chance."""
        self._same_pin.setattr(texts.secrets, "randbelow", lambda most: 2718)


BOTH = ("verigator", "own_pins")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run the tests of a file that says ``PROVIDERS = BOTH`` with each of them."""
    asked = metafunc.definition.get_closest_marker("asks_provider")
    if asked is None and "provider" in metafunc.fixturenames and hasattr(metafunc.module, "PROVIDERS"):
        metafunc.parametrize("provider", metafunc.module.PROVIDERS, indirect=True)


@pytest.fixture
def provider(
    request: pytest.FixtureRequest, transactional_db: None, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Provider]:
    """Who is behind the site; the real provider's stand-in, if a file says nothing."""
    if getattr(request, "param", "") == "own_pins":
        gateway = TextProvider(Gateway(), settings)
        gateway._same_pin = monkeypatch
        yield gateway
        return
    # It would take a thousand tries itself: whatever stops them is ours.
    with Sandbox(**ACCOUNT, max_tries=MANY) as sandbox:
        yield Provider(sandbox, settings)


@pytest.fixture(autouse=True)
def no_transaction_during_a_call() -> Iterator[None]:
    """I5, in every test here."""
    seen: list[tuple[str, bool]] = []

    def look(method: str, path: str) -> None:
        seen.append((method, connection.in_atomic_block))

    http.before_request.append(look)
    yield
    http.before_request.remove(look)
    assert [method for method, in_transaction in seen if in_transaction] == []


@pytest.fixture(params=[False, True], ids=["autocommit", "atomic_requests"])
def atomic_requests(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    monkeypatch.setitem(connections.settings["default"], "ATOMIC_REQUESTS", request.param)
    return bool(request.param)


@pytest.fixture
def proofs() -> Iterator[list[Any]]:
    """The users of each ``verified`` signal."""
    heard: list[Any] = []
    lock = threading.Lock()

    def hear(user: Any, **kwargs: Any) -> None:
        with lock:
            heard.append(user.pk)

    signals.verified.connect(hear, weak=False)
    yield heard
    signals.verified.disconnect(hear)


def phone_number(number: int = 0) -> str:
    return f"+3725550{number:04}"


def make_user(name: str = "alice", number: str = phone_number()) -> Any:
    return get_user_model().objects.create_user(name, password=PASSWORD, phone_number=number)


def give_password(name: str = "alice", browser: Client | None = None) -> Client:
    browser = browser or Client()
    response = browser.post(LOGIN, {"username": name, "password": PASSWORD})
    assert response.status_code == 302
    return browser


def copies(browser: Client, how_many: int) -> list[Client]:
    """Browsers that hold the same cookies."""
    made = [Client() for _ in range(how_many)]
    for each in made:
        each.cookies = copy.deepcopy(browser.cookies)
    return made


def post_pin(browser: Client, pin: str) -> Any:
    return browser.post(VERIFY, {"pin": pin})


def logged_in() -> list[str]:
    """Whom the sessions let act: the users' primary keys."""
    sessions = [session.get_decoded() for session in Session.objects.all()]
    return [data["_auth_user_id"] for data in sessions if "_auth_user_id" in data]


def let_the_pause_pass() -> None:
    Challenge.objects.update(resend_at=timezone.now() - timedelta(seconds=1))


def link_of(user: Any) -> VerigatorUser:
    return VerigatorUser.objects.get(user_id=user.pk)


def everything_is_accounted_for(provider: Provider) -> None:
    """Each record at the provider is in force, on its way, or noted for deletion."""
    known = {
        name
        for model in (VerigatorUser, PhoneChange, RemoteDeletion)
        for name in model.objects.values_list("id_in_service", flat=True)
    }
    assert set(provider.records.values()) <= known
