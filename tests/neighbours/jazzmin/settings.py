from __future__ import annotations

from tests.neighbours.base_settings import *

INSTALLED_APPS = ["jazzmin", *INSTALLED_APPS, "tests.neighbours.jazzmin"]  # jazzmin before django.contrib.admin
ROOT_URLCONF = "tests.neighbours.axes.urls"
