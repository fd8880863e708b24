"""The template context that every page has."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest

from .decorators import is_out_of_date


class Page:
    """Adds ``out_of_date``: whether the page replaces a form that was posted with an old CSRF token."""

    request: HttpRequest

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        context: dict[str, Any] = super().get_context_data(  # type: ignore[misc]
            out_of_date=is_out_of_date(self.request), **kwargs
        )
        return context
