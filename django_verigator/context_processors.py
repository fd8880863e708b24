"""Template context: ``{% if verigator.is_verified %}``."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest


def verigator(request: HttpRequest) -> dict[str, Any]:
    """Put the request's guard into the context; it costs nothing in a template that does not use it."""
    return {"verigator": getattr(request, "verigator", None)}
