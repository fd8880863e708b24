"""What the app's models have in common."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any, TypeVar

from django.db import models, router
from django.utils.encoding import iri_to_uri

from ..db import retry_on_deadlock
from ..hidden import HiddenText

_M = TypeVar("_M", bound=models.Model)


class QuerySet(models.QuerySet[_M]):
    """``update`` runs a second time where the database gave it up in favour of another write."""

    def update(self, **values: Any) -> int:
        return retry_on_deadlock(partial(super().update, **values))

    update.alters_data = True  # type: ignore[attr-defined]


class PrimaryManager(models.Manager[_M]):
    """Reads from the database that is written to: a replica that lags must not show an old try or an old lockout.

    Named as ``base_manager_name`` as well, for ``refresh_from_db()`` and ``user.verigator``.
    """

    def get_queryset(self) -> models.QuerySet[_M]:
        return super().get_queryset().using(self._db or router.db_for_write(self.model))


BaseManager = PrimaryManager.from_queryset(QuerySet)


class Transitions:
    """Lets a model change its own row by one conditional UPDATE whose row count decides."""

    def transition(self, values: Mapping[str, Any], *conditions: models.Q, **lookups: Any) -> bool:
        """Write ``values`` if the stored row still matches, and show them on the instance then.

        Returns:
            Whether the row matched: False if another process was faster, or the row is gone.
        """
        model: Any = type(self)
        row = model.objects.filter(*conditions, pk=self.pk, **lookups)  # type: ignore[attr-defined]
        if not row.update(**values):
            return False
        self.show(values)
        return True

    def show(self, values: Mapping[str, Any]) -> None:
        """Have the instance carry values that are stored."""
        for name, value in values.items():
            setattr(self, name, value)


class NumberField(models.CharField):  # type: ignore[type-arg]
    """A phone number that does not show itself once it is read; for migrations and databases a CharField."""

    def from_db_value(self, value: str | None, *args: Any) -> str | None:
        return HiddenText(value) if value else value

    def deconstruct(self) -> Any:
        name, _path, args, kwargs = super().deconstruct()
        return name, "django.db.models.CharField", args, kwargs


class UrlField(models.TextField):  # type: ignore[type-arg]
    """A URL in ASCII, percent-encoded: not every database takes every character that can be typed into one."""

    def get_prep_value(self, value: Any) -> Any:
        return super().get_prep_value(iri_to_uri(value))

    def deconstruct(self) -> Any:
        name, _path, args, kwargs = super().deconstruct()
        return name, "django.db.models.TextField", args, kwargs
