"""Helpers for the tests of sites that use this package.

With ``VERIGATOR["BACKENDS"]`` set to ``django_verigator.backends.locmem.LocMemBackend`` nothing leaves the process:
``outbox`` holds the messages, ``last_pin()`` the PIN of the newest one, ``fail_next()`` makes the provider fail. With
``sandbox()`` the site talks to the sandbox over HTTP instead. Fixtures for pytest are in ``testing.fixtures``.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.conf import settings
from django.test import AsyncClient, Client, override_settings

from ..backends import Circuit, backends, circuit, locmem
from ..backends.locmem import Message, fail_next, outbox
from ..client import Api
from ..constants import METHOD_SMS
from ..flows import policy
from ..flows.session import PROOF_KEY, new_proof
from ..records import links
from ..sandbox import Sandbox

__all__ = ["Message", "fail_next", "last_pin", "login_verified", "outbox", "reset", "sandbox"]

_ACCOUNT: dict[str, Any] = {"username": "test", "password": "test"}


def reset() -> None:
    """Empty the outbox; forget user records and planned faults, and close the circuits of all providers."""
    locmem.reset()
    circuit.reset()
    for alias in backends:
        Circuit(alias).forget()


@contextmanager
def sandbox(**options: Any) -> Iterator[Sandbox]:
    """Run the sandbox in a thread, and have the site use it as its only provider.

    Users created before are registered there at their next login.

    Args:
        options: more OPTIONS of the Verigator backend, ``total_timeout=0.5`` for instance.

    Yields:
        The sandbox: ``last_pin(phone)``, ``messages(phone)``, ``add_fault(...)``, ``calls()``, ``stop()``.
    """
    with Sandbox(**_ACCOUNT) as running:
        api = Api(**_ACCOUNT, endpoint=running.url)
        service = api.services.create("test.example", "Test").id
        api.close()
        entry = {
            "BACKEND": "django_verigator.backends.verigator.VerigatorBackend",
            "OPTIONS": {**_ACCOUNT, "endpoint": running.url, "service_id": service, **options},
        }
        with override_settings(VERIGATOR={**settings.VERIGATOR, "BACKENDS": {"default": entry}, "STAND_IN": True}):
            yield running


def login_verified(client: Client | AsyncClient, user: Any, backend: str | None = None) -> None:
    """Log ``user`` in as ``client.force_login`` does, with a proof of the second factor.

    ``force_login`` alone ends at the PIN page, as every login of a user who must use two-factor authentication does.

    Args:
        client: django.test.Client or AsyncClient.
        backend: dotted path of the authentication backend, where the site has several.
    """
    client.force_login(user, backend)
    link = links.ensure(user)
    policy.evaluate(user, link)  # the cache may hold another test's user with this primary key
    session = client.session
    session[PROOF_KEY] = new_proof(user, link.trust_version if link else "", METHOD_SMS)
    session.save()
    # A session kept in the cookie has a new key now.
    client.cookies[settings.SESSION_COOKIE_NAME] = session.session_key or ""


def last_pin(to: str | None = None) -> str:
    """Return the PIN that the locmem backend sent last.

    Args:
        to: E.164; only messages to this number.

    Raises:
        AssertionError: nothing was sent.
    """
    sent = [message for message in locmem.outbox if to in (None, message.to)]
    if not sent:
        raise AssertionError("No PIN was sent.")
    return sent[-1].pin
