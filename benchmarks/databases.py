"""A new database, dropped afterwards. The servers are where the tests have theirs: at 127.0.0.1, as PGUSER or root."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

KINDS = ("sqlite-wal", "sqlite", "postgresql", "mariadb")
HOST = "127.0.0.1"


@contextlib.contextmanager
def new(kind: str, name: str) -> Iterator[dict[str, Any]]:
    """Make a database; yield its entry for DATABASES."""
    name = f"verigator_bench_{name}_{os.getpid()}"
    make = {"postgresql": _on_postgresql, "mariadb": _on_mariadb}.get(kind, _in_a_file)
    with make(name, kind) as entry:
        # Kept connections: making one anew for each request would cost more than the login.
        yield {"NAME": name, "CONN_MAX_AGE": None, **entry}


@contextlib.contextmanager
def _in_a_file(name: str, kind: str) -> Iterator[dict[str, Any]]:
    options: dict[str, Any] = {"timeout": 20}
    if kind == "sqlite-wal":
        options["init_command"] = "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL"
        options["transaction_mode"] = "IMMEDIATE"
    with tempfile.TemporaryDirectory(prefix="verigator-bench-") as folder:
        path = Path(folder) / f"{name}.sqlite3"
        yield {"ENGINE": "django.db.backends.sqlite3", "NAME": str(path), "OPTIONS": options}


@contextlib.contextmanager
def _on_postgresql(name: str, kind: str) -> Iterator[dict[str, Any]]:
    import psycopg

    user = os.environ.get("PGUSER", "postgres")
    with psycopg.connect(host=HOST, user=user, dbname="postgres", connect_timeout=5, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
        try:
            yield {"ENGINE": "django.db.backends.postgresql", "HOST": HOST, "USER": user}
        finally:
            connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


@contextlib.contextmanager
def _on_mariadb(name: str, kind: str) -> Iterator[dict[str, Any]]:
    import MySQLdb

    def execute(statement: str) -> None:
        connection = MySQLdb.connect(host=HOST, user="root", connect_timeout=5)
        with contextlib.closing(connection), connection.cursor() as cursor:
            cursor.execute(statement)

    execute(f"CREATE DATABASE {name} CHARACTER SET utf8mb4")
    try:
        options = {"charset": "utf8mb4"}
        yield {"ENGINE": "django.db.backends.mysql", "HOST": HOST, "USER": "root", "OPTIONS": options}
    finally:
        execute(f"DROP DATABASE {name}")
