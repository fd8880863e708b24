"""Base classes of the app's models."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from django.db import models, router
from django.utils.encoding import iri_to_uri

from ..db import retry_on_deadlock
from ..hidden import HiddenText

if TYPE_CHECKING:
    from typing_extensions import Self  # in typing from Python 3.11 on

_M = TypeVar("_M", bound=models.Model)


class QuerySet(models.QuerySet[_M]):
    """A QuerySet whose ``update`` is repeated after a deadlock."""

    def update(self, **values: Any) -> int:
        return retry_on_deadlock(partial(super().update, **values))

    update.alters_data = True  # type: ignore[attr-defined]


class AttemptsQuerySet(QuerySet[_M]):
    """A QuerySet of rows whose calls to the provider are repeated, by ``next_attempt_at``."""

    def due(self, now: datetime) -> Self:
        return self.filter(models.Q(next_attempt_at=None) | models.Q(next_attempt_at__lte=now))


class PrimaryManager(models.Manager[_M]):
    """Reads from the database for writes: a replica that lags must not hide a try or a lockout.

    Each model also names it as ``base_manager_name``, for ``refresh_from_db()`` and ``user.verigator``.
    """

    def get_queryset(self) -> models.QuerySet[_M]:
        return super().get_queryset().using(self._db or router.db_for_write(self.model))


BaseManager = PrimaryManager.from_queryset(QuerySet)


class Transitions:
    """Mixin for a model that changes its row by one conditional UPDATE whose row count decides."""

    def transition(self, values: Mapping[str, Any], *conditions: models.Q, **lookups: Any) -> bool:
        """Write ``values``, to the row and then to the instance, if the row still matches.

        Args:
            conditions, lookups: what the stored row must match, as for ``filter()``.

        Returns:
            Whether the row matched: False if another process was faster, or the row is gone.
        """
        return self._show_if(self._row(*conditions, **lookups).update(**values), values)

    def _row(self, *conditions: models.Q, **lookups: Any) -> models.QuerySet[Any]:
        model: Any = type(self)
        return model.objects.filter(*conditions, pk=self.pk, **lookups)  # type: ignore[attr-defined,no-any-return]

    def _show_if(self, matched: int, values: Mapping[str, Any]) -> bool:
        if matched:
            self.show(values)
        return bool(matched)

    def show(self, values: Mapping[str, Any]) -> None:
        """Set attributes to values that are stored already."""
        for name, value in values.items():
            setattr(self, name, value)


class NumberField(models.CharField):  # type: ignore[type-arg]
    """A phone number, read as HiddenText; for migrations and databases a CharField."""

    def from_db_value(self, value: str | None, *args: Any) -> str | None:
        return HiddenText(value) if value else value

    def deconstruct(self) -> Any:
        name, _path, args, kwargs = super().deconstruct()
        return name, "django.db.models.CharField", args, kwargs


class UrlField(models.TextField):  # type: ignore[type-arg]
    """A URL, percent-encoded to ASCII, since not every database takes every character; for migrations a TextField."""

    def get_prep_value(self, value: Any) -> Any:
        return super().get_prep_value(iri_to_uri(value))

    def deconstruct(self) -> Any:
        name, _path, args, kwargs = super().deconstruct()
        return name, "django.db.models.TextField", args, kwargs
