"""Hold the active faults and choose those that apply to a call."""

from __future__ import annotations

import threading
from collections.abc import Collection, Mapping
from typing import Any

from .fault_parser import parse_fault
from .faults import LATENCY, FaultRule
from .routing import Route


class FaultRegistry:
    """Hold the active faults, oldest first.

    Args:
        operations: the names that a fault's ``operation`` may have.
    """

    def __init__(self, operations: Collection[str]) -> None:
        self._operations = operations
        self._lock = threading.Lock()
        self._faults: list[FaultRule] = []
        self._last_id = 0

    def add(self, data: Mapping[str, Any]) -> dict[str, Any]:
        """Add a fault and return it as JSON.

        Args:
            data: the keys that the docstring of ``faults.py`` lists.

        Raises:
            FaultError: a key or value is wrong.
        """
        fault = parse_fault(data, self._operations)
        with self._lock:
            self._last_id += 1
            fault.id = self._last_id
            self._faults.append(fault)
        return fault.as_json()

    def trigger(self, route: Route, path: str) -> list[FaultRule]:
        """Return the faults that apply to this call, and count it: all latencies, then at most one other."""
        with self._lock:
            matching = [fault for fault in self._faults if fault.matches(route, path)]
            latencies = [fault for fault in matching if fault.kind == LATENCY and fault.trigger()]
            other = next((fault for fault in matching if fault.kind != LATENCY and fault.trigger()), None)
        return [*latencies, other] if other else latencies

    def faults(self) -> list[dict[str, Any]]:
        """Return the faults as JSON, oldest first."""
        with self._lock:
            return [fault.as_json() for fault in self._faults]

    def clear(self, fault_id: int | None = None) -> None:
        """Cancel one fault, or all."""
        with self._lock:
            self._faults = [fault for fault in self._faults if fault_id not in (None, fault.id)]
