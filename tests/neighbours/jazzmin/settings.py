from __future__ import annotations

from tests.neighbours.base_settings import *

INSTALLED_APPS = ["jazzmin", *INSTALLED_APPS]  # before django.contrib.admin
ROOT_URLCONF = "tests.neighbours.axes.urls"
