"""Log the API calls, so that a test can see what the application asked, and how often."""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import asdict, dataclass, field
from time import monotonic
from typing import Any

from .clock import format_time
from .http_messages import Request
from .routing import Route

MAX_CALLS = 100_000
MAX_USER_AGENT = 200


@dataclass(slots=True)
class Call:
    """Hold one call, without its credentials and its token.

    Attributes:
        status: the status sent, or None if no response has gone out.
        verified: whether the token was right, whatever response went out; None for a call that checks no token.
        faults: the kinds of the faults that were applied, in order.
        duration: real seconds, whatever the sandbox's clock says, until the response was out or the connection ended;
            None while the call is running.
    """

    id: int
    time: str
    method: str
    path: str
    operation: str | None
    service_id: str | None
    user_id: str | None
    user_agent: str
    status: int | None = None
    verified: bool | None = None
    faults: list[str] = field(default_factory=list)
    duration: float | None = None
    started: float = field(default_factory=monotonic, repr=False)

    def record_response(self, status: int) -> None:
        """Note the status of the response, just before the client receives it."""
        self.status = int(status)
        self.record_end()

    def record_end(self) -> None:
        """Note how long the call took."""
        self.duration = round(monotonic() - self.started, 6)

    def as_json(self) -> dict[str, Any]:
        """Return the call as ``/_sandbox/calls`` shows it."""
        data = asdict(self)
        del data["started"]
        return data


class CallLog:
    """Keep the newest 100,000 calls, in memory only."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._calls: deque[Call] = deque(maxlen=MAX_CALLS)
        self._last_id = 0

    def record(self, request: Request, route: Route, timestamp: float) -> Call:
        """Add a call that has just arrived, and return its entry."""
        with self._lock:
            self._last_id += 1
            call = Call(
                id=self._last_id,
                time=format_time(timestamp),
                method=request.method,
                path=request.path,
                operation=route.operation or None,
                service_id=route.service_id or None,
                user_id=route.user_id or None,
                user_agent=str(request.headers.get("User-Agent", ""))[:MAX_USER_AGENT],
            )
            self._calls.append(call)
        return call

    def calls(self, *, operation: str | None = None, user_id: str | None = None) -> list[dict[str, Any]]:
        """Return the calls, oldest first, of one operation or user if given."""
        with self._lock:
            calls = list(self._calls)
        return [
            call.as_json() for call in calls if operation in (None, call.operation) and user_id in (None, call.user_id)
        ]

    def clear(self) -> None:
        """Remove all entries."""
        with self._lock:
            self._calls.clear()
