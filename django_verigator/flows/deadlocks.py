"""A short write that is done again where the database gave it up in favour of another."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from django.db import OperationalError

_T = TypeVar("_T")
PAUSE = 0.05  # seconds


def once_more(work: Callable[[], _T]) -> _T:
    """Run ``work``, a second time if it met a deadlock or a serialization failure.

    Not within a transaction: the database has ended that, and what came before in it would be missing.

    Raises:
        OperationalError: the second time failed as well.
    """
    try:
        return work()
    except OperationalError:
        time.sleep(PAUSE)
    return work()
