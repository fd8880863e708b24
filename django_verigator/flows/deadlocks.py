"""A short write that is done again where the database gave it up in favour of another."""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable
from typing import TypeVar

from django.db import OperationalError, router, transaction

from ..models import Challenge
from . import events
from .refusals import Reason, Refused

logger = logging.getLogger("django_verigator")

_T = TypeVar("_T")
PAUSE = 0.05  # seconds

# Serialization failure, deadlock, lock time-out: PostgreSQL's SQLSTATE, and the numbers of MariaDB and MySQL.
_PASSING_STATES = frozenset({"40001", "40P01", "55P03"})
_PASSING_NUMBERS = frozenset({1020, 1213, 1205})
# SQLite's numbers (busy, locked) are told from Python 3.11 on.
_SQLITE_IS_LOCKED = re.compile(r"database (\w+ )?is locked")


class GaveUpError(OperationalError):
    """The database has given up twice."""


def is_passing(error: OperationalError) -> bool:
    """Return whether others were in the way, so that the same may work a moment later."""
    if isinstance(error, GaveUpError) or events.sqlstate(error) in _PASSING_STATES:
        return True
    first = error.args[0] if error.args else None
    return first in _PASSING_NUMBERS or _SQLITE_IS_LOCKED.match(str(first)) is not None


def once_more(work: Callable[[], _T]) -> _T:
    """Run ``work``, a second time if it met a deadlock, a lock time-out or a serialization failure.

    Within a transaction it is run once: the database has ended that, and what came before in it would be missing.

    Raises:
        GaveUpError: so did the second time.
        OperationalError: the database failed in another way, which waiting does not mend.
    """
    try:
        return work()
    except OperationalError as error:
        within = transaction.get_connection(router.db_for_write(Challenge)).in_atomic_block
        if within or not is_passing(error):
            raise
        time.sleep(PAUSE)
    try:
        return work()
    except OperationalError as error:
        if not is_passing(error):
            raise
        logger.warning("transaction_failed error=%s", events.describe(error))
        raise GaveUpError(*error.args) from error


def short_transaction(work: Callable[[], _T]) -> _T:
    """Run ``work`` in a transaction of its own that commits before anything else happens; once more if need be.

    Raises:
        Refused: the database gave it up twice, and nothing is written.
    """

    def whole() -> _T:
        with transaction.atomic(using=router.db_for_write(Challenge), durable=True):
            return work()

    try:
        return once_more(whole)
    except OperationalError as error:
        if not is_passing(error):
            raise
        raise Refused(Reason.UNAVAILABLE) from None
