"""Checks of the providers in BACKENDS."""

from __future__ import annotations

from django.core import checks
from django.core.exceptions import ImproperlyConfigured

from .. import check_ids, conf
from ..backends import BaseBackend, build, stand_ins_allowed
from ..constants import METHOD_CALL
from ..flows import providers


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
    return [*found, *_check_record_backends(built), *_check_methods(built), *_check_calls(built)]


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
    if config.METHOD not in config.WAYS:
        return [_no_method(f'METHOD is "{config.METHOD}", which is none of WAYS.', "Add it to WAYS, or set METHOD.")]
    if built and not any(providers.method_of(backend, config.METHOD) for backend in built):
        text = f'no entry of BACKENDS can send by METHOD, "{config.METHOD}".'
        return [_no_method(text, "List a provider that can, or allow text messages in WAYS.")]
    return []


def _no_method(text: str, hint: str) -> checks.Error:
    hint = f"Nobody could log in. {hint}"
    return checks.Error(f'VERIGATOR["METHOD"]: {text}', hint=hint, id=check_ids.NO_METHOD_LEFT)


def _check_calls(built: list[BaseBackend]) -> list[checks.CheckMessage]:
    if METHOD_CALL not in conf.current().WAYS:
        return []
    return [
        checks.Warning(
            f'VERIGATOR["BACKENDS"]["{backend.alias}"] reads the PIN to whoever answers a call, also to a voice mail.',
            hint='Have the provider ask for a key press first, or leave "call" out of WAYS.',
            id=check_ids.CALLS_REACH_VOICE_MAIL,
        )
        for backend in built
        if METHOD_CALL in backend.methods and not backend.call_needs_key_press
    ]
