"""Which faults are on order, and which of them a call meets."""

from __future__ import annotations

import threading
from collections.abc import Collection, Mapping
from typing import Any

from django_verigator.sandbox.faults import LATENCY, Fault, as_json, parse
from django_verigator.sandbox.routes import Target


class FaultBook:
    """The faults on order, oldest first."""

    def __init__(self, operations: Collection[str]) -> None:
        self._operations = operations
        self._lock = threading.Lock()
        self._faults: list[Fault] = []
        self._number = 0

    def add(self, order: Mapping[str, Any]) -> dict[str, Any]:
        """Take an order; raises FaultError."""
        fault = parse(order, self._operations)
        with self._lock:
            self._number += 1
            fault.id = self._number
            self._faults.append(fault)
        return as_json(fault)

    def striking(self, target: Target, path: str) -> list[Fault]:
        """The faults that hit this call: all latencies, then at most one other."""
        with self._lock:
            matching = [fault for fault in self._faults if fault.matches(target, path)]
            slow = [fault for fault in matching if fault.fault == LATENCY and fault.strikes()]
            other = next((fault for fault in matching if fault.fault != LATENCY and fault.strikes()), None)
        return [*slow, other] if other else slow

    def faults(self) -> list[dict[str, Any]]:
        with self._lock:
            return [as_json(fault) for fault in self._faults]

    def clear(self, number: int | None = None) -> None:
        """Cancel one fault by its id, or all."""
        with self._lock:
            self._faults = [fault for fault in self._faults if number not in (None, fault.id)]
