"""Settings of the test suite. VERIGATOR_TEST_DATABASE chooses the server: sqlite (default), postgresql, mariadb.

Two suites on one server need a database each: VERIGATOR_TEST_NAME.
"""

from __future__ import annotations

import os
import tempfile

import django

SECRET_KEY = "tests only"
DEBUG = False
ALLOWED_HOSTS = ["*"]
USE_TZ = True
TIME_ZONE = "UTC"
ROOT_URLCONF = "tests.site.urls"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

_DATABASES = {
    # A file, so that threads and processes share it.
    "sqlite": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": ":memory:",
        "OPTIONS": {"timeout": 20},
        "TEST": {"NAME": os.path.join(tempfile.gettempdir(), f"verigator-test-{os.getpid()}.sqlite3")},
    },
    "postgresql": {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": os.environ.get("VERIGATOR_TEST_NAME", "test"),
        "USER": os.environ.get("PGUSER", "postgres"),
        "HOST": "127.0.0.1",
    },
    "mariadb": {
        "ENGINE": "django.db.backends.mysql",
        "NAME": os.environ.get("VERIGATOR_TEST_NAME", "test"),
        "USER": "root",
        "HOST": "127.0.0.1",
        "OPTIONS": {"charset": "utf8mb4"},
    },
}
DATABASES = {"default": _DATABASES[os.environ.get("VERIGATOR_TEST_DATABASE", "sqlite")]}

INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "django_verigator",
    "tests.site",
]

MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django_verigator.middleware.VerigatorMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "django_verigator.context_processors.verigator",
            ],
        },
    },
]

AUTH_USER_MODEL = "site.User"
AUTHENTICATION_BACKENDS = ["django.contrib.auth.backends.ModelBackend"]
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
LOGIN_URL = "verigator:login"
LOGIN_REDIRECT_URL = "/private/"
STATIC_URL = "static/"

VERIGATOR = {
    "BACKENDS": {"default": {"BACKEND": "django_verigator.backends.locmem.LocMemBackend"}},
    "PHONE": "phone_number",
    "STAND_IN": True,
}

if django.VERSION >= (6, 1):
    # Without it Django 6.1 warns at each mail, and warnings are errors here.
    MAILERS = {"default": {"BACKEND": "django.core.mail.backends.locmem.EmailBackend"}}
