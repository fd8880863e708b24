"""TODO"""

from __future__ import annotations

import datetime
import logging
from dataclasses import dataclass

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
"""How long a guarded request may believe what was read last: the time in which a reset reaches every session."""


@dataclass(frozen=True, slots=True)
class Requirement:
    """What is asked of a user at the moment.

    Attributes:
        is_required: the user owes the second step.
        trust_version: sessions that carry another one have lost their trust; "" where the user has no link.
        has_phone: there is a number to send a code to; else one is enrolled first.
    """

    is_required: bool
    trust_version: str
    has_phone: bool


def is_second_factor_required(user: AbstractBaseUser, link: VerigatorUser | None) -> bool:
    """Whether a user owes the second step: REQUIRED, less EXEMPT_GROUPS, and until GRACE_UNTIL less those without a
    phone.
    """
    if not _is_required(user, link):
        return False
    config = conf.current()
    has_phone = link is not None and link.has_usable_phone
    if not has_phone and config.GRACE_UNTIL is not None and _today() <= _day(config.GRACE_UNTIL):
        return False
    return not (config.EXEMPT_GROUPS and _is_in(user, config.EXEMPT_GROUPS))


def _is_in(user: AbstractBaseUser, names: tuple[str, ...]) -> bool:
    groups = getattr(user, "groups", None)  # PermissionsMixin brings them; without it nobody is exempt
    return groups is not None and bool(groups.filter(name__in=names).exists())


def _today() -> datetime.date:
    return timezone.localdate() if settings.USE_TZ else datetime.date.today()


def _day(value: datetime.date) -> datetime.date:
    return value.date() if isinstance(value, datetime.datetime) else value


def _is_required(user: AbstractBaseUser, link: VerigatorUser | None) -> bool:
    required = conf.current().REQUIRED
    if required == "enrolled":
        # Only for whom the site supplies nothing there is no phone. Where it supplies what nobody can read, what the
        # provider refused, or an error, the door stays shut: the user types a number.
        return link is not None and (
            link.has_usable_phone
            or link.state == VerigatorUser.State.FAILED
            or link.last_error == VerigatorUser.PHONE_UNKNOWN
        )
    if required == "staff":
        # Where the user model does not know who is staff, everybody may be.
        return bool(getattr(user, "is_staff", True) or getattr(user, "is_superuser", False))
    if required == "all":
        return True
    if required == "none":
        return False
    rule = conf.resolve(required)
    try:
        answer = rule(user)
    except Exception as error:  # noqa: BLE001 - the site's code may raise anything; the door stays shut
        events.site_failed("required_failed", user, error)
        return True
    if not isinstance(answer, bool):  # a rule that forgets its return must not mean "nobody"
        logger.error("required_failed user=%s error=%s", shown.key(user), "neither True nor False")
        return True
    return answer


def requirement_of(user: AbstractBaseUser) -> Requirement:
    """Read the user's requirement from the database, writing a missing link on the way, and remember it."""
    return evaluate(user, links.ensure(user))


def evaluate(user: AbstractBaseUser, link: VerigatorUser | None) -> Requirement:
    """Return the requirement of a user whose link was just read, and remember it for guarded requests."""
    found = Requirement(
        is_required=is_second_factor_required(user, link),
        trust_version=link.trust_version if link else "",
        has_phone=link is not None and link.has_usable_phone,
    )
    remember(user, found)
    return found


def recent_requirement(user: AbstractBaseUser) -> Requirement | None:
    """Return the requirement read at most CACHE_SECONDS ago, or None. A hit does not prolong the entry."""
    try:
        found = cache.get(_key(user))
    except Exception as error:  # noqa: BLE001 - every cache has its own errors; without one the database is asked
        logger.warning("cache_failed error=%s", events.describe(error))
        return None
    return Requirement(*found) if isinstance(found, tuple) and len(found) == 3 else None


def remember(user: AbstractBaseUser, found: Requirement) -> None:
    """Have the guard believe this for CACHE_SECONDS."""
    try:
        cache.set(_key(user), (found.is_required, found.trust_version, found.has_phone), CACHE_SECONDS)
    except Exception as error:  # noqa: BLE001 - as above
        logger.warning("cache_failed error=%s", events.describe(error))


def _key(user: AbstractBaseUser) -> str:
    # Keyed, so that another site on the same cache cannot answer for this one; and of the row and not its key alone,
    # since tenants with databases or schemas of their own (django-tenants) have the same keys, or copies of one row.
    connection = connections[user._state.db or DEFAULT_DB_ALIAS]
    place = (connection.alias, connection.settings_dict["NAME"], getattr(connection, "schema_name", ""))
    row = f"{place}.{user.pk}.{user.get_username()}.{getattr(user, 'password', '')}"
    return f"django_verigator.requirement.{digest('requirement', row)[:32]}"
