"""Guards for class-based views."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any, ClassVar

from .decorators import verified_required

__all__ = ["VerifiedRequiredMixin"]


class VerifiedRequiredMixin:
    """Applies ``verified_required`` to a class-based view, sync or async. Stands before the view class.

    Attributes:
        max_age: how old the last proof may be; None for any age.
    """

    max_age: ClassVar[timedelta | None] = None

    @classmethod
    def as_view(cls, **initkwargs: Any) -> Callable[..., Any]:
        """Return the guarded view; ``max_age`` may be given here too."""
        view = super().as_view(**initkwargs)  # type: ignore[misc]
        guarded: Callable[..., Any] = verified_required(max_age=initkwargs.get("max_age", cls.max_age))(view)
        return guarded
