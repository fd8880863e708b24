"""The setting VERIGATOR: declared once, typed, read live (``override_settings`` works).

Everybody reads it the same way: ``conf.current().METHOD``.
A value that is missing, misspelt or of the wrong kind raises ImproperlyConfigured at its first use, since a misspelt
REQUIRED must not mean "nobody"; the system checks list all of it earlier (``problems``).
"""

from __future__ import annotations

import datetime
import difflib
import functools
import ipaddress
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, NoReturn

from django.conf import settings as django_settings
from django.core.exceptions import ImproperlyConfigured
from django.core.signals import setting_changed
from django.dispatch import receiver
from django.utils.module_loading import import_string

from . import phone

NAME = "VERIGATOR"


@dataclass(frozen=True, slots=True)
class Limits:
    """The keys of VERIGATOR["LIMITS"]. Every number is a positive integer."""

    TRIES_PER_CHALLENGE: int = 5
    """PINs that may be tried against one sent code (at most 10)."""
    TRIES_PER_USER_HOUR: int = 10
    """Wrong PINs of one user within an hour."""
    TRIES_PER_USER_DAY: int = 20
    """Wrong PINs of one user within 24 hours."""
    TRIES_PER_ADDRESS_HOUR: int = 100
    """Wrong PINs from one address (an IPv6 /64) within an hour; an office may share one."""
    CONSECUTIVE_FAILURES: int = 100
    """Wrong PINs in a row after which only support, or a new password, lets the user try again. At most 10 where
    PIN_LENGTH is 4."""
    SENDS_PER_USER_HOUR: int = 10
    """Codes sent for one user within an hour."""
    SENDS_PER_PHONE_10_MINUTES: int = 5
    """Codes sent to one number within 10 minutes; half of them for users other than the one who has confirmed it."""
    SENDS_PER_PHONE_DAY: int = 60
    """The same within 24 hours; half of them for users who have not confirmed the number."""
    SENDS_PER_LOGIN: int = 6
    """Codes sent for one login, from its password to its end."""
    SENDS_PER_ADDRESS_HOUR: int = 100
    """Codes asked for from one address (an IPv6 /64) within an hour."""
    SENDS_PER_PREFIX_HOUR: int = 50
    """Codes sent within an hour to numbers that differ in their last three digits only; confirmed numbers are not
    counted."""
    SENDS_PER_SITE_HOUR: int = 1000
    """Codes sent within an hour to numbers that nobody has confirmed yet, in all."""
    SENDS_PER_SITE_DAY: int = 5000
    """The same within 24 hours."""
    STARTS_PER_USER_HOUR: int = 30
    """Codes asked for by one user within an hour, by text or app, whatever the provider answers; half of them may be
    another code for the same login."""
    STARTS_PER_ADDRESS_HOUR: int = 500
    """The same from one address (an IPv6 /64)."""
    PHONE_CHANGES_PER_USER_DAY: int = 3
    """New numbers that one user may propose within 24 hours."""
    RESEND_PAUSE: int = 30
    """Seconds between a code and the next one of the same login; twice as long after each further one."""
    CHALLENGE_SECONDS: int = 300
    """How long a sent code may be used (at most 600)."""
    PENDING_SECONDS: int = 600
    """How long a login may wait between its password and its PIN (at most 3600)."""
    CIRCUIT_FAILURES: int = 4
    """Calls in a row that a provider does not answer, or answers with 5xx, 401 or 403; then nobody asks it for a
    while. Of those for one user, one number or from one address a single one counts."""
    CIRCUIT_WINDOW: int = 60
    """Seconds within which these calls must have failed."""
    CIRCUIT_OPEN_SECONDS: int = 30
    """For how long nobody asks a provider that is down, before one call tries it again (at most 600)."""
    PROVIDER_CALLS_AT_ONCE: int = 5
    """Calls to one provider that one process waits for at the same time. Choose half as many as a process has threads:
    the others serve your other pages while a provider hangs."""


_AT_MOST = {"TRIES_PER_CHALLENGE": 10, "CHALLENGE_SECONDS": 600, "PENDING_SECONDS": 3600, "CIRCUIT_OPEN_SECONDS": 600}
# Beyond these a limit holds nobody back, whatever the site: a check warns.
_LOOSE = {
    "TRIES_PER_USER_HOUR": 100,
    "TRIES_PER_USER_DAY": 200,
    "TRIES_PER_ADDRESS_HOUR": 10_000,
    "CONSECUTIVE_FAILURES": 1000,
    "SENDS_PER_USER_HOUR": 100,
    "SENDS_PER_PHONE_10_MINUTES": 50,
    "SENDS_PER_PHONE_DAY": 500,
    "SENDS_PER_LOGIN": 50,
    "SENDS_PER_ADDRESS_HOUR": 10_000,
    "SENDS_PER_PREFIX_HOUR": 10_000,
    "SENDS_PER_SITE_HOUR": 1_000_000,
    "SENDS_PER_SITE_DAY": 10_000_000,
    "STARTS_PER_USER_HOUR": 300,
    "STARTS_PER_ADDRESS_HOUR": 50_000,
    "PHONE_CHANGES_PER_USER_DAY": 50,
}
_LEAST_PAUSE = 5
_LISTS = ("TRUSTED_PROXIES", "EXEMPT_GROUPS", "KEPT_COOKIES", "COUNTRIES", "REFUSED_NUMBER_TYPES")
_REGION = re.compile(r"[A-Z]{2}\Z")
SHORT_PIN = 4
SHORT_PIN_FAILURES = 10
"""The hard stop where a PIN has 4 digits: one in a thousand of all PINs."""

MOST_WORKERS = 64
REQUIRED_WORDS = ("enrolled", "staff", "all", "none")
METHODS = ("sms", "totp")


@dataclass(frozen=True, slots=True)
class Settings:
    """The keys of VERIGATOR."""

    BACKENDS: Mapping[str, Mapping[str, Any]] = field(default_factory=dict, repr=False)  # with the credentials
    """The providers by alias, the first one first: ``{"BACKEND": "dotted.path", "OPTIONS": {...}}``."""
    PHONE: str | Callable[[Any], Any] | None = "phone_number"
    """Where a user's phone number comes from: an attribute path (``"profile.phone"``), a callable that takes the user,
    or the path of one (with a colon: ``"shop.phones:for_user"``). A user who has none may enrol one; None: the site
    keeps no numbers, and all enrol theirs."""
    METHOD: str = "sms"
    """``"sms"``: a PIN by text message. ``"totp"``: the Verigator app, or a text message where it is not linked."""
    ALLOW_SMS: bool = True
    """False: only the app. A provider that falls back to a text message all the same ends that login."""
    REQUIRED: str | Callable[[Any], bool] = "enrolled"
    """Who owes the second step: ``"enrolled"`` (everybody with a phone), ``"staff"`` (staff and superusers), ``"all"``,
    ``"none"`` (the emergency switch), a callable that takes the user, or the dotted path of one."""
    PIN_LENGTH: int = 4
    """Digits of the provider's PIN, 4 to 16; 4 where you do not know. Number Verification makes PINs of this length."""
    GRACE_UNTIL: datetime.date | None = None
    """Until this day (a date) a user who owes the second step and has no phone yet is let in without one."""
    EXEMPT_GROUPS: tuple[str, ...] = ()
    """Names of groups whose members owe no second step."""
    LIMITS: Limits = field(default_factory=Limits)
    """Tries, sends and times: see "Limits"."""
    COUNTRIES: tuple[str, ...] = ()
    """Regions that codes are sent to, as two capital letters (``("EE", "LV")``); empty: all."""
    REFUSED_NUMBER_TYPES: tuple[str, ...] = ("premium_rate", "shared_cost", "satellite")
    """Kinds of numbers that no code is sent to, by the names of the phonenumbers library, and ``"satellite"``."""
    TRUSTED_BROWSER_DAYS: int = 0
    """For how many days a browser may skip the second step if its user wishes so (at most 90); 0: never."""
    ENROL_SECONDS: int = 0
    """For how many seconds after signing in a user who has no password to be asked for may enrol a first phone; then
    the user signs in anew. 0: always, so that whoever has got hold of the session can."""
    KEPT_COOKIES: tuple[str, ...] = ()
    """Names of cookies which a login view of yours may set although the PIN is still owed, beside those of messages,
    language and CSRF. Never one that is worth a login."""
    NOTIFY: bool = True
    """Tell users by e-mail of a first or changed phone, a reset, new recovery codes, a used one, a lock."""
    PRUNE_DAYS: int = 90
    """After how many days ``verigator_prune`` deletes challenges."""
    TRUSTED_PROXIES: tuple[str, ...] = ()
    """Addresses or networks of your reverse proxies; only from them is ``X-Forwarded-For`` believed."""
    DISPATCHER: str = "django_verigator.records.dispatching.run_now"
    """Dotted path of a callable that takes a link's primary key after commit and has it registered, now or later:
    at once, or in a worker of Django's tasks or of Celery (``django_verigator.contrib``)."""
    SYNC_WORKERS: int = 4
    """How many calls ``verigator_sync`` makes at a time (at most 64), each worker on a connection of its own."""
    SYNC_CALLS_PER_SECOND: float = 0
    """How many calls ``verigator_sync`` makes within a second at most, all workers together; 0: as many as it can."""
    ID_IN_SERVICE: str | Callable[[Any], str] | None = None
    """The readable part of the id under which the provider knows a user: a callable that takes the user, or the dotted
    path of one. Default: the username."""
    ADMIN_ACTION: bool = True
    """Add "Sync selected users with Verigator" to Django's own user admin; one of the site's own puts
    ``django_verigator.admin.sync_with_verigator`` into its ``actions``."""
    ADMIN_SYNC_LIMIT: int = 50
    """How many users the admin action handles within the request; the others are left to ``verigator_sync``."""
    STAND_IN: bool = False
    """Allow the sandbox, locmem and console with DEBUG off, as test runners have it. Never in production."""

    def __reduce__(self) -> NoReturn:
        raise TypeError("the settings hold credentials, and are not pickled or copied")


def problems(raw: object) -> list[tuple[str, str]]:
    """List what is wrong with a VERIGATOR value as pairs of key and message, worst first; empty if it can be used."""
    if not isinstance(raw, Mapping):
        return [("", f"{NAME} must be a dict.")]
    found = unknown(raw, _names(Settings), NAME)
    for key, ok, wanted in _RULES:
        if key in raw and not ok(raw[key]):
            found.append((key, f'{NAME}["{key}"] must be {wanted}.'))
    limits = raw.get("LIMITS", {})
    if isinstance(limits, Mapping):
        where = f'{NAME}["LIMITS"]'
        found += unknown(limits, _names(Limits), where)
        for key in limits.keys() & set(_names(Limits)):
            most = _AT_MOST.get(key)
            if not _is_int(limits[key], 1, most or 10**9):
                bound = f" of at most {most}" if most else ""
                found.append(("LIMITS", f'{where}["{key}"] must be a positive integer{bound}.'))
    backends = raw.get("BACKENDS")
    if isinstance(backends, Mapping):
        for alias, entry in backends.items():
            if isinstance(entry, Mapping):
                found += unknown(entry, ("BACKEND", "OPTIONS"), f'{NAME}["BACKENDS"]["{alias}"]')
    if not backends:
        found.append(("BACKENDS", f'{NAME}["BACKENDS"] names no provider.'))
    return found


def loose_limits(limits: Limits) -> list[str]:
    """List, in words, which limits bound nothing, and which one another one makes void."""
    found = [
        f"{key} is {getattr(limits, key)}, which holds nobody back"
        for key, most in _LOOSE.items()
        if getattr(limits, key) > most
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
    return [field.name for field in fields(cls)]


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


def _is_int(value: object, least: int, most: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and least <= value <= most


def _is_number(value: object, least: float, most: float) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and least <= value <= most


def _is_backends(value: object) -> bool:
    return isinstance(value, Mapping) and all(
        isinstance(entry, Mapping)
        and isinstance(entry.get("BACKEND"), str)
        and isinstance(entry.get("OPTIONS", {}), Mapping)
        for entry in value.values()
    )


def _is_networks(value: object) -> bool:
    if not isinstance(value, (list, tuple)):
        return False
    try:
        [ipaddress.ip_network(entry) for entry in value]
    except (ValueError, TypeError):
        return False
    return True


def _is_words(value: object) -> bool:
    return isinstance(value, (list, tuple)) and all(isinstance(word, str) and word for word in value)


def _is_bool(value: object) -> bool:
    return isinstance(value, bool)


def _is_path(value: object) -> bool:
    return callable(value) or (isinstance(value, str) and bool(value))


_RULES: tuple[tuple[str, Callable[[Any], bool], str], ...] = (
    ("BACKENDS", _is_backends, 'a dict of {"BACKEND": "dotted.path", "OPTIONS": {...}}'),
    (
        "PHONE",
        lambda value: value is None or _is_path(value),
        "an attribute path, a callable, the dotted path of one, or None",
    ),
    ("METHOD", METHODS.__contains__, f"one of {METHODS}"),
    ("ALLOW_SMS", _is_bool, "True or False"),
    (
        "REQUIRED",
        lambda value: callable(value) or value in REQUIRED_WORDS or (isinstance(value, str) and "." in value),
        f"one of {REQUIRED_WORDS}, a callable, or the dotted path of one",
    ),
    ("PIN_LENGTH", lambda value: _is_int(value, 4, 16), "an integer from 4 to 16"),
    ("GRACE_UNTIL", lambda value: value is None or isinstance(value, datetime.date), "a date"),
    ("EXEMPT_GROUPS", _is_words, "a list of group names"),
    ("LIMITS", lambda value: isinstance(value, Mapping), "a dict"),
    ("COUNTRIES", lambda value: _is_words(value) and all(map(_REGION.match, value)), 'a list of regions such as "EE"'),
    (
        "REFUSED_NUMBER_TYPES",
        lambda value: _is_words(value) and set(value) <= set(phone.TYPES),
        f"a list of {phone.TYPES}",
    ),
    ("TRUSTED_BROWSER_DAYS", lambda value: _is_int(value, 0, 90), "an integer from 0 to 90"),
    ("ENROL_SECONDS", lambda value: _is_int(value, 0, 86_400), "an integer from 0 to 86400"),
    ("KEPT_COOKIES", _is_words, "a list of cookie names"),
    ("NOTIFY", _is_bool, "True or False"),
    ("PRUNE_DAYS", lambda value: _is_int(value, 1, 3650), "an integer from 1 to 3650"),
    ("TRUSTED_PROXIES", _is_networks, "a list of IP addresses or networks"),
    ("DISPATCHER", _is_path, "a dotted path"),
    ("SYNC_WORKERS", lambda value: _is_int(value, 1, MOST_WORKERS), f"an integer from 1 to {MOST_WORKERS}"),
    (
        "SYNC_CALLS_PER_SECOND",
        lambda value: value == 0 or _is_number(value, 0.1, 10_000),
        "0, or a number from 0.1 to 10000",
    ),
    ("ID_IN_SERVICE", lambda value: value is None or _is_path(value), "a callable or the dotted path of one"),
    ("ADMIN_ACTION", _is_bool, "True or False"),
    ("ADMIN_SYNC_LIMIT", lambda value: _is_int(value, 1, 10_000), "an integer from 1 to 10000"),
    ("STAND_IN", _is_bool, "True or False"),
)


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
    """Return after how many wrong PINs in a row a user is stopped for good."""
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
    values |= {key: tuple(values[key]) for key in _LISTS if key in values}
    return Settings(**values)


@receiver(setting_changed)
def _forget(*, setting: str, **kwargs: object) -> None:
    if setting == NAME:
        current.cache_clear()
