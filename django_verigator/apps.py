from __future__ import annotations

from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class VerigatorConfig(AppConfig):
    name = "django_verigator"
    verbose_name = _("Second factor by phone")
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        # These need the models, so they cannot be imported at the top.
        from . import backends, checks, receivers

        backends.hide_proxies()
        receivers.connect()
        checks.register()
