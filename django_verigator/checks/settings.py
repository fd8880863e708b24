"""Checks of the setting VERIGATOR."""

from __future__ import annotations

import inspect
from typing import Any

from django.apps import apps
from django.conf import settings
from django.contrib.auth import get_user_model
from django.core import checks
from django.core.exceptions import ImproperlyConfigured
from django.db import router
from django.db.models import ForeignObjectRel

from .. import check_ids, conf
from .backends import check_backends

USERS_TRIED = 100


def check_settings(**kwargs: Any) -> list[checks.CheckMessage]:
    """Return what is wrong with the setting; if it cannot be read, only that."""
    raw = getattr(settings, conf.NAME, None)
    if raw is None:
        return [
            checks.Error(
                "VERIGATOR is not set.",
                hint='Set VERIGATOR = {"BACKENDS": {"default": {"BACKEND": "...", "OPTIONS": {...}}}}.',
                id=check_ids.SETTINGS_INVALID,
            )
        ]
    found = conf.problems(raw)
    if found:
        hint = "See the settings table in the README."
        return [checks.Error(message, hint=hint, id=check_ids.SETTINGS_INVALID) for _, message in found]
    messages = [*_check_callables(), *check_phone(), *_check_user_model(), *_check_databases()]
    if not settings.USE_TZ and settings.TIME_ZONE != "UTC":
        messages.append(
            checks.Warning(
                "USE_TZ is False: when the clock goes back an hour, PINs that have expired become good again.",
                hint='Set USE_TZ = True, or TIME_ZONE = "UTC".',
                id=check_ids.USE_TZ_OFF,
            )
        )
    if conf.current().REQUIRED == "none":
        messages.append(
            checks.Warning(
                'VERIGATOR["REQUIRED"] is "none": nobody is asked for a second step.',
                hint='This is the emergency switch. Set it back to "enrolled" when the emergency is over.',
                id=check_ids.NOBODY_REQUIRED,
            )
        )
    return [*messages, *_check_limits(), *check_backends()]


def _check_limits() -> list[checks.CheckMessage]:
    return [
        checks.Warning(
            f'VERIGATOR["LIMITS"]: {problem}.',
            hint='See "PIN length and limits" in docs/security.md.',
            id=check_ids.LIMIT_VOID,
        )
        for problem in conf.loose_limits(conf.current().LIMITS)
    ]


def _check_callables() -> list[checks.CheckMessage]:
    config = conf.current()
    named: dict[str, Any] = {"DISPATCHER": config.DISPATCHER, "ID_IN_SERVICE": config.ID_IN_SERVICE}
    if config.REQUIRED not in conf.REQUIRED_WORDS:
        named["REQUIRED"] = config.REQUIRED
    if isinstance(config.PHONE, str) and ":" in config.PHONE:
        named["PHONE"] = config.PHONE
    found: list[checks.CheckMessage] = []
    for key, value in named.items():
        try:
            if value is not None:
                conf.resolve(value)
        except ImproperlyConfigured as error:
            found.append(checks.Error(f'VERIGATOR["{key}"]: {error}', id=check_ids.SETTINGS_INVALID))
    return found


def check_phone() -> list[checks.CheckMessage]:
    """Return whether PHONE, given or by default, is a path that leads nowhere."""
    config = conf.current()
    source = config.PHONE
    dead_end = _dead_end(source) if isinstance(source, str) and ":" not in source else ""
    if not dead_end:
        return []
    if "PHONE" in getattr(settings, conf.NAME):
        return [
            checks.Error(
                f'VERIGATOR["PHONE"]: {dead_end}, so nobody would have a phone.',
                hint='Name an attribute of the user ("profile.phone"), or a function with a colon ("shop.phones:of"). '
                "Set it to None where users type theirs.",
                id=check_ids.PHONE_LEADS_NOWHERE,
            )
        ]
    if config.REQUIRED == "none":
        return []
    return [
        checks.Warning(
            f'VERIGATOR["PHONE"] is left out, and {dead_end}: nobody has a phone until enrolling one.',
            hint="Say where the numbers are; or set it to None, if the site keeps none and users enrol theirs.",
            id=check_ids.PHONE_LEFT_OUT,
        )
    ]


def _dead_end(path: str) -> str:
    """Return what is missing on a path from the user; "" if models show nothing missing."""
    cls: Any = get_user_model()
    for name in path.split("."):
        field = _fields(cls).get(name)
        if field is None and not hasattr(cls, name):
            return f'{cls.__name__} has no "{name}"'
        if field is None and inspect.isroutine(getattr(cls, name)):
            return f"{cls.__name__}.{name} is a method, and a path calls none"
        cls = getattr(field, "related_model", None)
        if field is not None and (field.one_to_many or field.many_to_many):
            cls = getattr(getattr(field.model, name, None), "related_manager_cls", None)
        if not isinstance(cls, type):
            return ""
    return ""


def _fields(cls: Any) -> dict[str | None, Any]:
    # By attribute name: a reverse relation may have another name in queries.
    fields = cls._meta.get_fields() if hasattr(cls, "_meta") else ()
    return {f.get_accessor_name() if isinstance(f, ForeignObjectRel) else f.name: f for f in fields}


def _check_user_model() -> list[checks.CheckMessage]:
    config = conf.current()
    found: list[checks.CheckMessage] = []
    for key, is_used, names in (
        ("REQUIRED", config.REQUIRED == "staff", ("is_staff", "is_superuser")),
        ("EXEMPT_GROUPS", bool(config.EXEMPT_GROUPS), ("groups",)),
    ):
        missing = [name for name in names if not hasattr(get_user_model(), name)]
        if is_used and missing:
            found.append(
                checks.Error(
                    f'VERIGATOR["{key}"] cannot be used: the user model has no {", ".join(missing)}.',
                    hint='Say who owes the second step in a function of yours: "REQUIRED": "shop.rules.is_required".',
                    id=check_ids.USER_MODEL_LACKS_FIELDS,
                )
            )
    return found


def _check_databases() -> list[checks.CheckMessage]:
    try:
        users = router.db_for_write(get_user_model())
        ours = {router.db_for_write(model) for model in apps.get_app_config("django_verigator").get_models()}
    except Exception:  # noqa: BLE001 - a site's router may need a request
        return []
    if ours <= {users}:
        return []
    return [
        checks.Error(
            "DATABASE_ROUTERS puts the tables of django_verigator and the users into different databases.",
            hint=f'Have the router put both into "{users}": each login reads and writes them together.',
            id=check_ids.TWO_DATABASES,
        )
    ]
