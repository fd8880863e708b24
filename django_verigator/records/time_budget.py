"""How long saving users may delay whoever saves them: one request, or one transaction outside of requests."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

IN_PROCESS_SECONDS = 2.0

_LEAST = 0.25
"""Part of them that must be left for one more: a call that is cut short is a call for nothing."""


class TimeBudget:
    """What is left of IN_PROCESS_SECONDS."""

    def __init__(self) -> None:
        self.left = IN_PROCESS_SECONDS
        self.is_told = False  # in the log, that it is used up

    @property
    def is_over(self) -> bool:
        return self.left < IN_PROCESS_SECONDS * _LEAST

    @contextmanager
    def spent(self) -> Iterator[None]:
        began = time.monotonic()
        try:
            yield
        finally:
            self.left -= time.monotonic() - began


_of_request: ContextVar[TimeBudget | None] = ContextVar("verigator_patience_of_request", default=None)

_of_transaction: ContextVar[TimeBudget | None] = ContextVar("verigator_patience_of_transaction", default=None)


@contextmanager
def for_request() -> Iterator[None]:
    token = _of_request.set(TimeBudget())
    try:
        yield
    finally:
        _of_request.reset(token)


def renew() -> None:
    """Begin anew where no request is under way: a user is being saved, so what was to be done after the last commit
    of this thread has been done."""
    _of_transaction.set(TimeBudget())


def current() -> TimeBudget:
    return _of_request.get() or _of_transaction.get() or TimeBudget()
