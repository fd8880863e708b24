"""The site that real servers run, as the environment describes it: ``wsgi`` and ``asgi`` below are what they load."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import asdict, dataclass
from typing import Any

import django
from django.apps import apps
from django.conf import settings
from django.core.management import call_command

USERS = 20
PASSWORD = "correct horse"
KEY = "VERIGATOR_SERVERS"


@dataclass(frozen=True)
class Site:
    """Attributes:
    database: the setting DATABASES["default"].
    verigator: the setting VERIGATOR.
    warm: the provider is asked while the application is loaded, so with --preload before the workers are forked off.
    """

    database: dict[str, Any]
    verigator: dict[str, Any]
    warm: bool = False

    def environment(self) -> dict[str, str]:
        return {**os.environ, "DJANGO_SETTINGS_MODULE": "tests.settings", KEY: json.dumps(asdict(self))}


def phone(number: int) -> str:
    return f"+372555{number:05}"


def configure() -> Site:
    site = Site(**json.loads(os.environ[KEY]))
    if not apps.ready:
        settings.DATABASES["default"] = site.database
        settings.VERIGATOR = site.verigator
        django.setup()
    return site


def prepare() -> None:
    """Make the tables, and users who are not registered yet."""
    from django.contrib.auth import get_user_model
    from django.contrib.auth.hashers import make_password

    call_command("migrate", verbosity=0)
    user_model = get_user_model()
    user_model.objects.bulk_create(
        user_model(username=f"user{number}", password=make_password(PASSWORD), phone_number=phone(number))
        for number in range(USERS)
    )


def warm_up() -> None:
    from django_verigator.backends import backends

    backends.default.exists("nobody")


if KEY in os.environ:
    if configure().warm:
        warm_up()
    if sys.argv[1:] == ["prepare"]:
        prepare()
    else:
        from django.core.asgi import get_asgi_application
        from django.core.wsgi import get_wsgi_application

        wsgi = get_wsgi_application()
        asgi = get_asgi_application()
