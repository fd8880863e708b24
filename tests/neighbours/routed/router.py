"""A database for each customer, chosen by the host name."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

chosen: ContextVar[str] = ContextVar("chosen", default="default")


@contextmanager
def database(name: str) -> Any:
    token = chosen.set(name)
    try:
        yield
    finally:
        chosen.reset(token)


def choose_database(get_response: Callable[[Any], Any]) -> Callable[[Any], Any]:
    def middleware(request: Any) -> Any:
        with database(request.get_host().partition(".")[0]):
            return get_response(request)

    return middleware


class ByHost:
    def db_for_read(self, model: Any, **hints: Any) -> str:
        return chosen.get()

    def db_for_write(self, model: Any, **hints: Any) -> str:
        return chosen.get()
