"""Template context: ``{% if verigator.is_verified %}``."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest


def verigator(request: HttpRequest) -> dict[str, Any]:
    """Put the request's gate into the context; a template that does not ask it costs nothing."""
    return {"verigator": getattr(request, "verigator", None)}
