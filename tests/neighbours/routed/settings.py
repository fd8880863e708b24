from __future__ import annotations

from tests.neighbours.base_settings import *

DATABASES = {name: {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"} for name in ("default", "one", "two")}
DATABASE_ROUTERS = ["tests.neighbours.routed.router.ByHost"]
MIDDLEWARE = ["tests.neighbours.routed.router.choose_database", *MIDDLEWARE]
ROOT_URLCONF = "tests.neighbours.axes.urls"
