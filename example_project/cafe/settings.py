"""Settings of the example site, all of them from the environment.

With nothing set this is a development site: DEBUG, SQLite in this folder, and the sandbox as provider
(``manage.py demo`` starts it). With a SECRET_KEY of its own it is taken for a real site: DEBUG is off, HTTPS is on.
"""

from __future__ import annotations

from pathlib import Path

import environ

env = environ.Env()
BASE_DIR = Path(__file__).resolve().parent.parent

# --- Django -----------------------------------------------------------------------------------------------------------

# Whoever forgets DEBUG on a real site must not get it: only a site without a secret of its own debugs by default.
DEBUG = env.bool("DEBUG", default=not env.str("SECRET_KEY", default=""))
SECRET_KEY = env.str("SECRET_KEY", **({"default": "only for development"} if DEBUG else {}))
ALLOWED_HOSTS = env.list("ALLOWED_HOSTS", default=[])

INSTALLED_APPS = [
    # First, so that its templates come before the package's and the admin's.
    "cafe",
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "django_verigator",
]

MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "cafe.middleware.ContentSecurityPolicyMiddleware",
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

ROOT_URLCONF = "cafe.urls"
WSGI_APPLICATION = "cafe.wsgi.application"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
USE_TZ = True
TIME_ZONE = env.str("TIME_ZONE", default="UTC")
STATIC_URL = "static/"
STATIC_ROOT = env.str("STATIC_ROOT", default=str(BASE_DIR / "staticfiles"))

if env.str("DATABASE_URL", default=""):
    DATABASES = {"default": env.db("DATABASE_URL")}
else:
    DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": BASE_DIR / "db.sqlite3"}}

# --- logging in -------------------------------------------------------------------------------------------------------

AUTH_USER_MODEL = "cafe.User"
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}"}
    for name in (
        "UserAttributeSimilarityValidator",
        "MinimumLengthValidator",
        "CommonPasswordValidator",
        "NumericPasswordValidator",
    )
]
LOGIN_URL = "verigator:login"
LOGIN_REDIRECT_URL = "menu"
LOGOUT_REDIRECT_URL = "menu"

# --- the second step --------------------------------------------------------------------------------------------------

# Only the development site uses these. The demo keeps its sandbox in this file, and the id of its service beside it.
SANDBOX_DB = Path(env.str("SANDBOX_DB", default=str(BASE_DIR / "sandbox.sqlite3")))
SANDBOX_SERVICE_ID = SANDBOX_DB.with_name(f"{SANDBOX_DB.name}.service")
SANDBOX_OPTIONS = {
    "username": "cafe",
    "password": "sandbox only",
    "service_id": SANDBOX_SERVICE_ID.read_text().strip() if SANDBOX_SERVICE_ID.exists() else "run manage.py demo first",
    "endpoint": "http://127.0.0.1:8750",
}

# Any of these in the environment, and the site talks to the real service.
REAL_OPTIONS = {
    "username": env.str("VERIGATOR_USERNAME", default=""),
    "password": env.str("VERIGATOR_PASSWORD", default=""),
    "service_id": env.str("VERIGATOR_SERVICE_ID", default=""),
}
if endpoint := env.str("VERIGATOR_ENDPOINT", default=""):
    REAL_OPTIONS["endpoint"] = endpoint
USES_SANDBOX = not any(REAL_OPTIONS.values())

VERIGATOR = {
    "BACKENDS": {
        "default": {
            "BACKEND": "django_verigator.backends.verigator.VerigatorBackend",
            "OPTIONS": SANDBOX_OPTIONS if DEBUG and USES_SANDBOX else REAL_OPTIONS,
        },
    },
    "PHONE": "phone_number",
    "METHOD": env.str("VERIGATOR_METHOD", default="sms"),
    # The reverse proxy in front; only what it says of a visitor's address is believed.
    "TRUSTED_PROXIES": env.list("TRUSTED_PROXIES", default=["127.0.0.1", "::1"]),
    "LIMITS": {"RESEND_PAUSE": env.int("VERIGATOR_RESEND_PAUSE", default=30)},
}

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"plain": {"format": "%(levelname)s %(name)s: %(message)s"}},
    "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "plain"}},
    # One line for each outcome; INFO shows the good ones too.
    "loggers": {
        "django_verigator": {"handlers": ["stderr"], "level": env.str("VERIGATOR_LOG_LEVEL", default="WARNING")},
    },
}

# --- HTTPS, wherever this is not a development site -------------------------------------------------------------------

SECURE_SSL_REDIRECT = env.bool("SECURE_SSL_REDIRECT", default=not DEBUG)
SECURE_HSTS_SECONDS = env.int("SECURE_HSTS_SECONDS", default=0 if DEBUG else 31_536_000)
SECURE_HSTS_INCLUDE_SUBDOMAINS = env.bool("SECURE_HSTS_INCLUDE_SUBDOMAINS", default=not DEBUG)
SECURE_HSTS_PRELOAD = env.bool("SECURE_HSTS_PRELOAD", default=not DEBUG)
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = env.bool("SECURE_COOKIES", default=not DEBUG)
if env.bool("BEHIND_TLS_PROXY", default=False):  # only where a proxy of your own always sets or removes the header
    SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
