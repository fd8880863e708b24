"""Who must use two-factor authentication, read from the database or, for up to a minute, from the cache."""

from __future__ import annotations

import datetime
import logging
from typing import NamedTuple

from django.conf import settings
from django.contrib.auth.base_user import AbstractBaseUser
from django.core.cache import cache
from django.db import DEFAULT_DB_ALIAS, connections
from django.utils import timezone

from .. import conf, events, shown
from ..digests import digest
from ..models import VerigatorUser
from ..records import links

logger = logging.getLogger("django_verigator")

CACHE_SECONDS = 60
"""How old a requirement in the cache may be, and so how long a session may outlive a reset."""


class Requirement(NamedTuple):
    """What the guard asks of a user.

    Attributes:
        is_required: the user must use two-factor authentication.
        trust_version: the one that a proof must carry; "" where the user has no link.
        has_phone: there is a number to send a code to; else the user must enrol one first.
    """

    is_required: bool
    trust_version: str
    has_phone: bool


def is_second_factor_required(user: AbstractBaseUser, link: VerigatorUser | None) -> bool:
    """Whether a user must use two-factor authentication: by REQUIRED, less EXEMPT_GROUPS, and until GRACE_UNTIL less
    users without a phone.
    """
    if not _is_required(user, link):
        return False
    config = conf.current()
    has_phone = link is not None and link.has_usable_phone
    if not has_phone and config.GRACE_UNTIL is not None and _today() <= _as_date(config.GRACE_UNTIL):
        return False
    return not (config.EXEMPT_GROUPS and _is_in_group(user, config.EXEMPT_GROUPS))


def _is_in_group(user: AbstractBaseUser, names: tuple[str, ...]) -> bool:
    groups = getattr(user, "groups", None)  # of PermissionsMixin, which a user model may lack
    return groups is not None and bool(groups.filter(name__in=names).exists())


def _today() -> datetime.date:
    return timezone.localdate() if settings.USE_TZ else datetime.date.today()


def _as_date(value: datetime.date) -> datetime.date:
    return value.date() if isinstance(value, datetime.datetime) else value


def _is_required(user: AbstractBaseUser, link: VerigatorUser | None) -> bool:
    required = conf.current().REQUIRED
    if required == "enrolled":
        # A number that is unreadable or refused, or an error of PHONE, is not the same as no phone: it must not turn
        # two-factor authentication off, and the user enrols a number.
        return link is not None and (
            link.has_usable_phone
            or link.state == VerigatorUser.State.FAILED
            or link.last_error == VerigatorUser.PHONE_UNKNOWN
        )
    if required == "staff":
        # A user model without is_staff does not show who is staff.
        return bool(getattr(user, "is_staff", True) or getattr(user, "is_superuser", False))
    if required == "all":
        return True
    if required == "none":
        return False
    rule = conf.resolve(required)
    try:
        answer = rule(user)
    except Exception as error:  # noqa: BLE001 - the site's code may raise anything, and must not let a user in
        events.site_failed("required_failed", user, error)
        return True
    if not isinstance(answer, bool):  # a rule without a return must not mean "nobody"
        logger.error("required_failed user=%s error=%s", shown.key(user), "neither True nor False")
        return True
    return answer


def requirement_of(user: AbstractBaseUser) -> Requirement:
    """Return the user's requirement from the database, and cache it; a missing link is written on the way."""
    return evaluate(user, links.ensure(user))


def evaluate(user: AbstractBaseUser, link: VerigatorUser | None) -> Requirement:
    """Return the requirement of a user whose link was just read, and cache it for the guard."""
    found = Requirement(
        is_required=is_second_factor_required(user, link),
        trust_version=link.trust_version if link else "",
        has_phone=link is not None and link.has_usable_phone,
    )
    remember(user, found)
    return found


def recent_requirement(user: AbstractBaseUser) -> Requirement | None:
    """Return the cached requirement, at most CACHE_SECONDS old, or None. A hit does not prolong the entry."""
    try:
        found = cache.get(_cache_key(user))
    except Exception as error:  # noqa: BLE001 - each cache has its own errors; the database answers then
        logger.warning("cache_failed error=%s", events.describe(error))
        return None
    return Requirement(*found) if isinstance(found, tuple) and len(found) == 3 else None


def remember(user: AbstractBaseUser, found: Requirement) -> None:
    """Cache a requirement for CACHE_SECONDS."""
    try:
        cache.set(_cache_key(user), tuple(found), CACHE_SECONDS)
    except Exception as error:  # noqa: BLE001 - as above
        logger.warning("cache_failed error=%s", events.describe(error))


def _cache_key(user: AbstractBaseUser) -> str:
    # A keyed digest, so that no other site on the same cache answers for this one. With database, schema and more than
    # the primary key, since tenants (django-tenants) have equal primary keys, or even copies of a row.
    connection = connections[user._state.db or DEFAULT_DB_ALIAS]
    database = (connection.alias, connection.settings_dict["NAME"], getattr(connection, "schema_name", ""))
    row = f"{database}.{user.pk}.{user.get_username()}.{getattr(user, 'password', '')}"
    return f"django_verigator.requirement.{digest('requirement', row)[:32]}"
