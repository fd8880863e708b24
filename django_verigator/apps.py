from __future__ import annotations

from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class VerigatorConfig(AppConfig):
    name = "django_verigator"
    verbose_name = _("Second factor by phone")
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        # Both need the models, so they cannot be imported at the top.
        from . import checks, receivers

        receivers.connect()
        checks.register()
