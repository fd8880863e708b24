"""What each page knows."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest

from .decorators import is_out_of_date


class Page:
    """What each page knows: whether it is shown in place of a form that its browser has sent with an old token."""

    request: HttpRequest

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        context: dict[str, Any] = super().get_context_data(  # type: ignore[misc]
            out_of_date=is_out_of_date(self.request), **kwargs
        )
        return context
