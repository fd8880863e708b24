"""Threads that start together, each with database and provider connections of its own."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from typing import Any

from django.db import connections

from django_verigator.backends import backends

PATIENCE = 60  # seconds; nobody waits so long unless something hangs


def together(*works: Callable[[], Any]) -> list[Any]:
    """Run each in a thread, all from the same moment on; return what they return, or raise what one of them raised."""
    gate = threading.Barrier(len(works))
    results: list[Any] = [None] * len(works)
    raised: list[BaseException] = []

    def run(number: int, work: Callable[[], Any]) -> None:
        try:
            gate.wait(PATIENCE)
            results[number] = work()
        except BaseException as error:  # noqa: BLE001 - handed to the test's own thread
            raised.append(error)
        finally:
            for alias in backends:
                api = getattr(backends[alias], "api", None)
                if api is not None:
                    api.close()
            connections.close_all()

    threads = [threading.Thread(target=run, args=(number, work), daemon=True) for number, work in enumerate(works)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert not any(thread.is_alive() for thread in threads), "a thread hangs"
    if raised:
        raise raised[0]
    return results


def crowd(work: Callable[[Any], Any], items: Iterable[Any]) -> list[Any]:
    """``work`` on each item, all at once."""

    def bind(item: Any) -> Callable[[], Any]:
        return lambda: work(item)

    return together(*(bind(item) for item in items))
