"""How PostgreSQL means to run each statement that the code under test sends."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from django.db import connection

_SCAN = re.compile(r"Seq Scan on (\w+)")


@dataclass(frozen=True)
class Planned:
    sql: str
    plan: str

    @property
    def scanned(self) -> set[str]:
        """The tables that are read from one end to the other."""
        return set(_SCAN.findall(self.plan))

    def __str__(self) -> str:
        return f"{self.sql}\n{self.plan}\n"


class Plans(list[Planned]):
    def scanning(self, *tables: str) -> list[str]:
        return [str(each) for each in self if each.scanned & set(tables)]


@contextmanager
def planned() -> Iterator[Plans]:
    """Collect the plans of all statements; each is asked for just before the statement runs."""
    found = Plans()

    def explain(execute: Callable[..., Any], sql: str, params: Any, many: bool, context: dict[str, Any]) -> Any:
        if sql.split(None, 1)[0] in ("SELECT", "INSERT", "UPDATE", "DELETE", "WITH") and not many:
            with connection.connection.cursor() as cursor:
                cursor.execute(f"EXPLAIN {sql}", params)
                found.append(Planned(sql, "\n".join(row[0] for row in cursor.fetchall())))
        return execute(sql, params, many, context)

    with connection.execute_wrapper(explain):
        yield found
