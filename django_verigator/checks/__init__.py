"""System checks for what would otherwise fail at the first login. Their ids are in ``check_ids``."""

from __future__ import annotations

from django.core import checks

from .deploy import check_deploy, check_packages
from .middleware import check_middleware
from .other_logins import check_logins
from .settings import check_settings
from .urls import check_urls

__all__ = [
    "check_deploy",
    "check_logins",
    "check_middleware",
    "check_packages",
    "check_settings",
    "check_urls",
    "register",
]

TAG = "verigator"


def register() -> None:
    """Register the system checks."""
    for check in (check_settings, check_middleware, check_urls, check_logins):
        checks.register(check, checks.Tags.security, TAG)
    checks.register(check_packages, checks.Tags.compatibility, TAG)
    checks.register(check_deploy, checks.Tags.security, TAG, deploy=True)
