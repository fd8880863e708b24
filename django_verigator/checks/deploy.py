"""Checks of ``check --deploy``, and of installed packages."""

from __future__ import annotations

from importlib import metadata
from typing import Any

from django.conf import settings
from django.contrib.auth import get_user_model
from django.core import checks
from django.core.exceptions import ImproperlyConfigured
from django.db import DatabaseError

from .. import check_ids, conf
from ..models import VerigatorUser
from ..records import site_phones
from .settings import USERS_TRIED, check_phone


def check_packages(**kwargs: Any) -> list[checks.CheckMessage]:
    """Warn of two packages that install the same module in different versions."""
    found: dict[str, str] = {}
    for name in ("phonenumbers", "phonenumberslite"):
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    if len(set(found.values())) < 2:
        return []
    both = " and ".join(f"{name} {version}" for name, version in found.items())
    return [
        checks.Warning(
            f"{both} are both installed: they are one module, which has files of either now.",
            hint="Install both in the same version. Remove neither without installing the other one anew "
            "(pip install --force-reinstall).",
            id=check_ids.TWO_PHONENUMBERS,
        )
    ]


def check_deploy(**kwargs: Any) -> list[checks.CheckMessage]:
    """Return what a site that serves real users must not leave as it is."""
    raw = getattr(settings, conf.NAME, None)
    if not isinstance(raw, dict):
        return []
    found: list[checks.CheckMessage] = []
    if not raw.get("TRUSTED_PROXIES"):
        found.append(
            checks.Warning(
                'VERIGATOR["TRUSTED_PROXIES"] is empty: behind a reverse proxy no limit counts by address.',
                hint="Name the addresses of your proxies; where there is none, name one that is never used "
                '("127.0.0.1").',
                id=check_ids.NO_TRUSTED_PROXIES,
            )
        )
    if raw.get("STAND_IN"):
        found.append(
            checks.Error(
                'VERIGATOR["STAND_IN"] is set: anybody who can read the stand-in can log in as anybody.',
                hint="Remove it from the settings that serve real users.",
                id=check_ids.STAND_INS_ALLOWED,
            )
        )
    try:
        return [*found, *_check_numbers(), *_check_phone_of_users()]
    except (DatabaseError, ImproperlyConfigured):  # no tables yet, or wrong settings, which E001 reports
        return found


def _check_phone_of_users() -> list[checks.CheckMessage]:
    config = conf.current()
    if config.PHONE is None or config.REQUIRED == "none" or check_phone():
        return []
    users = get_user_model()._default_manager.order_by("-pk")
    relations = site_phones.phone_relations()
    tried = 0
    for user in (users.select_related(*relations) if relations else users)[:USERS_TRIED]:
        if site_phones.phone_of(user) != "":
            return []
        tried += 1
    if not tried:
        return []
    return [
        checks.Warning(
            f'VERIGATOR["PHONE"] finds no number at the {tried} newest users.',
            hint="Look at one of them with verigator_status. If the site keeps the numbers elsewhere, say where; if it "
            "keeps none, set PHONE to None.",
            id=check_ids.PHONE_FINDS_NOTHING,
        )
    ]


def _check_numbers() -> list[checks.CheckMessage]:
    unusable = VerigatorUser.objects.without_usable_number().count()
    if not unusable:
        return []
    return [
        checks.Warning(
            f"{unusable} users have a number that cannot be used, and are asked for another one at their next login.",
            hint="Mend the numbers where the site keeps them, and run verigator_sync; see docs/registration.md.",
            id=check_ids.NUMBERS_UNUSABLE,
        )
    ]
