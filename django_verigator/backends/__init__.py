"""The providers that a site has configured, by alias: ``backends["default"]``; ``backends.default`` is the first one.

``__all__`` lists what other code may use.
"""

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
from ..client.secrets import hide_values
from .base import BaseBackend, Checked, DeliveryReport, DeliveryStatus, Recipient, RemoteUser, Started
from .circuit import CallOrigin, Circuit, CircuitState, protected_call

__all__ = [
    "BaseBackend",
    "CallOrigin",
    "Checked",
    "Circuit",
    "CircuitState",
    "DeliveryReport",
    "DeliveryStatus",
    "Recipient",
    "RemoteUser",
    "Started",
    "backends",
    "protected_call",
]

logger = logging.getLogger("django_verigator")


class Backends:
    """One instance for each alias in a process; threads share it."""

    def __init__(self) -> None:
        self._built: dict[str, BaseBackend] = {}

    def __getitem__(self, alias: str) -> BaseBackend:
        """Return the backend of this alias.

        Raises:
            KeyError: the settings do not list the alias, or no longer.
            ImproperlyConfigured: the backend cannot be built, or is a stand-in where none is allowed.
        """
        backend = self._built.get(alias)
        if backend is None:
            backend = self._built[alias] = build(alias)
        # Checked at each use, since a WSGI server runs no system checks.
        if backend.is_stand_in and not stand_ins_allowed():
            raise ImproperlyConfigured(
                f'VERIGATOR["BACKENDS"]["{alias}"] is a stand-in for tests and development, and DEBUG is off.'
            )
        return backend

    def __iter__(self) -> Iterator[str]:
        return iter(conf.current().BACKENDS)

    @property
    def default(self) -> BaseBackend:
        """Return the provider that starts new challenges: the first entry."""
        return self[next(iter(self))]

    def usable(self) -> list[BaseBackend]:
        """Return the backends in the order of the settings; one that cannot be built is logged and left out.

        Raises:
            ImproperlyConfigured: no backend can be built.
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
        """Have every backend built anew at its next use."""
        self._built.clear()


def build(alias: str) -> BaseBackend:
    """Build the backend of an alias from the settings.

    Raises:
        KeyError: the settings do not list the alias.
        ImproperlyConfigured: the backend cannot be built.
    """
    entry = conf.current().BACKENDS[alias]
    cls = conf.resolve(entry["BACKEND"])
    options = entry.get("OPTIONS", {})
    try:
        accepted = inspect.signature(cls).parameters
        if not any(parameter.kind is parameter.VAR_KEYWORD for parameter in accepted.values()):
            for _, problem in conf.unknown(options, accepted, f'VERIGATOR["BACKENDS"]["{alias}"]["OPTIONS"]'):
                raise ImproperlyConfigured(problem)
        backend = cls(alias, **options)
    except (TypeError, ValueError) as error:
        raise ImproperlyConfigured(f'VERIGATOR["BACKENDS"]["{alias}"]: {error}') from None
    if not isinstance(backend, BaseBackend):
        raise ImproperlyConfigured(f'VERIGATOR["BACKENDS"]["{alias}"]: {entry["BACKEND"]} is not a BaseBackend.')
    return backend


def stand_ins_allowed() -> bool:
    """Return whether backends that show PINs to developers may be used: with DEBUG on, or VERIGATOR["STAND_IN"]."""
    return bool(django_settings.DEBUG or conf.current().STAND_IN)


backends = Backends()


def hide_proxies() -> None:
    """Mask OPTIONS["proxies"] in the settings, as debug pages and mails of errors mask "password" by themselves."""
    with suppress(Exception):  # The system checks report settings of a wrong shape.
        for entry in getattr(django_settings, conf.NAME)["BACKENDS"].values():
            if entry.get("OPTIONS", {}).get("proxies"):
                entry["OPTIONS"]["proxies"] = hide_values(entry["OPTIONS"]["proxies"])


@receiver(setting_changed)
def _reset_on_change(*, setting: str, **kwargs: object) -> None:
    if setting == conf.NAME:
        hide_proxies()
        backends.reset()
