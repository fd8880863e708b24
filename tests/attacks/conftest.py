"""A site with the real backend, a sandbox behind it whose log is the witness, and the oracle after every test."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Iterator
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Group
from django.contrib.sessions.models import Session
from django.core import mail
from django.db import connection
from django.db.models import Model

from django_verigator import signals
from django_verigator.client import http
from django_verigator.models import (
    Challenge,
    Counter,
    PhoneChange,
    RecoveryCode,
    RemoteDeletion,
    TrustedBrowser,
    VerigatorUser,
)
from django_verigator.sandbox import Sandbox
from tests.gateway import Gateway
from tests.site.models import Courier, User

from .actors import PIN_DIGITS, Site, TextSite

LOGGERS = ("", "django", "django.request", "django_verigator", "urllib3", "requests")
each_store = pytest.mark.parametrize("store", ["db", "cache", "signed_cookies"], indirect=True)
"""For rows in which it matters where sessions are kept."""
EMPTIED: tuple[type[Model], ...] = (
    LogEntry,
    Session,
    Challenge,
    PhoneChange,
    Counter,
    RecoveryCode,
    RemoteDeletion,
    TrustedBrowser,
    VerigatorUser,
    Courier,
    User.groups.through,
    User.user_permissions.through,
    User,
    Group,
)


BOTH = ("verigator", "own_pins")
"""A file that says ``PROVIDERS = BOTH`` attacks the site with each: one that checks PINs, one that only sends texts."""


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    asked = metafunc.definition.get_closest_marker("asks_provider")
    if asked is None and "provider" in metafunc.fixturenames:
        metafunc.parametrize("provider", getattr(metafunc.module, "PROVIDERS", BOTH[:1]), indirect=True)


@pytest.fixture
def provider(request: pytest.FixtureRequest) -> str:
    """Who is behind the site: one of BOTH."""
    return str(getattr(request, "param", BOTH[0]))


@pytest.fixture
def transactional_db(django_db_setup: None, django_db_blocker: Any) -> Iterator[None]:
    """No transaction around the test, so that on_commit runs and I5 can be seen. A flush takes as long as a test."""
    with django_db_blocker.unblock():
        try:
            yield
        finally:
            for model in EMPTIED:
                model._base_manager.all()._raw_delete(using="default")
            connection.close()


@pytest.fixture
def store(request: pytest.FixtureRequest, settings: Any) -> str:
    """Where sessions are kept; parametrize it with ``each_store``."""
    kind = getattr(request, "param", "db")
    settings.SESSION_ENGINE = f"django.contrib.sessions.backends.{kind}"
    return str(kind)


@pytest.fixture
def sandbox_options() -> dict[str, Any]:
    """Parametrize it for a provider of another kind."""
    return {}


@pytest.fixture(autouse=True)
def site(
    transactional_db: None,
    store: str,
    provider: str,
    sandbox_options: dict[str, Any],
    settings: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Site]:
    """The site; when the test is over, I1 to I6 must have held."""
    settings.ROOT_URLCONF = "tests.attacks.urls"
    mail.outbox = []
    account = {"username": "attacks", "password": f"credential-{secrets.token_hex(8)}"}
    if provider == "own_pins":
        yield from watched(TextSite(Gateway(), account, settings, monkeypatch), monkeypatch)
        return
    # Its own limits are far off: whatever stops an attack here is the app's.
    rules = {"max_tries": 10_000, "pin_validity": 10**9, "pin_length": PIN_DIGITS, **sandbox_options}
    with Sandbox(**account, **rules) as sandbox:
        yield from watched(Site(sandbox, account, settings, monkeypatch), monkeypatch)


def watched(site: Site, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    """Yield the site, and complain afterwards."""

    def look(method: str, path: str) -> None:
        if connection.in_atomic_block:
            site.oracle.calls_in_transactions.append(f"{method} {path}")

    levels = {name: logging.getLogger(name).level for name in LOGGERS}
    for name in LOGGERS:
        logging.getLogger(name).setLevel(logging.DEBUG)
    logging.getLogger().addHandler(site.oracle.transcript)
    monkeypatch.setattr(http, "before_request", [*http.before_request, look])
    try:
        yield site
        # Read before the site is taken down, reported after it.
        problems = site.oracle.verdict()
    finally:
        logging.getLogger().removeHandler(site.oracle.transcript)
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)
        site.close()
    assert problems == []


@pytest.fixture
def heard() -> Iterator[list[tuple[str, dict[str, Any]]]]:
    """What the signals say, by their names."""
    events: list[tuple[str, dict[str, Any]]] = []
    receivers = []
    for name in ("verified", "verification_failed", "code_sent", "locked", "limit_reached"):

        def receiver(sender: Any, signal: Any, name: str = name, **kwargs: Any) -> None:
            events.append((name, kwargs))

        receivers.append((getattr(signals, name), receiver))
        getattr(signals, name).connect(receiver)
    yield events
    for signal, receiver in receivers:
        signal.disconnect(receiver)


@pytest.fixture
def alice(site: Site) -> Any:
    """Has a phone. The attacker knows her password."""
    return site.user("alice", "+37255510001", email="alice@example.com")


@pytest.fixture
def bob(site: Site) -> Any:
    """The attacker's own account, with a phone."""
    return site.user("bob", "+37255520002")


@pytest.fixture
def carol(site: Site) -> Any:
    """Has no phone, and owes nothing."""
    return site.user("carol")


@pytest.fixture
def staff(site: Site) -> Any:
    return site.user("staff", "+37255530003", is_staff=True, is_superuser=True)


@pytest.fixture
def mallory(site: Site) -> Any:
    """The attacker's browser."""
    return site.browser()
