"""A short write that is done again where the database gave it up in favour of another."""

from __future__ import annotations

import logging
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


class GaveUpError(OperationalError):
    """The database has failed twice."""


def once_more(work: Callable[[], _T]) -> _T:
    """Run ``work``, a second time if it met a deadlock or a serialization failure.

    Within a transaction it is run once: the database has ended that, and what came before in it would be missing.

    Raises:
        GaveUpError: the second time failed as well.
    """
    try:
        return work()
    except OperationalError:
        if transaction.get_connection(router.db_for_write(Challenge)).in_atomic_block:
            raise
        time.sleep(PAUSE)
    try:
        return work()
    except OperationalError as error:
        logger.warning("transaction_failed error=%s", events.describe(error))
        raise GaveUpError(*error.args) from error


def short_transaction(work: Callable[[], _T]) -> _T:
    """Run ``work`` in a transaction of its own that commits before anything else happens; once more if need be.

    Raises:
        Refused: it failed twice, and nothing is written.
    """

    def whole() -> _T:
        with transaction.atomic(using=router.db_for_write(Challenge), durable=True):
            return work()

    try:
        return once_more(whole)
    except OperationalError:
        raise Refused(Reason.UNAVAILABLE) from None
