"""A crowd in PostgreSQL's tables: users with links, challenges, counters, codes and browsers, written by the server."""

from __future__ import annotations

from typing import Any

from django.contrib.auth import get_user_model
from django.db import connection
from django.db.models import Model

from django_verigator.models import (
    Challenge,
    Counter,
    PhoneChange,
    RecoveryCode,
    RemoteDeletion,
    TrustedBrowser,
    VerigatorUser,
)

FIRST = 10_000_000  # of the primary keys: above those that earlier tests have used


def fill(rows: int) -> None:
    """Write ``rows`` rows into each table, and have the planner know of them."""
    pk = f"{FIRST} + n"
    _insert(get_user_model(), rows, id=pk, username="'user' || n", phone_number="'+3725' || lpad(n::text, 7, '0')")
    _insert(
        VerigatorUser,
        rows,
        user=pk,
        phone_number="'+3725' || lpad(n::text, 7, '0')",
        id_in_service="'user' || n || '-' || md5(n::text)",
        verigator_id="md5('id' || n)",
        state="'registered'",
        registered_at="now() - interval '1 day'",
        seen_at="now() + interval '1 day'",
        confirmed_at="CASE WHEN n % 2 = 0 THEN now() END",
    )
    _insert(
        Challenge,
        rows,
        id="md5(n::text)::uuid",
        user=pk,
        nonce_digest="md5(n::text) || md5('a' || n)",
        outcome="'verified'",
        consumed_at="now()",
        created_at="now() - n * interval '1 second'",
    )
    _insert(Counter, rows, digest="md5(n::text) || md5('b' || n)", expires_at="now() + n * interval '1 second'")
    _insert(RecoveryCode, rows, user=pk, digest="md5(n::text) || md5('c' || n)")
    _insert(
        TrustedBrowser, rows, user=pk, digest="md5(n::text) || md5('d' || n)", expires_at="now() + interval '9 days'"
    )
    ids = {"verigator_id": "md5('e' || n)", "id_in_service": "'gone' || n"}
    _insert(PhoneChange, rows, user=pk, phone_number="'+37250000000'", expires_at="now()", **ids)
    _insert(
        RemoteDeletion,
        rows,
        next_attempt_at="now() + interval '1 day'",
        **{**ids, "verigator_id": "md5('f' || n)"},
    )
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE")


def _insert(model: type[Model], rows: int, **expressions: str) -> None:
    """Insert rows numbered ``n``; columns without an expression get their field's default."""
    columns, values, parameters = [], [], []
    for field in model._meta.concrete_fields:
        if field.primary_key and field.name not in expressions:
            continue
        columns.append(connection.ops.quote_name(str(field.column)))
        if field.name in expressions:
            values.append(expressions[field.name])
        else:
            values.append("%s")
            default: Any = field.get_default()
            parameters.append(field.get_db_prep_save(default, connection))
    table = connection.ops.quote_name(model._meta.db_table)
    statement = (
        f"INSERT INTO {table} ({', '.join(columns)}) SELECT {', '.join(values)} FROM generate_series(1, %s) AS n"  # noqa: S608
    )
    with connection.cursor() as cursor:
        cursor.execute(statement.replace("% 2", "%% 2"), [*parameters, rows])
