"""How long registrations may delay the request, or the transaction outside of requests, that saves users."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

IN_PROCESS_SECONDS = 2.0

_LEAST_SHARE = 0.25
"""Share of them that must remain for another call: a call that is cut short is made for nothing."""


class TimeBudget:
    """What remains of IN_PROCESS_SECONDS.

    Attributes:
        remaining: seconds; below zero where a call took longer.
        is_logged: whether the end of the budget is in the log.
    """

    def __init__(self) -> None:
        self.remaining = IN_PROCESS_SECONDS
        self.is_logged = False

    @property
    def is_over(self) -> bool:
        """Whether too little remains for another call."""
        return self.remaining < IN_PROCESS_SECONDS * _LEAST_SHARE

    @contextmanager
    def spent(self) -> Iterator[None]:
        """Take the time of the block from the budget."""
        began = time.monotonic()
        try:
            yield
        finally:
            self.remaining -= time.monotonic() - began


_of_request: ContextVar[TimeBudget | None] = ContextVar("verigator_time_budget_of_request", default=None)

_of_transaction: ContextVar[TimeBudget | None] = ContextVar("verigator_time_budget_of_transaction", default=None)


class RequestBudget(TimeBudget):
    """A budget that is in force within its ``with`` block, around one request."""

    def __enter__(self) -> None:
        self._token = _of_request.set(self)

    def __exit__(self, *exc_info: object) -> None:
        _of_request.reset(self._token)


def renew() -> None:
    """Begin a new budget outside of requests.

    Called when a user is saved: this thread has done by then what its last commit left to do.
    """
    _of_transaction.set(TimeBudget())


def current() -> TimeBudget:
    """Return the budget of the request, else of the transaction, else a new one."""
    return _of_request.get() or _of_transaction.get() or TimeBudget()
