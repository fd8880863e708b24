"""Writes to the app's tables, repeated where the database gave them up in favour of others."""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable
from typing import TypeVar

from django.apps import apps
from django.db import OperationalError, connections, router, transaction

from . import events
from .exceptions import Reason, Refused

logger = logging.getLogger("django_verigator")

_T = TypeVar("_T")
RETRY_PAUSE_SECONDS = 0.05
_LOCKED_PAUSES_SECONDS = (0.1, 0.5, 1.0, 2.0, 5.0)

# Serialization failure, deadlock, lock time-out: PostgreSQL's SQLSTATE, and the numbers of MariaDB and MySQL.
_TRANSIENT_STATES = frozenset({"40001", "40P01", "55P03"})
_TRANSIENT_NUMBERS = frozenset({1020, 1213, 1205})
# Before Python 3.11 SQLite's error codes (busy, locked) are not exposed.
_SQLITE_IS_LOCKED = re.compile(r"database (\w+ )?is locked")


class RetriesExhaustedError(OperationalError):
    """The database gave the same write up twice."""


def alias() -> str:
    """Return the alias of the database that the app's tables are written to; check E011 holds that they share one."""
    return router.db_for_write(apps.get_model("django_verigator", "Challenge"))


def atomic(*, durable: bool = False) -> transaction.Atomic:
    """Return ``transaction.atomic`` on the app's database."""
    return transaction.atomic(using=alias(), durable=durable)


def connection() -> transaction.BaseDatabaseWrapper:  # type: ignore[name-defined]
    return connections[alias()]


def is_transient(error: OperationalError) -> bool:
    """Return whether other writers were in the way, so that the same write may succeed a moment later."""
    if isinstance(error, RetriesExhaustedError) or events.sqlstate(error) in _TRANSIENT_STATES:
        return True
    first = error.args[0] if error.args else None
    return first in _TRANSIENT_NUMBERS or _SQLITE_IS_LOCKED.match(str(first)) is not None


def retry_on_deadlock(write: Callable[[], _T]) -> _T:
    """Run ``write``, a second time if it met a deadlock, a lock time-out or a serialization failure.

    Within a transaction it runs once: the database has rolled that back, and what came before would be missing.

    Raises:
        RetriesExhaustedError: the second time met one as well.
        OperationalError: the database failed in another way.
    """
    try:
        return write()
    except OperationalError as error:
        if connection().in_atomic_block or not is_transient(error):
            raise
        time.sleep(RETRY_PAUSE_SECONDS)
    try:
        return write()
    except OperationalError as error:
        if not is_transient(error):
            raise
        logger.warning("transaction_failed error=%s", events.describe(error))
        raise RetriesExhaustedError(*error.args) from error


def atomic_with_retry(write: Callable[[], _T]) -> _T:
    """Run ``write`` in a transaction of its own that commits before anything else happens; see ``retry_on_deadlock``.

    Raises:
        Refused: UNAVAILABLE; the database gave it up twice, and nothing is written.
    """

    def transact() -> _T:
        with atomic(durable=True):
            return write()

    try:
        return retry_on_deadlock(transact)
    except OperationalError as error:
        if not is_transient(error):
            raise
        raise Refused(Reason.UNAVAILABLE) from None


def retry_while_locked(write: Callable[[], _T]) -> _T:
    """Run ``write`` again, for up to nine seconds, while the database is locked, deadlocks or is away.

    Raises:
        OperationalError: it still fails. What the provider was told meanwhile is found by the next sync.
    """
    for pause in _LOCKED_PAUSES_SECONDS:
        try:
            return write()
        except OperationalError as error:
            logger.warning("sync_write_failed error=%s", events.describe(error))
            if connection().in_atomic_block:
                raise
            connection().close_if_unusable_or_obsolete()
            time.sleep(pause)
    return write()
