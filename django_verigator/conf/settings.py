"""The keys of VERIGATOR, with their defaults and what each accepts."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NoReturn

from .limits import Limits
from .rules import (
    BOOLEAN,
    DICT,
    ENTRIES,
    METHODS,
    MOST_WORKERS,
    NETWORKS,
    NUMBER_TYPES,
    OPTIONAL_DATE,
    OPTIONAL_PATH,
    OPTIONAL_PATH_TO_PHONE,
    PATH,
    RATE,
    REGIONS,
    REQUIRED_RULE,
    WAYS,
    integer,
    one_of,
    setting,
    words,
)


@dataclass(frozen=True, slots=True)
class Settings:
    """The keys of VERIGATOR."""

    # Not shown: it holds the credentials.
    BACKENDS: Mapping[str, Mapping[str, Any]] = field(default_factory=dict, repr=False, metadata=ENTRIES.as_metadata)
    """The providers by alias, the first one first: ``{"BACKEND": "dotted.path", "OPTIONS": {...}}``."""
    PHONE: str | Callable[[Any], Any] | None = setting("phone_number", OPTIONAL_PATH_TO_PHONE)
    """Where a user's phone number comes from: an attribute path (``"profile.phone"``), a callable that takes the user,
    or the path of one (with a colon: ``"shop.phones:for_user"``). A user who has none may enrol one; None: the site
    keeps no numbers, and all enrol theirs."""
    METHOD: str = setting("sms", one_of(METHODS))
    """How the first code of a login is sent, one of WAYS. ``"sms"``: a PIN by text message. ``"totp"``: the Verigator
    app. ``"call"``: a voice call. ``"whatsapp"``: a message there. Where it cannot be sent so, a text goes out."""
    WAYS: tuple[str, ...] = setting(("sms", "totp"), WAYS)
    """How codes may be sent at all; users choose among those that the backends know. ``"call"`` and ``"whatsapp"`` are
    yours to add, since a call costs more than a text. Without ``"sms"``, a provider that falls back to a text all the
    same ends that login."""
    REQUIRED: str | Callable[[Any], bool] = setting("enrolled", REQUIRED_RULE)
    """Who must use two-factor authentication: ``"enrolled"`` (everybody with a phone), ``"staff"`` (staff and
    superusers), ``"all"``, ``"none"`` (the emergency switch), a callable that takes the user, or the dotted path of
    one."""
    PIN_LENGTH: int = setting(4, integer(4, 16))
    """Digits of a PIN, 4 to 16. PINs that the site makes, and those of Number Verification, are of this length; else it
    says what the provider sends: 4 where you do not know."""
    GRACE_UNTIL: datetime.date | None = setting(None, OPTIONAL_DATE)
    """Until this day (a date) a user who must use two-factor authentication and has no phone yet is let in without
    one."""
    EXEMPT_GROUPS: tuple[str, ...] = setting((), words("group names"))
    """Names of groups whose members need no second factor."""
    LIMITS: Limits = field(default_factory=Limits, metadata=DICT.as_metadata)
    """Tries, sends and times: see "Limits"."""
    COUNTRIES: tuple[str, ...] = setting((), REGIONS)
    """Regions that codes are sent to, as two capital letters (``("EE", "LV")``); empty: all."""
    REFUSED_NUMBER_TYPES: tuple[str, ...] = setting(("premium_rate", "shared_cost", "satellite"), NUMBER_TYPES)
    """Kinds of numbers that no code is sent to, by the names of the phonenumbers library, and ``"satellite"``."""
    TRUSTED_BROWSER_DAYS: int = setting(0, integer(0, 90))
    """For how many days a browser may skip the second factor if its user wishes so (at most 90); 0: never."""
    ENROL_SECONDS: int = setting(0, integer(0, 86_400))
    """For how many seconds after signing in a user who has no password to be asked for may enrol a first phone; then
    the user signs in anew. 0: always, so that whoever has got hold of the session can."""
    KEPT_COOKIES: tuple[str, ...] = setting((), words("cookie names"))
    """Names of cookies which a login view of yours may set although the PIN is still missing, beside those of messages,
    language and CSRF. Never one that is worth a login."""
    NOTIFY: bool = setting(True, BOOLEAN)
    """Tell users by e-mail of a first or changed phone, a reset, new recovery codes, a used one, a lock."""
    PRUNE_DAYS: int = setting(90, integer(1, 3650))
    """After how many days ``verigator_prune`` deletes challenges."""
    TRUSTED_PROXIES: tuple[str, ...] = setting((), NETWORKS)
    """Addresses or networks of your reverse proxies; only from them is ``X-Forwarded-For`` believed."""
    DISPATCHER: str = setting("django_verigator.records.dispatching.run_now", PATH)
    """Dotted path of a callable that takes a link's primary key after commit and has it registered, now or later:
    at once, or in a worker of Django's tasks or of Celery (``django_verigator.contrib``)."""
    SYNC_WORKERS: int = setting(4, integer(1, MOST_WORKERS))
    """How many calls ``verigator_sync`` makes at a time (at most 64), each worker on a connection of its own."""
    SYNC_CALLS_PER_SECOND: float = setting(0, RATE)
    """How many calls ``verigator_sync`` makes within a second at most, all workers together; 0: as many as it can."""
    ID_IN_SERVICE: str | Callable[[Any], str] | None = setting(None, OPTIONAL_PATH)
    """The readable part of the id under which the provider knows a user: a callable that takes the user, or the dotted
    path of one. Default: the username."""
    ADMIN_ACTION: bool = setting(True, BOOLEAN)
    """Add "Sync selected users with Verigator" to Django's own user admin; one of the site's own puts
    ``django_verigator.admin.sync_with_verigator`` into its ``actions``."""
    ADMIN_SYNC_LIMIT: int = setting(50, integer(1, 10_000))
    """How many users the admin action handles within the request; the others are left to ``verigator_sync``."""
    STAND_IN: bool = setting(False, BOOLEAN)
    """Allow the sandbox, locmem and console with DEBUG off, as test runners have it. Never in production."""

    def __reduce__(self) -> NoReturn:
        raise TypeError("the settings hold credentials, and are not pickled or copied")
