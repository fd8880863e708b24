"""Twenty threads that call the provider side by side."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any

from django_verigator.exceptions import VerigatorError


def side_by_side(*steps: Callable[[int], Any], threads: int, between: Callable[[], None] = lambda: None) -> list[Any]:
    """Each thread does the steps one after the other, all of them at the same step; ``between`` is done once before
    each further step. Returns what the last step gave, or the error it ended with.
    """
    results: list[Any] = [None] * threads
    gate = threading.Barrier(threads, action=between)

    def run(number: int) -> None:
        try:
            for place, step in enumerate(steps):
                if place:
                    gate.wait(30)
                results[number] = attempt(step, number)
        except Exception as error:  # noqa: BLE001 - for the test to look at
            results[number] = error
            gate.abort()

    running = [threading.Thread(target=run, args=(number,)) for number in range(threads)]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join(60)
    return results


def attempt(step: Callable[[int], Any], number: int) -> Any:
    try:
        return step(number)
    except VerigatorError as error:
        return error


def errors(results: Sequence[Any]) -> list[BaseException]:
    return [result for result in results if isinstance(result, BaseException)]
