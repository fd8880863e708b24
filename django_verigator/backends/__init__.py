"""The providers a site has configured, by alias: ``backends["default"]``; ``backends.default`` is the first one."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Iterator
from contextlib import suppress

from django.conf import settings as django_settings
from django.core.exceptions import ImproperlyConfigured
from django.core.signals import setting_changed
from django.dispatch import receiver

from .. import conf
from ..client.masked import hide_values
from .base import BaseBackend, Checked, Recipient, RemoteUser, Started
from .breaker import Cause, Circuit, CircuitState, asking

__all__ = [
    "BaseBackend",
    "Cause",
    "Checked",
    "Circuit",
    "CircuitState",
    "Recipient",
    "RemoteUser",
    "Started",
    "asking",
    "backends",
]

logger = logging.getLogger("django_verigator")


class Backends:
    """One instance an alias and process. A backend is safe to use from several threads."""

    def __init__(self) -> None:
        self._built: dict[str, BaseBackend] = {}

    def __getitem__(self, alias: str) -> BaseBackend:
        """Return the backend of this alias.

        Raises:
            KeyError: if the settings do not list the alias (any more).
            ImproperlyConfigured: if it cannot be built, or is a stand-in where none is allowed.
        """
        backend = self._built.get(alias)
        if backend is None:
            backend = self._built[alias] = build(alias)
        # Asked for each time, since a WSGI server runs no system checks.
        if backend.is_stand_in and not stand_ins_allowed():
            raise ImproperlyConfigured(
                f'VERIGATOR["BACKENDS"]["{alias}"] is a stand-in for tests and development, and DEBUG is off.'
            )
        return backend

    def __iter__(self) -> Iterator[str]:
        return iter(conf.current().BACKENDS)

    @property
    def default(self) -> BaseBackend:
        """The provider that starts new challenges: the first entry."""
        return self[next(iter(self))]

    def usable(self) -> list[BaseBackend]:
        """Return the backends in the order of the settings, without those that cannot be built: logged, not raised.

        Raises:
            ImproperlyConfigured: if none can be.
        """
        found: list[BaseBackend] = []
        problem: ImproperlyConfigured | None = None
        for alias in self:
            try:
                found.append(self[alias])
            except ImproperlyConfigured as error:
                problem = problem or error
        if problem is not None:
            if not found:
                raise problem
            logger.error("backend_failed error=%s", problem)
        return found

    def reset(self) -> None:
        self._built.clear()


def build(alias: str) -> BaseBackend:
    """Build the backend of an alias from the settings (KeyError, ImproperlyConfigured as Backends says)."""
    entry = conf.current().BACKENDS[alias]
    cls = conf.resolve(entry["BACKEND"])
    options = entry.get("OPTIONS", {})
    try:
        taken = inspect.signature(cls).parameters
        if not any(parameter.kind is parameter.VAR_KEYWORD for parameter in taken.values()):
            for _, problem in conf.unknown(options, taken, f'VERIGATOR["BACKENDS"]["{alias}"]["OPTIONS"]'):
                raise ImproperlyConfigured(problem)
        backend = cls(alias, **options)
    except (TypeError, ValueError) as error:
        raise ImproperlyConfigured(f'VERIGATOR["BACKENDS"]["{alias}"]: {error}') from None
    if not isinstance(backend, BaseBackend):
        raise ImproperlyConfigured(f'VERIGATOR["BACKENDS"]["{alias}"]: {entry["BACKEND"]} is not a BaseBackend.')
    return backend


def stand_ins_allowed() -> bool:
    return bool(django_settings.DEBUG or conf.current().STAND_IN)


backends = Backends()


def hide_proxies() -> None:
    """Have debug pages and mails of errors mask OPTIONS["proxies"], as they do "password"."""
    with suppress(Exception):  # settings of a wrong shape are for the checks
        for entry in getattr(django_settings, conf.NAME)["BACKENDS"].values():
            if entry.get("OPTIONS", {}).get("proxies"):
                entry["OPTIONS"]["proxies"] = hide_values(entry["OPTIONS"]["proxies"])


@receiver(setting_changed)
def _forget(*, setting: str, **kwargs: object) -> None:
    if setting == conf.NAME:
        hide_proxies()
        backends.reset()
