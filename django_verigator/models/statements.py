"""The statements that each login runs, and what each is for.

Each is compiled once (``..compiled``). The models say how they are called.
"""

from __future__ import annotations

import operator
from functools import reduce
from typing import Any

from django.db import models
from django.db.models import Case, F, Q, QuerySet, Value, When
from django.db.models.functions import Coalesce, Concat, Substr

from .. import compiled, db

_Assigned = tuple[QuerySet[Any], dict[str, Any]]

_TIME = models.DateTimeField()
_NUMBER = models.IntegerField()
_TEXT = models.CharField()

PIN_PREFIX = 8
"""How many hex digits of an accepted PIN's digest are remembered."""
PINS_KEPT = 8
"""How many accepted PINs are remembered, in one column."""


def _expression(value: Any) -> Any:
    return value if hasattr(value, "resolve_expression") else Value(value)


# --- The challenge ----------------------------------------------------------------------------------------------------


@compiled.select("Challenge", digest=_TEXT)
def last_challenge(rows: Any, **digests: Any) -> QuerySet[Any]:
    """The step in force of a pending login, whose nonce has one of these digests, with its user and link."""
    steps: QuerySet[Any] = rows.filter(nonce_digest__in=list(digests.values())).order_by("-step")
    return steps.select_related("user__verigator")


@compiled.update("Challenge", own_nonce=_TEXT, app_method=_TEXT)
def supersede(rows: Any, *, user_id: Any, created_at: Any, own_nonce: Any = None, app_method: Any = None) -> _Assigned:
    """The user's open challenges are superseded by one made at ``created_at``; with ``own_nonce`` not the app's codes
    of the user's other logins.
    """
    others = rows.open().filter(user_id=user_id)
    if own_nonce is not None:
        others = others.exclude(~Q(nonce_digest=own_nonce), method=app_method)
    return others, {"superseded_at": created_at}


@compiled.raw_sql("Challenge")
def insert_challenge(connection: Any, meta: Any, **values: Any) -> str:
    """A new challenge."""
    quote = connection.ops.quote_name
    columns = ", ".join(quote(meta.get_field(name).column) for name in values)
    return f"INSERT INTO {quote(meta.db_table)} ({columns}) VALUES ({', '.join(f'%({name})s' for name in values)})"  # noqa: S608


@compiled.update("Challenge")
def write_challenge(rows: Any, *, id: Any, **values: Any) -> _Assigned:  # noqa: A002 - the field
    """What came of a call to the provider, whatever else has happened to the challenge."""
    return rows.filter(pk=id), values


@compiled.update("Challenge", now=_TIME, maximum=_NUMBER, last=_TEXT, form=_TEXT)
def count_try(rows: Any, *, id: Any, now: Any, maximum: Any, form: Any, last: Any) -> _Assigned:  # noqa: A002
    """A try is consumed, if a code is valid and has one left, and if ``last`` is not the last form posted."""
    triable = rows.open().filter(pk=id, sent_at__isnull=False, expires_at__gt=now, tries__lt=maximum)
    return triable.exclude(last_form=last), {"tries": F("tries") + 1, "last_form": form}


@compiled.update("Challenge", now=_TIME, valid_at=_TIME)
def consume_challenge(rows: Any, *, id: Any, now: Any, valid_at: Any = None, **values: Any) -> _Assigned:  # noqa: A002
    """The challenge ends with a proof, once; with ``valid_at`` only if its code is the newest, and valid then.

    It loses ``next_url``, which may hold a one-time token.
    """
    waiting = rows.unproved().filter(pk=id)
    if valid_at is not None:
        # Also one that a second click has closed: after the right PIN the provider answers that it has no code.
        waiting = waiting.filter(superseded_at=None, expires_at__gt=valid_at)
    return waiting, {"consumed_at": now, "outcome": rows.model.Outcome.VERIFIED, "next_url": "", **values}


# --- The link ---------------------------------------------------------------------------------------------------------


@compiled.select("VerigatorUser")
def link_of_user(rows: Any, *, user_id: Any) -> QuerySet[Any]:
    """The link of a user, for the password step and the guard."""
    return rows.filter(user_id=user_id)  # type: ignore[no-any-return]


@compiled.select("VerigatorUser")
def confirmed_by_another(rows: Any, *, phone_number: Any, user_id: Any) -> QuerySet[Any]:
    """Another user who has confirmed the number, and so keeps a share of its sends."""
    return rows.confirmed_with(phone_number).exclude(user_id=user_id).only("pk")  # type: ignore[no-any-return]


@compiled.update("VerigatorUser", last=_NUMBER)
def count_failure(rows: Any, *, user_id: Any, last: Any, failures_auth_hash: Any) -> _Assigned:
    """A failure is counted before the verdict, if it is not the last one before STOPPED."""
    failing = rows.filter(user_id=user_id, consecutive_failures__lt=last)
    return failing, _one_more_failure(failures_auth_hash)


@compiled.update("VerigatorUser", last=_NUMBER)
def count_last_failure(rows: Any, *, user_id: Any, last: Any, failures_auth_hash: Any) -> _Assigned:
    """The last failure before STOPPED; of its own, so that of parallel tries exactly one is the last."""
    failing = rows.filter(user_id=user_id, consecutive_failures=last)
    return failing, _one_more_failure(failures_auth_hash)


def _one_more_failure(failures_auth_hash: Any) -> dict[str, Any]:
    return {"consecutive_failures": F("consecutive_failures") + 1, "failures_auth_hash": failures_auth_hash}


@compiled.update(
    "VerigatorUser",
    trusted=_TEXT,
    now=_TIME,
    remembered_since=_TIME,
    pin_prefix=_TEXT,
    sent_to_id=_TEXT,
    sent_to_number=_TEXT,
)
def prove(
    rows: Any,
    *,
    user_id: Any,
    trusted: Any,
    now: Any,
    remembered_since: Any,
    pin_prefix: Any,
    sent_to_id: Any = None,
    sent_to_number: Any = None,
    **values: Any,
) -> _Assigned:
    """The link takes a proof: if trust has not ended meanwhile, the code went to this number, and the PIN is new."""
    trusting = still_trusted(
        rows, user_id=user_id, trusted=trusted, sent_to_id=sent_to_id, sent_to_number=sent_to_number
    )
    is_new = ~Q(last_pin__contains=pin_prefix) | Q(last_pin_at=None) | Q(last_pin_at__lt=remembered_since)
    prefix = _expression(pin_prefix)
    remembered = Concat(prefix, Substr("last_pin", 1, PIN_PREFIX * (PINS_KEPT - 1)))
    assigned = {
        "confirmed_at": Coalesce(F("confirmed_at"), now),
        "consecutive_failures": 0,
        "locked_until": None,
        # Before last_pin_at: MariaDB evaluates assignments from left to right, on the new values.
        "last_pin": Case(When(last_pin_at__gte=remembered_since, then=remembered), default=prefix),
        "last_pin_at": now,
        **values,
    }
    return trusting.filter(is_new), assigned


def still_trusted(
    rows: Any, *, user_id: Any, trusted: Any, sent_to_id: Any = None, sent_to_number: Any = None
) -> QuerySet[Any]:
    """Return the user's link if it still has the trust version ``trusted``, and the phone that the code went to."""
    trusting: QuerySet[Any] = rows.filter(user_id=user_id, trust_version=trusted)
    if sent_to_id is not None:
        trusting = trusting.filter(verigator_id=sent_to_id)
    if sent_to_number is not None:
        trusting = trusting.filter(phone_number=sent_to_number)
    return trusting


# --- The counters -----------------------------------------------------------------------------------------------------
# Their parameters are numbered, one set for each rate limit. Rows are locked in the order of their keys: concurrent
# statements would otherwise deadlock over the counters that all users share.


def can_make_rows() -> bool:
    """Whether the database makes missing counters on the way (``raise_or_make_counters``)."""
    return db.connection().vendor in ("postgresql", "sqlite")


@compiled.raw_sql("Counter", digest=_TEXT, scope=_TEXT, maximum=_NUMBER, ends=_TIME, now=_TIME)
def raise_or_make_counters(connection: Any, meta: Any, *, now: Any, **limits: Any) -> str:
    """Each counter rises by one unless it is full; one whose window is over, or that is missing, begins at one.

    PostgreSQL and SQLite make a row in the same statement that finds it missing; the keys come in order.
    """
    quote = connection.ops.quote_name
    digest, scope, count, ends = (quote(name) for name in ("digest", "scope", "count", "expires_at"))
    places = range(_number_of(limits))
    rows = ", ".join(f"(%(digest{place})s, %(scope{place})s, 1, %(ends{place})s)" for place in places)
    maximum = " ".join(f"WHEN %(digest{place})s THEN %(maximum{place})s" for place in places)
    is_over = f"counter.{ends} <= %(now)s"
    return (
        f"INSERT INTO {quote(meta.db_table)} AS counter ({digest}, {scope}, {count}, {ends}) VALUES {rows} "  # noqa: S608
        f"ON CONFLICT ({digest}) DO UPDATE SET "
        f"{count} = CASE WHEN {is_over} THEN 1 ELSE counter.{count} + 1 END, "
        f"{ends} = CASE WHEN {is_over} THEN excluded.{ends} ELSE counter.{ends} END "
        f"WHERE {is_over} OR counter.{count} < CASE counter.{digest} {maximum} END"
    )


@compiled.update("Counter", digest=_TEXT, scope=_TEXT, maximum=_NUMBER, ends=_TIME, now=_TIME)
def raise_counters(rows: Any, *, now: Any, **limits: Any) -> _Assigned:
    """Each counter rises by one unless it is full; one whose window is over begins at one; none is made.

    For MariaDB, whose INSERT cannot refuse a row that is full.
    """
    places = range(_number_of(limits))
    not_full = [
        Q(digest=limits[f"digest{place}"]) & (Q(count__lt=limits[f"maximum{place}"]) | Q(expires_at__lte=now))
        for place in places
    ]
    windows = [
        When(digest=limits[f"digest{place}"], expires_at__lte=now, then=_expression(limits[f"ends{place}"]))
        for place in places
    ]
    return rows.filter(reduce(operator.or_, not_full)), {
        # Before expires_at: MariaDB evaluates assignments from left to right, on the new values.
        "count": Case(When(expires_at__lte=now, then=Value(1)), default=F("count") + 1),
        "expires_at": Case(*windows, default=F("expires_at")),
    }


@compiled.update("Counter", digest=_TEXT)
def lower_counters(rows: Any, **digests: Any) -> _Assigned:
    """Each counter falls by one, for an event that did not happen or does not count."""
    counted = rows.filter(pk__in=list(digests.values()), count__gt=0)
    if db.connection().vendor == "postgresql":
        # It locks rows in the order of the table, which each update changes. SQLite has one writer, and MariaDB follows
        # the key anyway.
        counted = rows.filter(pk__in=counted.select_for_update().order_by("pk").values("pk"))
    return counted, {"count": F("count") - 1}


def _number_of(limits: dict[str, Any]) -> int:
    return sum(name.startswith("digest") for name in limits)
