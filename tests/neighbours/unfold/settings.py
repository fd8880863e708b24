from __future__ import annotations

from tests.neighbours.base_settings import *

INSTALLED_APPS.remove("tests.site")
INSTALLED_APPS = ["unfold", *INSTALLED_APPS, "tests.neighbours.unfold"]  # unfold before django.contrib.admin
AUTH_USER_MODEL = "people.User"
ROOT_URLCONF = "tests.neighbours.axes.urls"
