from __future__ import annotations

from tests.neighbours.base_settings import *

INSTALLED_APPS += ["axes"]
AUTHENTICATION_BACKENDS = [
    "axes.backends.AxesStandaloneBackend",
    "django.contrib.auth.backends.ModelBackend",
]
MIDDLEWARE += ["axes.middleware.AxesMiddleware"]  # the last one
AXES_FAILURE_LIMIT = 3
AXES_RESET_ON_SUCCESS = True
ROOT_URLCONF = "tests.neighbours.axes.urls"
