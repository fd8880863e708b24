"""The provider that keeps user records."""

from __future__ import annotations

from ..backends import BaseBackend, backends


def record_backend() -> BaseBackend | None:
    """Return the backend whose provider keeps user records, or None."""
    return next((backend for backend in backends.usable() if backend.keeps_users), None)
