"""The site of ``benchmarks.outage``, as gunicorn loads it."""

from __future__ import annotations

import json
import os
from typing import Any

from django.core.wsgi import get_wsgi_application

from . import setup

THREADS = 8
LIMITS = {
    "SENDS_PER_USER_HOUR": 10**6,
    "SENDS_PER_PHONE_10_MINUTES": 10**6,
    "SENDS_PER_PREFIX_HOUR": 10**6,
    "SENDS_PER_SITE_HOUR": 10**6,
    "SENDS_PER_SITE_DAY": 10**6,
    "SENDS_PER_LOGIN": 10**6,
    "RESEND_PAUSE": 1,
    # A minute's outage stands for an hour's.
    "CIRCUIT_OPEN_SECONDS": 5,
}


def configure(options: dict[str, Any]) -> None:
    """Configure Django. ``options``: ``database`` (its name), and the provider's ``endpoint`` and ``service_id``."""
    username, password = setup.CREDENTIALS
    provider = {
        "username": username,
        "password": password,
        "endpoint": options["endpoint"],
        "service_id": options["service_id"],
    }
    backend = "django_verigator.backends.verigator.VerigatorBackend"
    setup.django(
        DATABASES={
            "default": {
                "ENGINE": "django.db.backends.postgresql",
                "NAME": options["database"],
                "USER": os.environ.get("PGUSER", "postgres"),
                "HOST": os.environ.get("PGHOST", "127.0.0.1"),
                "CONN_MAX_AGE": None,
            }
        },
        VERIGATOR={
            "BACKENDS": {"default": {"BACKEND": backend, "OPTIONS": provider}},
            "PHONE": "first_name",
            "STAND_IN": True,
            "LIMITS": {**LIMITS, **options.get("limits", {})},
        },
    )


if "OUTAGE_SITE" in os.environ:
    configure(json.loads(os.environ["OUTAGE_SITE"]))
    application = get_wsgi_application()
