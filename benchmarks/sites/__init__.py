"""Three sites, alike but for their login: Django's own, one of two steps by hand, and django_verigator's."""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import os
from collections.abc import Callable, Iterator
from concurrent import futures
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, ParamSpec, Protocol, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

TIMEOUT = 300
"""Seconds after which a process of a site is taken to hang."""

PASSWORD = "benchmark"
LOGIN, VERIFY, PAGE = "/accounts/login/", "/accounts/verify/", "/page/"
VARIABLE = "BENCHMARKS_SITE"

# Each limit stays on and is counted. These are only wider, since a few users log in from one address again and again.
LIMITS = dict.fromkeys(
    (
        "SENDS_PER_USER_HOUR",
        "SENDS_PER_PHONE_10_MINUTES",
        "SENDS_PER_PHONE_DAY",
        "SENDS_PER_ADDRESS_HOUR",
        "SENDS_PER_PREFIX_HOUR",
        "SENDS_PER_SITE_HOUR",
        "SENDS_PER_SITE_DAY",
        "STARTS_PER_USER_HOUR",
        "STARTS_PER_ADDRESS_HOUR",
    ),
    10**6,
)


class Process(Protocol):
    """Call a function in the site's process, and wait for what it returns."""

    def __call__(self, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T: ...


@dataclass(frozen=True)
class Site:
    """What another process needs to know to be this site.

    Attributes:
        name: "plain", "by_hand" or "verigator".
        database: its entry of DATABASES.
        provider: OPTIONS of the backend; empty: the locmem backend.
        limits: more of LIMITS.
        settings: more of Django's settings.
    """

    name: str
    database: dict[str, Any]
    provider: dict[str, str] = field(default_factory=dict)
    limits: dict[str, int] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)

    @property
    def has_second_step(self) -> bool:
        return self.name != "plain"

    @property
    def environment(self) -> dict[str, str]:
        """The environment in which ``benchmarks.wsgi`` is this site."""
        return {**os.environ, VARIABLE: json.dumps(asdict(self))}

    def configure(self) -> None:
        """Make this process a process of the site."""
        import django
        from django.conf import settings

        settings.configure(**{**self._settings(), **self.settings})
        django.setup()

    @contextlib.contextmanager
    def process(self) -> Iterator[Process]:
        """Run a process of the site."""
        context = multiprocessing.get_context("spawn")
        before = multiprocessing.active_children()
        with futures.ProcessPoolExecutor(1, mp_context=context, initializer=self.configure) as pool:

            def call(function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
                try:
                    return pool.submit(function, *args, **kwargs).result(TIMEOUT)
                except futures.TimeoutError:
                    for process in set(multiprocessing.active_children()) - set(before):
                        process.kill()
                    raise

            yield call

    def _settings(self) -> dict[str, Any]:
        apps: list[str] = []
        middleware: list[str] = []
        more: dict[str, Any] = {}
        if self.name == "by_hand":
            more["PROVIDER"] = self.provider
        if self.name == "verigator":
            apps, middleware = ["django_verigator"], ["django_verigator.middleware.VerigatorMiddleware"]
            backend: dict[str, Any] = {"BACKEND": "django_verigator.backends.locmem.LocMemBackend"}
            if self.provider:
                backend = {
                    "BACKEND": "django_verigator.backends.verigator.VerigatorBackend",
                    "OPTIONS": self.provider,
                }
            more["VERIGATOR"] = {
                "BACKENDS": {"default": backend},
                "PHONE": "first_name",
                "STAND_IN": True,
                "LIMITS": {**LIMITS, **self.limits},
            }
        return {
            "SECRET_KEY": "benchmarks only",
            "ALLOWED_HOSTS": ["127.0.0.1", "testserver"],
            "USE_TZ": True,
            "ROOT_URLCONF": f"benchmarks.sites.{self.name}",
            "DATABASES": {"default": self.database},
            "DEFAULT_AUTO_FIELD": "django.db.models.BigAutoField",
            "INSTALLED_APPS": [
                "django.contrib.auth",
                "django.contrib.contenttypes",
                "django.contrib.sessions",
                "django.contrib.messages",
                *apps,
            ],
            "MIDDLEWARE": [
                "django.middleware.security.SecurityMiddleware",
                "django.contrib.sessions.middleware.SessionMiddleware",
                "django.middleware.common.CommonMiddleware",
                "django.middleware.csrf.CsrfViewMiddleware",
                "django.contrib.auth.middleware.AuthenticationMiddleware",
                *middleware,
                "django.contrib.messages.middleware.MessageMiddleware",
                "django.middleware.clickjacking.XFrameOptionsMiddleware",
            ],
            "TEMPLATES": [
                {
                    "BACKEND": "django.template.backends.django.DjangoTemplates",
                    "DIRS": [str(Path(__file__).parent / "templates")],
                    "APP_DIRS": True,
                }
            ],
            "PASSWORD_HASHERS": ["django.contrib.auth.hashers.MD5PasswordHasher"],
            "LOGIN_URL": LOGIN,
            "LOGIN_REDIRECT_URL": PAGE,
            "STATIC_URL": "static/",
            "LOGGING": {
                "version": 1,
                "disable_existing_loggers": False,
                "handlers": {"null": {"class": "logging.NullHandler"}},
                "root": {"handlers": ["null"]},
            },
            **more,
        }


def username(number: int) -> str:
    return f"user{number}"
