"""What the backends that speak HTTP check of their options alike."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from urllib.parse import urlsplit

from django.core.checks import CheckMessage, Error
from django.core.checks import Warning as CheckWarning

from .. import check_ids
from ..client import is_loopback
from .base import BaseBackend

PATIENCE = 20
"""Seconds. gunicorn ends a worker that has been silent for 30, and a login is more than its calls."""


def private_endpoints(backend: BaseBackend, addresses: Iterable[str]) -> list[CheckMessage]:
    """The provider is on the internet: what is sent to a machine next door is in the wrong hands."""
    return [
        Error(
            f'VERIGATOR["BACKENDS"]["{backend.alias}"]: its endpoint is a private address.',
            hint="Leave endpoint out for the provider's own; the sandbox of this machine is at a loopback address.",
            id=check_ids.ENDPOINT_PRIVATE,
        )
        for address in addresses
        if _is_private(urlsplit(address).hostname or "")
    ]


def _is_private(host: str) -> bool:
    try:
        return not is_loopback(host) and not ipaddress.ip_address(host).is_global
    except ValueError:  # a name
        return False


def too_patient(backend: BaseBackend) -> list[CheckMessage]:
    if backend.total_timeout <= PATIENCE:
        return []
    return [
        CheckWarning(
            f'VERIGATOR["BACKENDS"]["{backend.alias}"]: a request may wait {backend.total_timeout:g} seconds for it.',
            hint=f"Web servers give up on a worker after about 30: set total_timeout to {PATIENCE} or less.",
            id=check_ids.BACKEND_WAITS_TOO_LONG,
        )
    ]
