"""Faults on order: what a provider does on a bad day, when a test asks for it.

A fault is a JSON object (``POST /_sandbox/faults``) or keyword arguments (``sandbox.add_fault``). Unknown keys are
refused, and so are keys that the kind of fault has no use for. Every fault takes:

===============  ======================================================================================================
``fault``        the kind, see below; required
``operation``    which calls: ``services.create|get|delete``, ``users.create|list|get|delete``, ``auth.start|verify``,
                 ``verify.start|pin``; left out: all
``user_id``      only calls about this user
``path``         only calls whose path matches this pattern (``*`` stands for anything)
``times``        how many calls it strikes; left out: every one until it is cleared
``skip``         how many matching calls it lets pass first (0)
``share``        strike by chance, 0 to 1 (1); ``seed`` makes the chance the same each time
``when``         ``before``: the request is not carried out. ``after``: it *is* carried out and only the reply suffers,
                 as when a reply is lost on its way
===============  ======================================================================================================

========  =========  ==================================================================================================
kind      ``when``   keys of its own
========  =========  ==================================================================================================
latency   before     ``seconds`` (required). Goes with other faults and comes first
status    before     ``status`` (required), and the reply keys below
body      after      the reply keys; ``status`` stays the true one if left out; ``size``: pad the body with blanks to so
                     many bytes; ``gzip``: true compresses it; ``endless``: true sends chunks without end;
                     ``content_length``: announce this length, then send the body and close
reset     before     ``after_bytes``: let this much of the reply through, then reset the connection (TCP RST)
close     before     ``after_bytes``, then close the connection in an orderly way
hang      before     ``after_bytes``, then nothing more, for ``seconds`` or until the caller leaves or the sandbox stops
drip      after      ``seconds`` between two bytes (0.25); ``part``: ``body`` (default) or ``all`` for the header too;
                     and the reply keys
========  =========  ==================================================================================================

Reply keys: ``status``, ``body`` (a text, sent as it is in UTF-8, or any other JSON value), ``content_type``,
``headers`` (an object; a list as value sends the header several times), ``retry_after`` (seconds, or any text).

Of several faults that match one call every latency strikes, and the first of the others.
"""

from __future__ import annotations

import fnmatch
import random
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from django_verigator.sandbox.exchange import Headers
from django_verigator.sandbox.routes import Target

LATENCY, STATUS, BODY, RESET, CLOSE, HANG, DRIP = "latency", "status", "body", "reset", "close", "hang", "drip"
BEFORE, AFTER = "before", "after"
MAX_SECONDS = 3600
MAX_SIZE = 1 << 30
TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
HEADER_VALUE = re.compile(r"[\t\x20-\x7e\x80-\xff]*")

_COMMON = {"fault", "operation", "user_id", "path", "times", "skip", "share", "seed", "when"}
_REPLY = {"status", "body", "content_type", "headers", "retry_after"}
_KEYS: dict[str, set[str]] = {
    LATENCY: {"seconds"},
    STATUS: _REPLY,
    BODY: _REPLY | {"size", "gzip", "endless", "content_length"},
    RESET: {"after_bytes"},
    CLOSE: {"after_bytes"},
    HANG: {"after_bytes", "seconds"},
    DRIP: _REPLY | {"seconds", "part"},
}
_REQUIRED = {LATENCY: "seconds", STATUS: "status"}
_DEFAULT_WHEN = {BODY: AFTER, DRIP: AFTER}


class FaultError(ValueError):
    """The order cannot be understood; the message says which part."""


@dataclass(slots=True)
class Fault:
    """One order. The module's docstring says what each key means."""

    fault: str
    id: int = 0
    operation: str | None = None
    user_id: str | None = None
    path: str | None = None
    times: int | None = None
    skip: int = 0
    share: float = 1.0
    seed: int | None = None
    when: str = BEFORE
    seconds: float | None = None
    status: int | None = None
    body: Any = None
    content_type: str | None = None
    headers: Headers = ()
    retry_after: str | None = None
    size: int = 0
    gzip: bool = False
    endless: bool = False
    content_length: int | None = None
    after_bytes: int = 0
    part: str = BODY
    hits: int = 0
    dice: random.Random = field(default_factory=random.Random, repr=False)

    def matches(self, target: Target, path: str) -> bool:
        return (
            self.operation in (None, target.operation)
            and self.user_id in (None, target.user_id)
            and (self.path is None or fnmatch.fnmatchcase(path, self.path))
        )

    def strikes(self) -> bool:
        """Whether this matching call is hit; counts it."""
        if self.times is not None and self.hits >= self.times:
            return False
        if self.skip > 0:
            self.skip -= 1
            return False
        if self.share < 1 and self.dice.random() >= self.share:
            return False
        self.hits += 1
        return True


def as_json(fault: Fault) -> dict[str, Any]:
    """The order as it was understood, with ``id`` and the number of ``hits``."""
    keys = _COMMON | _KEYS[fault.fault] | {"id", "hits"}
    return {key: getattr(fault, key) for key in sorted(keys)}


def parse(order: Mapping[str, Any], operations: Collection[str]) -> Fault:
    """Read an order; raises FaultError with a message for the one who wrote it."""
    kind = order.get("fault")
    if not isinstance(kind, str) or kind not in _KEYS:
        raise FaultError(f"fault must be one of {', '.join(_KEYS)}")
    given = {key: value for key, value in order.items() if value is not None}
    if unknown := sorted(set(given) - _COMMON - _KEYS[kind]):
        known = ", ".join(sorted(_COMMON | _KEYS[kind]))
        raise FaultError(f"{', '.join(unknown)}: not a key of a {kind} fault, which takes {known}")
    if (required := _REQUIRED.get(kind)) and required not in given:
        raise FaultError(f"a {kind} fault needs {required}")
    values = {key: _CHECKS[key](key, value) for key, value in given.items()}
    if values.get("operation") not in (None, *operations):
        raise FaultError(f"operation must be one of {', '.join(operations)}")
    values.setdefault("when", _DEFAULT_WHEN.get(kind, BEFORE))
    # A seeded chance is wanted here, so that a run can be repeated; nothing secret hangs on it.
    return Fault(**values, dice=random.Random(values.get("seed")))  # noqa: S311


def _whole(low: int, high: int) -> Callable[[str, Any], int]:
    def check(key: str, value: Any) -> int:
        if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
            raise FaultError(f"{key} must be a whole number, {low} to {high}")
        return value

    return check


def _number(high: float) -> Callable[[str, Any], float]:
    def check(key: str, value: Any) -> float:
        if not isinstance(value, (int, float)) or isinstance(value, bool) or not 0 <= value <= high:
            raise FaultError(f"{key} must be a number, 0 to {high:g}")
        return float(value)

    return check


def _one_of(*words: str) -> Callable[[str, Any], str]:
    def check(key: str, value: Any) -> str:
        if value not in words:
            raise FaultError(f"{key} must be one of {', '.join(words)}")
        return str(value)

    return check


def _text(key: str, value: Any) -> str:
    if not isinstance(value, str):
        raise FaultError(f"{key} must be a text")
    return value


def _flag(key: str, value: Any) -> bool:
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
    pairs: list[tuple[str, str]] = []
    for name, content in value.items():
        if not isinstance(name, str) or not TOKEN.fullmatch(name):
            raise FaultError(f"{key}: {name!r} is no header name")
        pairs += [(name, _header_value(key, each)) for each in (content if isinstance(content, list) else [content])]
    return tuple(pairs)


_CHECKS: dict[str, Callable[[str, Any], Any]] = {
    "fault": _text,
    "operation": _text,
    "user_id": _text,
    "path": _text,
    "times": _whole(1, 10**9),
    "skip": _whole(0, 10**9),
    "share": _number(1),
    "seed": _whole(-(2**63), 2**63),
    "when": _one_of(BEFORE, AFTER),
    "seconds": _number(MAX_SECONDS),
    "status": _whole(200, 599),
    "body": _anything,
    "content_type": _header_value,
    "headers": _headers,
    "retry_after": _header_value,
    "size": _whole(0, MAX_SIZE),
    "gzip": _flag,
    "endless": _flag,
    "content_length": _whole(0, 10**12),
    "after_bytes": _whole(0, MAX_SIZE),
    "part": _one_of(BODY, "all"),
}
