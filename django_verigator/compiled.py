"""Statements that are written with the ORM, compiled once, and from then on sent as text.

To compose an UPDATE of a few conditions takes the ORM several times as long as the database takes to run it. Which
statements these are is in ``models.statements``.
"""

from __future__ import annotations

import copy
import functools
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from django.apps import apps
from django.conf import settings
from django.db import connections, models, transaction
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import sql

from . import db

_COMPILING = frozenset({"postgresql", "mysql", "sqlite"})
"""Databases that the compiled form is tested on (MariaDB is "mysql"); on any other the ORM's form runs."""
_JOINING = frozenset({"postgresql"})
"""Databases that take several writes as one statement."""

_M = TypeVar("_M", bound=models.Model)


class Parameter(models.Expression):
    """A value that a statement gets each time it runs."""

    def __init__(self, name: str, output_field: models.Field[Any, Any]) -> None:
        super().__init__(output_field=output_field)
        self.name = name

    def as_sql(self, compiler: Any, connection: Any) -> Any:
        return "%s", [self]


@dataclass(frozen=True, slots=True)
class _Text:
    """SQL with ``%s`` for each parameter; parameters that are the same for each run are there by value."""

    sql: str
    params: list[Any]

    def filled(self, values: Mapping[str, Any], connection: BaseDatabaseWrapper) -> list[Any]:
        return [
            param.output_field.get_db_prep_value(values[param.name], connection)
            if isinstance(param, Parameter)
            else param
            for param in self.params
        ]


class _Statement:
    """A builder of a statement; which optional parameters it gets decides which variant is compiled.

    Args:
        build: gets the model's rows, and each parameter by keyword. For a lookup none may be None, which SQL compares
            otherwise.
        model: name of the model.
        fields: the types of the parameters that are not named like a field of the model. Numbered parameters
            (``digest0``, ``digest1``; see ``numbered``) have the type of ``digest``.
    """

    def __init__(self, build: Callable[..., Any], model: str, fields: Mapping[str, models.Field[Any, Any]]) -> None:
        self.__doc__ = build.__doc__
        self._build = build
        self._model_name = model
        self._fields = fields
        self._compiled: dict[Any, Any] = {}

    @functools.cached_property
    def model(self) -> Any:
        return apps.get_model("django_verigator", self._model_name)

    def in_orm(self, **values: Any) -> Any:
        """Return what the builder returns for plain values: the ORM's form, which the compiled one must equal."""
        return self._build(self.model.objects.all(), **values)

    def _parameter(self, name: str) -> Parameter:
        typed = self._fields.get(name.rstrip("0123456789")) or self.model._meta.get_field(name)
        return Parameter(name, getattr(typed, "target_field", typed))

    def _parameters(self, names: Any) -> dict[str, Parameter]:
        return {name: self._parameter(name) for name in names}

    def compiled(self, connection: BaseDatabaseWrapper, values: Mapping[str, Any]) -> Any:
        # USE_TZ decides on converters; a test may put another table in place of the model's.
        key = (connection.alias, connection.vendor, settings.USE_TZ, self.model._meta.db_table, *values)
        found = self._compiled.get(key)
        if found is None:
            found = self._compiled[key] = self._compile(connection, values)
        return found

    def _compile(self, connection: BaseDatabaseWrapper, values: Mapping[str, Any]) -> Any:
        raise NotImplementedError


@dataclass(frozen=True, slots=True)
class Write:
    """A statement with its values, ready to run."""

    statement: Update
    values: Mapping[str, Any] = field(repr=False)  # may hold a phone number

    def run(self) -> int:
        """Run it, once more after a deadlock, and return the number of rows that it has written."""
        connection = db.connection()
        return db.retry_on_deadlock(functools.partial(self.statement.run, connection, self.values))

    run.alters_data = True  # type: ignore[attr-defined]  # for templates

    def __bool__(self) -> bool:
        # What asks for the number of rows must not take a write that was never run for one.
        raise TypeError("a Write has to be run")

    def text(self, connection: BaseDatabaseWrapper) -> tuple[str, list[Any]]:
        """Return the SQL and its parameters, adapted for the database."""
        text = self.statement.compiled(connection, self.values)
        return text.sql, text.filled(self.values, connection)


def _execute(connection: BaseDatabaseWrapper, text: str, params: list[Any]) -> tuple[int, tuple[Any, ...]]:
    """Return the number of rows, and the first row of a statement that returns some."""
    with transaction.mark_for_rollback_on_error(using=connection.alias), connection.cursor() as cursor:
        cursor.execute(text, params)
        return cursor.rowcount, cursor.fetchone() if cursor.description else ()


class Update(_Statement):
    """A compiled UPDATE. Its builder returns the rows and the values, as for ``rows.update(**values)``."""

    def __call__(self, **values: Any) -> Write:
        return Write(self, values)

    def run(self, connection: BaseDatabaseWrapper, values: Mapping[str, Any]) -> int:
        if connection.vendor not in _COMPILING:
            rows, assigned = self.in_orm(**values)
            return int(rows.update(**assigned))
        return self._run_text(connection, values)

    def _run_text(self, connection: BaseDatabaseWrapper, values: Mapping[str, Any]) -> int:
        text: _Text = self.compiled(connection, values)
        rowcount, _ = _execute(connection, text.sql, text.filled(values, connection))
        return rowcount

    def _compile(self, connection: BaseDatabaseWrapper, values: Mapping[str, Any]) -> _Text:
        rows, assigned = self.in_orm(**self._parameters(values))
        # As QuerySet.update() composes it.
        query = rows.query.chain(sql.UpdateQuery)
        query.add_update_values(assigned)
        query.annotations = {}
        query.clear_ordering(force=True)
        text, params = query.get_compiler(connection=connection).as_sql()
        return _Text(text, list(params))


class Sql(Update):
    """A statement in SQL. Its builder gets the connection and the model's ``_meta``, and returns SQL with ``%(name)s``
    for each parameter.
    """

    run = Update._run_text

    def in_orm(self, **values: Any) -> Any:
        raise NotImplementedError("this statement has no form in the ORM")

    def _compile(self, connection: BaseDatabaseWrapper, values: Mapping[str, Any]) -> _Text:
        named = self._build(connection, self.model._meta, **self._parameters(values))
        params = [self._parameter(name) for name in re.findall(r"%\((\w+)\)s", named)]
        return _Text(re.sub(r"%\(\w+\)s", "%s", named), params)


class _CompiledQuery(sql.Query):
    """A query that keeps its compiler, so that Django's own iterable makes the instances from its rows."""

    compiler: Any
    text: _Text
    converted: list[int]
    """The columns whose values are converted: of most, on most databases, none is."""
    params: list[Any]

    def get_compiler(self, using: Any = None, connection: Any = None, elide_empty: bool = True) -> Any:
        compiler = copy.copy(self.compiler)
        compiler.connection = connections[using]
        compiler.as_sql = lambda *args, **kwargs: (self.text.sql, self.params)
        converters_of = compiler.get_converters
        compiler.get_converters = lambda columns: {
            place: converters_of([columns[place]])[0] for place in self.converted
        }
        return compiler


class Select(_Statement, Generic[_M]):
    """A compiled SELECT of model instances. Its builder returns a QuerySet."""

    def first(self, **values: Any) -> _M | None:
        """Return the first of the rows, or None."""
        connection = db.connection()
        if connection.vendor not in _COMPILING:
            found: _M | None = self.in_orm(**values).first()
            return found
        query = copy.copy(self.compiled(connection, values))
        query.params = query.text.filled(values, connection)
        return next(iter(models.QuerySet(self.model, query, connection.alias)), None)

    def _compile(self, connection: BaseDatabaseWrapper, values: Mapping[str, Any]) -> _CompiledQuery:
        query = self.in_orm(**self._parameters(values))[:1].query
        compiler = query.get_compiler(connection=connection)
        text, params = compiler.as_sql()
        kept: _CompiledQuery = query.chain(_CompiledQuery)
        kept.compiler, kept.text = compiler, _Text(text, list(params))
        kept.converted = list(compiler.get_converters([column for column, *_ in compiler.select]))
        compiler.connection = None  # of the thread that was the first
        return kept


def numbered(name: str, values: Iterable[Any]) -> dict[str, Any]:
    """Return values as the parameters ``name0``, ``name1`` and so on."""
    return {f"{name}{place}": value for place, value in enumerate(values)}


def update(model: str, **fields: models.Field[Any, Any]) -> Callable[[Callable[..., Any]], Update]:
    """Make a builder an Update; arguments as for ``_Statement``."""
    return lambda build: Update(build, model, fields)


def raw_sql(model: str, **fields: models.Field[Any, Any]) -> Callable[[Callable[..., Any]], Sql]:
    """Make a builder a Sql; arguments as for ``_Statement``."""
    return lambda build: Sql(build, model, fields)


def select(model: str, **fields: models.Field[Any, Any]) -> Callable[[Callable[..., Any]], Select[Any]]:
    """Make a builder a Select; arguments as for ``_Statement``."""
    return lambda build: Select(build, model, fields)


def run_together(*writes: Write) -> list[int]:
    """Run writes of one transaction, on PostgreSQL as one statement, and return the number of rows of each.

    All of them run, whatever the first ones match: the caller raises, and so rolls them back, if a number is not what
    it must be. On PostgreSQL each matches the rows that matched when the statement began; one that it has to wait for
    must match still. So no two may write the same row, and none may be about rows that another transaction makes, or
    brings to match, while this statement waits for a lock.
    """
    connection = db.connection()
    if connection.vendor not in _JOINING:
        return [write.run() for write in writes]
    texts: list[str] = []
    params: list[Any] = []
    for place, write in enumerate(writes):
        text, own = write.text(connection)
        texts.append(f"s{place} AS ({text} RETURNING 1)")
        params += own
    counts = ", ".join(f"(SELECT COUNT(*) FROM s{place})" for place in range(len(texts)))  # noqa: S608 - our own
    _, row = _execute(connection, f"WITH {', '.join(texts)} SELECT {counts}", params)
    return list(row)
