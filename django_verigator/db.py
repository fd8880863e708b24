"""Writes to the app's tables, repeated after a deadlock, a lock time-out or a serialization failure."""

from __future__ import annotations

import functools
import logging
import re
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, TypeVar

from django.apps import apps
from django.db import OperationalError, connections, router, transaction
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import Model

from . import events
from .exceptions import Reason, Refused

logger = logging.getLogger("django_verigator")

_T = TypeVar("_T")
RETRY_PAUSE_SECONDS = 0.05
_LOCKED_PAUSES_SECONDS = (0.1, 0.5, 1.0, 2.0, 5.0)

# Serialization failure, deadlock, lock time-out: PostgreSQL's SQLSTATE; the error numbers of MariaDB and MySQL.
_TRANSIENT_STATES = frozenset({"40001", "40P01", "55P03"})
_TRANSIENT_NUMBERS = frozenset({1020, 1213, 1205})
# By message: Python 3.10 does not expose SQLite's error codes (busy, locked).
_SQLITE_IS_LOCKED = re.compile(r"database (\w+ )?is locked")


class RetriesExhaustedError(OperationalError):
    """A repeated write failed like the first one."""


def alias() -> str:
    """Return the alias of the database for writes; check E011 requires that all tables of the app share one."""
    return router.db_for_write(_any_model())


@functools.cache
def _any_model() -> type[Model]:
    return apps.get_model("django_verigator", "Challenge")


def atomic(*, durable: bool = False) -> transaction.Atomic:
    """Return ``transaction.atomic`` on the app's database."""
    return transaction.atomic(using=alias(), durable=durable)


def savepoint() -> AbstractContextManager[Any]:
    """Return a context for one statement that may fail: in a transaction a savepoint, else nothing.

    Outside a transaction a statement is one by itself, and BEGIN and COMMIT would be two more.
    """
    return atomic() if _is_in_transaction() else nullcontext()


def connection() -> BaseDatabaseWrapper:
    """Return this thread's connection to the app's database."""
    return connections[alias()]


def is_transient(error: OperationalError) -> bool:
    """Whether a concurrent write is the cause, so that the same write may succeed a moment later."""
    if isinstance(error, RetriesExhaustedError) or events.sqlstate(error) in _TRANSIENT_STATES:
        return True
    first = error.args[0] if error.args else None
    return first in _TRANSIENT_NUMBERS or _SQLITE_IS_LOCKED.match(str(first)) is not None


def _is_in_transaction() -> bool:
    # With autocommit off the site has a transaction open that Django counts no blocks of.
    return connection().in_atomic_block or not connection().get_autocommit()


def retry_on_deadlock(write: Callable[[], _T]) -> _T:
    """Run ``write``, and once more after a deadlock, a lock time-out or a serialization failure.

    Inside a transaction it runs once: the failure rolls back the earlier statements as well.

    Raises:
        RetriesExhaustedError: the second run met one too.
        OperationalError: the database failed in another way, or inside a transaction.
    """
    try:
        return write()
    except OperationalError as error:
        # A write within the write has been repeated already.
        if isinstance(error, RetriesExhaustedError) or not is_transient(error) or _is_in_transaction():
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
    """Run ``write`` with ``retry_on_deadlock`` in a transaction of its own, committed on return.

    Raises:
        Refused: UNAVAILABLE; the second run failed too, and nothing is written.
        OperationalError: the database failed in another way.
        RuntimeError: another transaction is open.
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
    """Run ``write`` again, for about nine seconds, while the database is locked, in a deadlock or down.

    Raises:
        OperationalError: the last run failed, or one inside a transaction. The next sync finds what the provider did.
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
