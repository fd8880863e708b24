"""What the backends that speak HTTP check of their options alike."""

from __future__ import annotations

from django.core.checks import CheckMessage
from django.core.checks import Warning as CheckWarning

from .base import BaseBackend

PATIENCE = 20
"""Seconds. gunicorn ends a worker that has been silent for 30, and a login is more than its calls."""


def too_patient(backend: BaseBackend) -> list[CheckMessage]:
    if backend.total_timeout <= PATIENCE:
        return []
    return [
        CheckWarning(
            f'VERIGATOR["BACKENDS"]["{backend.alias}"]: a request may wait {backend.total_timeout:g} seconds for it.',
            hint=f"Web servers give up on a worker after about 30: set total_timeout to {PATIENCE} or less.",
            id="verigator.W020",
        )
    ]
