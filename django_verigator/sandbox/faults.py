"""Define the faults a test can order, to see how the application copes with a failing provider.

A fault is a JSON object (``POST /_sandbox/faults``) or keyword arguments (``sandbox.add_fault``). A key that is unknown
or belongs to another kind of fault is an error. Every fault takes:

===============  ======================================================================================================
``fault``        the kind, see below; required
``operation``    which calls: ``services.create|get|delete``, ``users.create|list|get|delete``, ``auth.start|verify``,
                 ``verify.start|pin``, ``sms.send``, ``omnimessage.send|status|cancel``,
                 ``twilio.start|check|fetch|update``; default: all
``user_id``      only calls about this user
``path``         only calls whose path matches this pattern (``*`` stands for anything)
``times``        how many calls it applies to; default: every call until it is cleared
``skip``         how many matching calls it lets pass first (0)
``share``        the probability with which it applies, 0 to 1 (1); ``seed`` makes the choice repeatable
``when``         ``before``: the request is not carried out. ``after``: it *is* carried out, and only the response
                 fails, as when a response is lost on its way
===============  ======================================================================================================

========  =========  ==================================================================================================
kind      ``when``   other keys
========  =========  ==================================================================================================
latency   before     ``seconds`` (required). Combines with other faults and comes first
status    before     ``status`` (required), and the response keys below
body      after      the response keys, where ``status`` defaults to the true one; ``size``: pad the body with spaces to
                     so many bytes; ``gzip``: true compresses it; ``endless``: true sends chunks without end;
                     ``content_length``: announce this length in bytes, then send the body and close
reset     before     ``after_bytes``: let so many bytes of the response through, then reset the connection (TCP RST)
close     before     ``after_bytes``, then close the connection in an orderly way
hang      before     ``after_bytes``, then nothing more, for ``seconds`` or until the client disconnects or the sandbox
                     stops
drip      after      ``seconds`` between two bytes (0.25); ``part``: ``body`` (default), or ``all`` to include the head;
                     and the response keys
========  =========  ==================================================================================================

Response keys: ``status``, ``body`` (a text, sent unchanged in UTF-8, or any other JSON value), ``content_type``,
``headers`` (an object; a list as value sends the header several times), ``retry_after`` (seconds, or any text).

Of several faults that match one call, every latency applies, and the first of the others.
"""

from __future__ import annotations

import fnmatch
import random
from dataclasses import dataclass, field
from typing import Any

from .http_messages import Headers
from .routing import Route

LATENCY, STATUS, BODY, RESET, CLOSE, HANG, DRIP = "latency", "status", "body", "reset", "close", "hang", "drip"
BEFORE, AFTER = "before", "after"

COMMON_KEYS = {"fault", "operation", "user_id", "path", "times", "skip", "share", "seed", "when"}
RESPONSE_KEYS = {"status", "body", "content_type", "headers", "retry_after"}
KEYS: dict[str, set[str]] = {
    LATENCY: {"seconds"},
    STATUS: RESPONSE_KEYS,
    BODY: RESPONSE_KEYS | {"size", "gzip", "endless", "content_length"},
    RESET: {"after_bytes"},
    CLOSE: {"after_bytes"},
    HANG: {"after_bytes", "seconds"},
    DRIP: RESPONSE_KEYS | {"seconds", "part"},
}


class FaultError(ValueError):
    """Report which part of an ordered fault is wrong."""


@dataclass(slots=True)
class FaultRule:
    """Hold one fault and what it has done; the module's docstring explains the keys (``kind`` is the key ``fault``).

    Attributes:
        hits: how many calls the fault has applied to.
        rng: decides about ``share``.
    """

    kind: str
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
    rng: random.Random = field(default_factory=random.Random, repr=False)

    def matches(self, route: Route, path: str) -> bool:
        """Return whether this fault is meant for such a call."""
        return (
            self.operation in (None, route.operation)
            and self.user_id in (None, route.user_id)
            and (self.path is None or fnmatch.fnmatchcase(path, self.path))
        )

    def trigger(self) -> bool:
        """Return whether this fault applies to a matching call, and count the call."""
        if self.times is not None and self.hits >= self.times:
            return False
        if self.skip > 0:
            self.skip -= 1
            return False
        if self.share < 1 and self.rng.random() >= self.share:
            return False
        self.hits += 1
        return True

    def as_json(self) -> dict[str, Any]:
        """Return the fault with all its keys, its ``id`` and its ``hits``."""
        keys = COMMON_KEYS | KEYS[self.kind] | {"id", "hits"}
        return {key: self.kind if key == "fault" else getattr(self, key) for key in sorted(keys)}
