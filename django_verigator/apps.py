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
        _refuse_to_be_patched_later()
        # These need the models, so they cannot be imported at the top.
        from . import backends, checks, receivers

        backends.hide_proxies()
        receivers.connect()
        checks.register()


def _refuse_to_be_patched_later() -> None:
    """gunicorn's gevent workers patch Python when they begin. Django that was loaded before, with --preload, has all
    greenlets of a worker share one database connection: pages fail at random then, logins too."""
    gevent = sys.modules.get("gevent.monkey")
    if "gunicorn.workers.ggevent" in sys.modules and gevent and not gevent.is_module_patched("threading"):
        raise ImproperlyConfigured(
            "gunicorn loads the site (--preload) before gevent patches Python. Begin gunicorn.conf.py with "
            '"from gevent import monkey; monkey.patch_all()", or leave --preload out.'
        )
