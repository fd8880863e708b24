"""The setting VERIGATOR: declared once, typed, read live (``override_settings`` works).

All code reads it the same way: ``conf.current().METHOD``.
A value that is missing, misspelt or of the wrong kind raises ImproperlyConfigured at its first use, since a misspelt
REQUIRED must not mean "nobody"; the system checks list all of it earlier (``problems``).
"""

from __future__ import annotations

import difflib
import functools
from collections.abc import Callable, Iterable, Mapping
from dataclasses import fields
from typing import Any

from django.conf import settings as django_settings
from django.core.exceptions import ImproperlyConfigured
from django.core.signals import setting_changed
from django.dispatch import receiver
from django.utils.module_loading import import_string

from .limits import Limits
from .rules import METHODS, MOST_WORKERS, REQUIRED_WORDS, rule_of
from .settings import Settings

__all__ = [
    "METHODS",
    "MOST_WORKERS",
    "NAME",
    "REQUIRED_WORDS",
    "SHORT_PIN_FAILURES",
    "Limits",
    "Settings",
    "consecutive_failures",
    "current",
    "loose_limits",
    "problems",
    "resolve",
    "unknown",
]

NAME = "VERIGATOR"
SHORT_PIN = 4
SHORT_PIN_FAILURES = 10
"""Wrong PINs in a row that are allowed where a PIN has 4 digits: one in a thousand of all PINs."""
_LEAST_PAUSE = 5  # seconds


def problems(raw: object) -> list[tuple[str, str]]:
    """List what is wrong with a VERIGATOR value as pairs of key and message, worst first; empty if it can be used."""
    if not isinstance(raw, Mapping):
        return [("", f"{NAME} must be a dict.")]
    found = unknown(raw, _names(Settings), NAME)
    found += [(key, text) for key, text in _broken_rules(raw, Settings, NAME)]
    limits = raw.get("LIMITS", {})
    if isinstance(limits, Mapping):
        where = f'{NAME}["LIMITS"]'
        found += unknown(limits, _names(Limits), where)
        found += [("LIMITS", text) for _, text in _broken_rules(limits, Limits, where)]
    backends = raw.get("BACKENDS")
    if isinstance(backends, Mapping):
        for alias, entry in backends.items():
            if isinstance(entry, Mapping):
                found += unknown(entry, ("BACKEND", "OPTIONS"), f'{NAME}["BACKENDS"]["{alias}"]')
    if not backends:
        found.append(("BACKENDS", f'{NAME}["BACKENDS"] names no provider.'))
    return found


def _broken_rules(raw: Mapping[str, Any], cls: Any, where: str) -> list[tuple[str, str]]:
    return [
        (declared.name, f'{where}["{declared.name}"] must be {rule_of(declared).wanted}.')
        for declared in fields(cls)
        if declared.name in raw and not rule_of(declared).accepts(raw[declared.name])
    ]


def loose_limits(limits: Limits) -> list[str]:
    """List, in words, which limits bound nothing, and which one another one makes void."""
    found = [
        f"{declared.name} is {value}, which holds nobody back"
        for declared in fields(limits)
        if (most := declared.metadata["loose_above"]) and (value := getattr(limits, declared.name)) > most
    ]
    if limits.STARTS_PER_USER_HOUR < limits.SENDS_PER_USER_HOUR:
        found.append("STARTS_PER_USER_HOUR is less than SENDS_PER_USER_HOUR")
    if limits.RESEND_PAUSE < _LEAST_PAUSE:
        found.append(f"RESEND_PAUSE is {limits.RESEND_PAUSE}, shorter than a text takes to arrive")
    if limits.TRIES_PER_USER_DAY < limits.TRIES_PER_USER_HOUR:
        found.append("TRIES_PER_USER_DAY is less than TRIES_PER_USER_HOUR")
    if limits.SENDS_PER_SITE_DAY < limits.SENDS_PER_SITE_HOUR:
        found.append("SENDS_PER_SITE_DAY is less than SENDS_PER_SITE_HOUR")
    if limits.PENDING_SECONDS < limits.CHALLENGE_SECONDS:
        found.append("PENDING_SECONDS is less than CHALLENGE_SECONDS, so logins end before their PINs expire")
    return found


def _names(cls: Any) -> list[str]:
    return [declared.name for declared in fields(cls)]


def unknown(raw: Mapping[str, Any], known: Iterable[str], where: str) -> list[tuple[str, str]]:
    """List the keys of ``raw`` that are not known as pairs of key and message, which names the one that was meant."""
    names = {name.upper(): name for name in known}
    found = []
    for key in raw:
        if key not in names.values():
            near = difflib.get_close_matches(str(key).upper(), names, n=1)
            hint = f' Did you mean "{names[near[0]]}"?' if near else ""
            found.append((str(key), f'{where} has no key "{key}".{hint}'))
    return found


def resolve(value: str | Callable[..., Any]) -> Callable[..., Any]:
    """Return the callable that a setting names, itself or by its dotted path (``pkg.mod.name`` or ``pkg.mod:name``).

    Raises:
        ImproperlyConfigured: if the path leads nowhere.
    """
    if callable(value):
        return value
    try:
        target = import_string(value.replace(":", "."))
    except ImportError as error:
        raise ImproperlyConfigured(f'{NAME}: cannot import "{value}": {error}') from error
    if not callable(target):
        raise ImproperlyConfigured(f'{NAME}: "{value}" is not callable.')
    return target  # type: ignore[no-any-return]


def consecutive_failures() -> int:
    """Return after how many wrong PINs in a row a user is locked out until support helps or the password changes."""
    config = current()
    most = config.LIMITS.CONSECUTIVE_FAILURES
    return min(most, SHORT_PIN_FAILURES) if config.PIN_LENGTH == SHORT_PIN else most


@functools.cache
def current() -> Settings:
    """Return the settings in force; parsed once, and again after ``override_settings``.

    Raises:
        ImproperlyConfigured: if VERIGATOR cannot be used as it stands (see ``problems``).
    """
    raw = getattr(django_settings, NAME, {})
    found = problems(raw)
    if found:
        raise ImproperlyConfigured(" ".join(message for _, message in found))
    values = dict(raw)
    values["LIMITS"] = Limits(**values.get("LIMITS", {}))
    lists = [declared.name for declared in fields(Settings) if isinstance(declared.default, tuple)]
    values |= {key: tuple(values[key]) for key in lists if key in values}
    return Settings(**values)


@receiver(setting_changed)
def _forget(*, setting: str, **kwargs: object) -> None:
    if setting == NAME:
        current.cache_clear()
