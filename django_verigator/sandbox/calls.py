"""The log of API calls, so that a test can see what the application really asked, and how often."""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import asdict, dataclass, field
from time import monotonic
from typing import Any

from django_verigator.sandbox.clock import as_text
from django_verigator.sandbox.exchange import Request
from django_verigator.sandbox.routes import Target

KEPT = 100_000
MAX_USER_AGENT = 200


@dataclass(slots=True)
class Call:
    """One call, written down when it arrives. Neither the credential nor the token is in it.

    Attributes:
        status: the status sent, or None where no reply went out (yet).
        verified: what the sandbox's own rules decided about a token, whatever reply went out; None without a decision.
        faults: the kinds of the faults that struck, in order.
        duration: real seconds, whatever the sandbox's clock says, until the reply was out or the connection ended; None
            while the call is running.
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
    began: float = field(default_factory=monotonic, repr=False)

    def replied(self, status: int) -> None:
        """The reply begins to go out. Its sender knows all about the call before the caller does."""
        self.status = int(status)
        self.ended()

    def ended(self) -> None:
        self.duration = round(monotonic() - self.began, 6)

    def as_json(self) -> dict[str, Any]:
        data = asdict(self)
        del data["began"]
        return data


class CallLog:
    """The newest 100,000 calls, in memory alone: a restart begins a new log."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._calls: deque[Call] = deque(maxlen=KEPT)
        self._number = 0

    def arrived(self, request: Request, target: Target, moment: float) -> Call:
        with self._lock:
            self._number += 1
            call = Call(
                id=self._number,
                time=as_text(moment),
                method=request.method,
                path=request.path,
                operation=target.operation or None,
                service_id=target.service_id or None,
                user_id=target.user_id or None,
                user_agent=str(request.headers.get("User-Agent", ""))[:MAX_USER_AGENT],
            )
            self._calls.append(call)
        return call

    def calls(self, *, operation: str | None = None, user_id: str | None = None) -> list[dict[str, Any]]:
        """Oldest first."""
        with self._lock:
            kept = list(self._calls)
        return [
            call.as_json() for call in kept if operation in (None, call.operation) and user_id in (None, call.user_id)
        ]

    def clear(self) -> None:
        with self._lock:
            self._calls.clear()
