"""Checks of the providers in BACKENDS."""

from __future__ import annotations

from django.core import checks
from django.core.exceptions import ImproperlyConfigured

from .. import check_ids, conf
from ..backends import BaseBackend, build, stand_ins_allowed
from ..constants import METHOD_TOTP


def check_backends() -> list[checks.CheckMessage]:
    """Return what is wrong with the entries of BACKENDS, each by itself and all together."""
    found: list[checks.CheckMessage] = []
    built: list[BaseBackend] = []
    for alias in conf.current().BACKENDS:
        try:
            backend = build(alias)
        except ImproperlyConfigured as error:
            found.append(checks.Error(str(error), hint="See docs/backends.md.", id=check_ids.BACKEND_UNUSABLE))
            continue
        built.append(backend)
        found += backend.system_checks()
        if backend.is_stand_in and not stand_ins_allowed():
            found.append(
                checks.Error(
                    f'VERIGATOR["BACKENDS"]["{alias}"] is a stand-in for tests and development, and DEBUG is off.',
                    hint='Configure a real provider; a test run may set VERIGATOR["STAND_IN"] = True.',
                    id=check_ids.STAND_IN_WITHOUT_DEBUG,
                )
            )
    return [*found, *_check_record_backends(built), *_check_methods(built)]


def _check_record_backends(built: list[BaseBackend]) -> list[checks.CheckMessage]:
    if sum(backend.keeps_users for backend in built) <= 1:
        return []
    return [
        checks.Error(
            'More than one entry of VERIGATOR["BACKENDS"] keeps user records.',
            hint="A link holds one UserID: list at most one such provider.",
            id=check_ids.TWO_RECORD_BACKENDS,
        )
    ]


def _check_methods(built: list[BaseBackend]) -> list[checks.CheckMessage]:
    config = conf.current()
    if config.ALLOW_SMS:
        return []
    if config.METHOD != METHOD_TOTP:
        return [
            checks.Error(
                f'VERIGATOR["ALLOW_SMS"] is False, and METHOD is "{config.METHOD}".',
                hint='Nobody could log in. Allow text messages, or set METHOD to "totp".',
                id=check_ids.NO_METHOD_LEFT,
            )
        ]
    if not built or any(METHOD_TOTP in backend.methods for backend in built):
        return []
    return [
        checks.Error(
            'VERIGATOR["ALLOW_SMS"] is False, and no entry of BACKENDS can ask for a code of the app.',
            hint="Nobody could log in. Allow text messages, or list a provider that has an app.",
            id=check_ids.NO_METHOD_LEFT,
        )
    ]
