from __future__ import annotations

from typing import Any

from django.apps import AppConfig
from django.conf import settings
from django.core import checks


class CafeConfig(AppConfig):
    name = "cafe"
    verbose_name = "Corner Café"

    def ready(self) -> None:
        checks.register(sandbox_has_a_service)


def sandbox_has_a_service(**kwargs: Any) -> list[checks.CheckMessage]:
    if not settings.DEBUG or not settings.USES_SANDBOX or settings.SANDBOX_SERVICE_ID.exists():
        return []
    return [
        checks.Warning(
            "The sandbox has no service for this site yet, so no PIN can be sent.",
            hint="Run manage.py demo once; or set VERIGATOR_USERNAME, VERIGATOR_PASSWORD and VERIGATOR_SERVICE_ID.",
            id="cafe.W001",
        )
    ]
