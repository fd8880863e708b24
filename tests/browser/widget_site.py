"""A site with the widget, and the sandbox beside it: ``python -m tests.browser.widget_site FOLDER SAMESITE``.

The site is at localhost and the sandbox at 127.0.0.1: to browsers, two sites. It prints both addresses as JSON,
and ends with its standard input. SAMESITE is that of the site's cookies.
"""

from __future__ import annotations

import json
import os
import sys
from threading import Thread
from wsgiref.simple_server import WSGIRequestHandler, make_server

import django
from django.conf import settings
from django.core.management import call_command

from django_verigator.sandbox import Sandbox

USERNAME, PASSWORD, OLD = "alice", "correct horse", "+37255500067"
FIRST = "carol"
ACCOUNT = {"username": "widget-account", "password": "a secret"}


class _Silent(WSGIRequestHandler):
    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class chose the name
        pass


def configure(folder: str, sandbox: Sandbox, same_site: str) -> None:
    os.environ["DJANGO_SETTINGS_MODULE"] = "tests.settings"
    settings.DATABASES["default"] = {"ENGINE": "django.db.backends.sqlite3", "NAME": f"{folder}/db.sqlite3"}
    settings.INSTALLED_APPS = ["django_verigator.contrib.widget", *settings.INSTALLED_APPS]
    settings.ROOT_URLCONF = "tests.contrib.widget_urls"
    settings.VERIGATOR = {
        "BACKENDS": {
            "default": {
                "BACKEND": "django_verigator.backends.number_verification.NumberVerificationBackend",
                "OPTIONS": {**ACCOUNT, "endpoint": sandbox.url},
            }
        },
        "PHONE": "phone_number",
        "REQUIRED": "all",
        "STAND_IN": True,
        "LIMITS": {"RESEND_PAUSE": 1},
    }
    settings.VERIGATOR_WIDGET = {**ACCOUNT, "endpoint": f"{sandbox.url}/widget/"}
    settings.SESSION_COOKIE_SAMESITE = same_site
    django.setup()


def serve(folder: str, same_site: str) -> None:
    with Sandbox(**ACCOUNT) as sandbox:
        configure(folder, sandbox, same_site)
        from django.contrib.auth import get_user_model
        from django.contrib.staticfiles.handlers import StaticFilesHandler
        from django.core.wsgi import get_wsgi_application

        call_command("migrate", verbosity=0)
        get_user_model().objects.create_user(USERNAME, password=PASSWORD, phone_number=OLD)
        get_user_model().objects.create_user(FIRST, password=PASSWORD)
        settings.DEBUG = True  # else nobody serves the static files
        server = make_server("localhost", 0, StaticFilesHandler(get_wsgi_application()), handler_class=_Silent)
        Thread(target=server.serve_forever, daemon=True).start()
        print(json.dumps([f"http://localhost:{server.server_port}", sandbox.url]), flush=True)
        sys.stdin.read()
        server.shutdown()


if __name__ == "__main__":
    serve(sys.argv[1], sys.argv[2])
