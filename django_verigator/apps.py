"""The app's configuration: its receivers and checks."""

from __future__ import annotations

import sys

from django.apps import AppConfig
from django.core.exceptions import ImproperlyConfigured
from django.utils.translation import gettext_lazy as _


class VerigatorConfig(AppConfig):
    name = "django_verigator"
    verbose_name = _("Second factor by phone")
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        _require_early_gevent_patch()
        # These import the models, which are not loaded before.
        from . import backends, checks, receivers

        backends.hide_proxies()
        receivers.connect()
        checks.register()


def _require_early_gevent_patch() -> None:
    """Refuse to start where gunicorn loads Django (--preload) before its gevent workers patch Python.

    All greenlets of a worker would share one database connection: pages and logins would fail at random.
    """
    gevent = sys.modules.get("gevent.monkey")
    if "gunicorn.workers.ggevent" in sys.modules and gevent and not gevent.is_module_patched("threading"):
        raise ImproperlyConfigured(
            "gunicorn loads the site (--preload) before gevent patches Python. Begin gunicorn.conf.py with "
            '"from gevent import monkey; monkey.patch_all()", or leave --preload out.'
        )
