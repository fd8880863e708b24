"""Check an ordered fault and turn it into a ``FaultRule``."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Collection, Mapping
from typing import Any

from .faults import AFTER, BEFORE, BODY, COMMON_KEYS, DRIP, KEYS, LATENCY, STATUS, FaultError, FaultRule
from .http_messages import Headers

MAX_SECONDS = 3600
MAX_BYTES = 1 << 30
HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
HEADER_VALUE = re.compile(r"[\t\x20-\x7e\x80-\xff]*")

_REQUIRED_KEYS = {LATENCY: "seconds", STATUS: "status"}
_DEFAULT_WHEN = {BODY: AFTER, DRIP: AFTER}


def parse_fault(data: Mapping[str, Any], operations: Collection[str]) -> FaultRule:
    """Return the fault that ``data`` describes; a value of None counts as left out.

    Args:
        operations: the names that ``operation`` may have.

    Raises:
        FaultError: a key or value is wrong.
    """
    kind = data.get("fault")
    if not isinstance(kind, str) or kind not in KEYS:
        raise FaultError(f"fault must be one of {', '.join(KEYS)}")
    values = {key: value for key, value in data.items() if value is not None and key != "fault"}
    if unknown := sorted(set(values) - COMMON_KEYS - KEYS[kind]):
        known = ", ".join(sorted(COMMON_KEYS | KEYS[kind]))
        raise FaultError(f"{', '.join(unknown)}: not a key of a {kind} fault, which takes {known}")
    if (required := _REQUIRED_KEYS.get(kind)) and required not in values:
        raise FaultError(f"a {kind} fault needs {required}")
    values = {key: _PARSERS[key](key, value) for key, value in values.items()}
    if values.get("operation") not in (None, *operations):
        raise FaultError(f"operation must be one of {', '.join(operations)}")
    values.setdefault("when", _DEFAULT_WHEN.get(kind, BEFORE))
    # Not secrets: with a seed a test can be repeated.
    return FaultRule(kind, **values, rng=random.Random(values.get("seed")))  # noqa: S311


def _integer(low: int, high: int) -> Callable[[str, Any], int]:
    def parse(key: str, value: Any) -> int:
        if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
            raise FaultError(f"{key} must be a whole number, {low} to {high}")
        return value

    return parse


def _number(high: float) -> Callable[[str, Any], float]:
    def parse(key: str, value: Any) -> float:
        if not isinstance(value, (int, float)) or isinstance(value, bool) or not 0 <= value <= high:
            raise FaultError(f"{key} must be a number, 0 to {high:g}")
        return float(value)

    return parse


def _choice(*choices: str) -> Callable[[str, Any], str]:
    def parse(key: str, value: Any) -> str:
        if value not in choices:
            raise FaultError(f"{key} must be one of {', '.join(choices)}")
        return str(value)

    return parse


def _text(key: str, value: Any) -> str:
    if not isinstance(value, str):
        raise FaultError(f"{key} must be a text")
    return value


def _boolean(key: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise FaultError(f"{key} must be true or false")
    return value


def _anything(_key: str, value: Any) -> Any:
    return value


def _header_value(key: str, value: Any) -> str:
    if not isinstance(value, (str, int)) or isinstance(value, bool) or not HEADER_VALUE.fullmatch(str(value)):
        raise FaultError(f"{key} must be a text without line breaks")
    return str(value)


def _headers(key: str, value: Any) -> Headers:
    if not isinstance(value, Mapping):
        raise FaultError(f"{key} must be an object of names and values")
    headers: list[tuple[str, str]] = []
    for name, content in value.items():
        if not isinstance(name, str) or not HEADER_NAME.fullmatch(name):
            raise FaultError(f"{key}: {name!r} is no header name")
        contents = content if isinstance(content, list) else [content]
        headers += [(name, _header_value(key, each)) for each in contents]
    return tuple(headers)


_PARSERS: dict[str, Callable[[str, Any], Any]] = {
    "operation": _text,
    "user_id": _text,
    "path": _text,
    "times": _integer(1, 10**9),
    "skip": _integer(0, 10**9),
    "share": _number(1),
    "seed": _integer(-(2**63), 2**63),
    "when": _choice(BEFORE, AFTER),
    "seconds": _number(MAX_SECONDS),
    "status": _integer(200, 599),
    "body": _anything,
    "content_type": _header_value,
    "headers": _headers,
    "retry_after": _header_value,
    "size": _integer(0, MAX_BYTES),
    "gzip": _boolean,
    "endless": _boolean,
    "content_length": _integer(0, 10**12),
    "after_bytes": _integer(0, MAX_BYTES),
    "part": _choice(BODY, "all"),
}
