"""Connections to the provider, kept for each thread and put below ``requests``.

``requests`` sees a session with one adapter. The adapter overrides public methods alone, so that a call goes over a
``DeadlineSocket``, from which ``http.client`` reads the answer, and not through the pools of urllib3.
``HTTPAdapter.send`` stays as it is, because libraries such as ``responses`` put a stand-in there in tests.
"""

from __future__ import annotations

import http.client
import os
import threading
import weakref
from collections.abc import Mapping
from functools import partial
from http.cookiejar import DefaultCookiePolicy
from types import SimpleNamespace
from typing import Any

import requests
from requests.adapters import HTTPAdapter

from .deadline import Budget
from .route import Route
from .secrets import SecretText, request_message

_MAX_IDLE = 20
"""Idle connections of one thread: several exist where a stream is open, or where greenlets share the thread."""


class Connection:
    """A connection that carries one exchange after another."""

    def __init__(self, route: Route, budget: Budget) -> None:
        self._address = route.address
        self._host = route.host_header
        self.socket = route.open(budget)

    def send(
        self, budget: Budget, method: str, url: str, body: bytes | None, headers: Mapping[str, str]
    ) -> http.client.HTTPResponse:
        """Send a request and return the answer once its headers are in."""
        self.socket.budget = budget
        budget.address = self._address
        try:
            budget.start_sending()
            if budget.query is not None:
                url = SecretText(f"{url}?{budget.query}")
            # http.client would send head and body by themselves: twice the packets, TLS records and system calls.
            self.socket.sendall(request_message(method, url, {"Host": self._host, **headers}, body or b""))
            return self._receive(method)
        except BaseException as error:
            # RemoteDisconnected is both: no answer at all, which is a broken connection and no malformed answer.
            budget.garbled |= isinstance(error, http.client.HTTPException) and not isinstance(error, ConnectionError)
            self.close()
            raise

    def _receive(self, method: str) -> http.client.HTTPResponse:
        answer = http.client.HTTPResponse(self.socket, method=method)  # type: ignore[arg-type]
        try:
            answer.begin()
            lengths = set(answer.headers.get_all("Content-Length", []))
            if answer.headers.defects or answer.headers.get_payload() or len(lengths) > 1:
                raise http.client.HTTPException("malformed headers")
        except BaseException:
            answer.close()
            raise
        if answer.will_close:
            self.socket.close()
        return answer

    def close(self) -> None:
        self.socket.abort()


class Answer:
    """The answer as ``requests`` holds it in ``response.raw``.

    Its connection is kept for the next exchange if the answer was read to its end, and is closed in any other case.
    """

    def __init__(self, answer: http.client.HTTPResponse, connection: Connection, idle: list[Connection]) -> None:
        self.status, self.reason, self.version = answer.status, answer.reason, answer.version
        # A header that stands twice is joined, as RFC 9110, section 5.2 has it.
        self.headers = {name: ", ".join(answer.headers.get_all(name, [])) for name in answer.headers}
        self._answer = answer
        self._connection: Connection | None = connection
        self._idle = idle
        self._is_complete = False

    def read(self, size: int, decode_content: bool = False) -> bytes:
        """Return the next ``size`` bytes of the body as they came: fewer at its end, then none."""
        piece = self._answer.read(size)
        if not piece:
            if self._answer.length:
                raise http.client.IncompleteRead(piece, self._answer.length)
            self._is_complete = True
        return piece

    def close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is None:
            return
        if self._is_complete and len(self._idle) < _MAX_IDLE:
            self._idle.append(connection)
        else:
            connection.close()
            self._answer.close()


class BudgetedRequest(requests.PreparedRequest):
    """A request that carries the budget of its exchange through ``requests``."""

    budget: Budget
    target: str
    """Path of the address, as it stands in the request line."""


class RouteAdapter(HTTPAdapter):
    """Sends every request of one thread along one route, whatever its address, ``verify`` and ``proxies`` say."""

    def __init__(self, route: Route) -> None:
        super().__init__()
        self._route = route
        self._idle: list[Connection] = []
        weakref.finalize(self, _close_all, self._idle)  # A thread that ends closes its connections.

    def get_connection_with_tls_context(self, request: requests.PreparedRequest, *_: Any, **__: Any) -> Any:
        """Return what ``HTTPAdapter`` takes for a pool of urllib3."""
        assert isinstance(request, BudgetedRequest)
        return SimpleNamespace(urlopen=partial(self._exchange, request.budget))

    def request_url(self, request: requests.PreparedRequest, *_: Any) -> str:
        """Return the path, which HTTPAdapter would take out of the address again."""
        assert isinstance(request, BudgetedRequest)
        return request.target

    def cert_verify(self, *_: Any) -> None:
        """Do nothing: the TLS context of the route verifies."""

    def close(self) -> None:
        _close_all(self._idle)
        super().close()

    def _exchange(
        self, budget: Budget, *, method: str, url: str, body: bytes | None, headers: Mapping[str, str], **_: Any
    ) -> Answer:
        """Send the request, again if a kept connection turns out to be dead before a byte of it has left."""
        while True:
            connection = self._connect(budget)
            try:
                return Answer(connection.send(budget, method, url, body, headers), connection, self._idle)
            except OSError:
                if not budget.reused or budget.sent or budget.timed_out:
                    raise

    def _connect(self, budget: Budget) -> Connection:
        budget.start_connecting()
        while self._idle:
            connection = self._idle.pop()
            if connection.socket.is_reusable():
                budget.reused = True
                return connection
            connection.close()
        return Connection(self._route, budget)


def _close_all(connections: list[Connection]) -> None:
    while connections:
        connections.pop().close()


class RouteSession(requests.Session):
    """A session that takes nothing from the environment, keeps no cookie and follows no redirect."""

    def __init__(self, route: Route) -> None:
        super().__init__()
        self.trust_env = False
        self.cookies.set_policy(DefaultCookiePolicy(allowed_domains=()))
        adapter = RouteAdapter(route)
        self.mount("https://", adapter)
        self.mount("http://", adapter)

    def get_redirect_target(self, resp: requests.Response) -> None:
        # requests reads the whole body of a redirect into memory, also with allow_redirects=False.
        return None


class Sessions(threading.local):
    """One session for each thread of each process. After a fork the connections of the parent stay the parent's."""

    _pid = 0
    _session: RouteSession

    def __init__(self, route: Route) -> None:
        self._route = route

    def for_this_thread(self) -> RouteSession:
        if self._pid != os.getpid():
            self._session = RouteSession(self._route)
            self._pid = os.getpid()
        return self._session

    def close(self) -> None:
        """Close the connections of this thread; the next call opens new ones."""
        if self._pid == os.getpid():
            self._session.close()
