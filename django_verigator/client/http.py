"""The transport: an exchange with the provider, in which whatever goes wrong becomes one of our exceptions."""

from __future__ import annotations

import os
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from time import monotonic, sleep
from typing import Any, NoReturn, TypeVar
from urllib.parse import urlsplit

import requests
from requests.structures import CaseInsensitiveDict

from django_verigator import __version__
from django_verigator.exceptions import (
    ConnectionFailedError,
    InvalidResponseError,
    NoSuchResourceError,
    RequestTimeoutError,
    VerigatorError,
)

from . import retries
from .answers import BadAnswer, parse_object
from .arguments import check_seconds, choose_proxy, clean_endpoint
from .bodies import WIRE_ERRORS, discard, read_body, read_piece, require_identity
from .errors import status_error
from .limits import MAX_RECEIVED, Limits, current
from .masked import SecretBody, SecretText
from .reasons import sentence
from .session import Sessions
from .tls import tls_context
from .userlist import iter_users

Result = TypeVar("Result")

before_request: list[Callable[[str, str], None]] = []
"""Functions called with (method, path) before each request to the provider, in its thread. What they raise goes to the
caller and nothing is sent. Tests use this to show that no database transaction is open during a call."""


_budget: ContextVar[float | None] = ContextVar("django_verigator.budget", default=None)
"""Seconds that each call may take, where that is less than its total time-out."""


class Transport:
    """Sends requests; safe to share between threads, each of which has its own connections.

    Arguments:
        endpoint: the provider's address, before the paths; http:// is accepted for loopback hosts alone.
        headers: of each request, beside those that every request has; secret ones as ``SecretText``.
        connect_timeout: seconds to connect (to whichever address of the host takes the connection first), for a proxy's
            answer, and for the TLS handshake; each of them.
        read_timeout: seconds of silence after that.
        total_timeout: seconds for the whole call. Only the name resolver's time is not counted, since it cannot be cut.
        idle_timeout: seconds of silence within a stream, which has no total.
        proxies: as requests takes them, for instance ``{"https": "http://proxy:3128"}``; http:// proxies only, and
            not used for an http:// endpoint.
        ca_bundle: a file or directory of CA certificates instead of those that come with requests (certifi).

    Raises ValueError for an argument that cannot be used.

    Errors are raised outside the ``except`` that saw the cause, so that none carries a context: its frames hold the
    headers and the body.
    """

    def __init__(
        self,
        endpoint: str,
        *,
        headers: Mapping[str, str],
        connect_timeout: float = 3.0,
        read_timeout: float = 5.0,
        total_timeout: float = 8.0,
        idle_timeout: float = 15.0,
        proxies: Mapping[str, str] | None = None,
        ca_bundle: str | None = None,
    ) -> None:
        check_seconds(
            connect_timeout=connect_timeout,
            read_timeout=read_timeout,
            total_timeout=total_timeout,
            idle_timeout=idle_timeout,
        )
        self.endpoint = clean_endpoint(endpoint)
        self._connect, self._read, self._total, self._idle = connect_timeout, read_timeout, total_timeout, idle_timeout
        self._proxies, proxy_headers = choose_proxy(self.endpoint, proxies)
        del proxies
        tls = None
        if self.endpoint.startswith("https:"):
            tls = tls_context(ca_bundle)
        else:
            # Plain HTTP is for loopback: the credentials do not go to a proxy in the clear.
            self._proxies = {}
        self._address = urlsplit(self.endpoint).netloc
        self._headers = {
            "User-Agent": f"django-verigator/{__version__}",
            "Accept-Encoding": "identity",
            **headers,
        }
        self._sessions = Sessions(tls, proxy_headers)
        self.close = self._sessions.close

    def __reduce__(self) -> NoReturn:
        raise TypeError("a client holds credentials and connections, and is not pickled or copied")

    @contextmanager
    def within(self, seconds: float | None) -> Iterator[None]:
        """Have this thread's calls done in so many seconds each, where that is less than the total time-out."""
        before = _budget.get()
        if seconds is not None:
            _budget.set(seconds if before is None else min(seconds, before))
        try:
            yield
        finally:
            _budget.set(before)

    def allowance(self) -> float:
        """Seconds that a call of this thread may take in all."""
        budget = _budget.get()
        return self._total if budget is None else min(budget, self._total)

    def call(
        self,
        method: str,
        path: str,
        read: Callable[[dict[str, Any]], Result],
        body: SecretBody | None = None,
        *,
        only_200: bool = False,
    ) -> Result:
        """As ``exchange``, where ``read`` is given the JSON object in the answer."""
        return self.exchange(method, path, lambda raw: read(parse_object(raw)), body, only_200=only_200)

    def exchange(
        self,
        method: str,
        path: str,
        read: Callable[[bytes], Result],
        body: SecretBody | None = None,
        *,
        query: SecretText | None = None,
        only_200: bool = False,
    ) -> Result:
        """Send a request and return ``read(answer)``, where ``answer`` is the body of a 2xx (or only of a 200).

        ``read`` raises BadAnswer for an answer it does not like. ``query`` is put behind the path at the very end, on
        the connection, so that no log, exception or object of requests and urllib3 ever holds it.
        """
        return self._repeating(method, lambda: self._exchange(method, path, read, body, query, only_200))

    def _exchange(
        self,
        method: str,
        path: str,
        read: Callable[[bytes], Result],
        body: SecretBody | None,
        query: SecretText | None,
        only_200: bool,
    ) -> Result:
        response, limits = self._success(method, path, body, query)
        try:
            if only_200 and response.status_code != 200:
                raise BadAnswer("another success than 200")
            require_identity(response)
            return read(read_body(response))
        except Exception as problem:  # noqa: BLE001 - sockets that somebody has patched raise what they like
            error = _translate(problem, limits, method, path, response.status_code)
        finally:
            response.close()
        raise error

    def delete(self, path: str) -> None:
        """Send a DELETE; any 2xx will do, with any body or none (protocol: Messente docs, deleting-users: 202)."""
        attempts = 0

        def once() -> None:
            nonlocal attempts
            attempts += 1
            try:
                discard(self._success("DELETE", path, None)[0])
            except NoSuchResourceError:
                # After a lost answer this is the news that it was done.
                if attempts == 1:
                    raise

        self._repeating("DELETE", once)

    def stream(self, path: str, read: Callable[[dict[str, Any]], Result]) -> Iterator[Result]:
        """Yield ``read(user)`` for each user of a list, as it comes in."""
        response, limits = self._repeating("GET", lambda: self._success("GET", path, None))
        limits.start_streaming(self._idle)

        def receive() -> bytes:
            limits.room = MAX_RECEIVED
            return read_piece(response)

        try:
            users = iter_users(receive)
            while True:
                try:
                    require_identity(response)
                    item = read(next(users))
                except StopIteration:
                    return
                except Exception as problem:  # noqa: BLE001 - as in _exchange
                    error = _translate(problem, limits, "GET", path, response.status_code)
                    break
                yield item
        finally:
            response.close()
        raise error

    def _repeating(self, method: str, once: Callable[[], Result]) -> Result:
        """Return ``once()``, made again as retries.py says, all within the time that one call may take."""
        if method not in retries.REPEATABLE:
            return once()
        deadline = monotonic() + self.allowance()
        seen = False
        for pause in (*retries.pauses(), None):
            try:
                with self.within(deadline - monotonic()):
                    return once()
            except VerigatorError as error:
                error.sent = seen = seen or error.sent
                wait = None if pause is None else retries.wait_after(error, pause)
                if wait is None or monotonic() + wait >= deadline:
                    raise
            sleep(wait)
        raise AssertionError("the last attempt returns or raises")

    def _success(
        self, method: str, path: str, body: SecretBody | None, query: SecretText | None = None
    ) -> tuple[requests.Response, Limits]:
        """Send a request and return the open response to it, a 2xx; raise the error of any other status."""
        for hook in before_request:
            hook(method, path)
        limits = Limits(self._connect, self._read, self.allowance(), query)
        limits.address = self._address
        current.set(limits)
        try:
            response = self._send(self._prepare(method, path, body), limits)
        except Exception as problem:  # noqa: BLE001 - as in _exchange
            error = _translate(problem, limits, method, path)
        else:
            if 200 <= response.status_code < 300:
                return response, limits
            discard(response)
            error = status_error(response.status_code, method, path, response.headers.get("Retry-After"))
        finally:
            current.set(None)
        raise error

    def _send(self, request: requests.PreparedRequest, limits: Limits) -> requests.Response:
        """Send a request, again if a connection of earlier turns out to be dead before a byte of it has left."""
        while True:
            limits.start_connecting()
            try:
                return self._sessions.get().send(
                    request,
                    stream=True,
                    timeout=(self._connect, self._read),
                    allow_redirects=False,
                    proxies=self._proxies,
                )
            except WIRE_ERRORS:
                if not limits.reused or limits.sent or limits.timed_out:
                    raise

    def _prepare(self, method: str, path: str, body: SecretBody | None) -> requests.PreparedRequest:
        # By hand: what requests would do here (merge, guess, quote again) is not wanted, and takes its time.
        request = requests.PreparedRequest()
        request.method = method
        request.url = self.endpoint + path
        request.headers = CaseInsensitiveDict(self._headers)
        if body is not None:
            request.headers["Content-Type"] = body.content_type
            request.headers["Content-Length"] = str(len(body))
            request.body = body
        return request


def _translate(problem: Exception, limits: Limits, method: str, path: str, status: int | None = None) -> VerigatorError:
    """Our exception for what went wrong, in words of ours."""
    # Certain only if our connections ran and stopped before sending; or if requests says so (a stand-in in a test).
    unsent = not limits.sent and (limits.engaged or isinstance(problem, requests.ConnectTimeout))
    why = limits.why if unsent else "cut_answer" if limits.answered else "no_answer"
    kind: type[VerigatorError] = ConnectionFailedError
    message = f"no connection to {limits.address}" if unsent else f"the connection to {limits.address} broke"
    if isinstance(problem, BadAnswer):
        kind, message, why = InvalidResponseError, str(problem), ""
    elif limits.timed_out or isinstance(problem, requests.Timeout):
        kind = RequestTimeoutError
        message = f"{message} in time" if unsent else f"no complete answer from {limits.address} in time"
    elif limits.sent and (limits.garbled or type(problem) is ValueError):
        kind, message, why = InvalidResponseError, "no HTTP, or too much of it", ""
    elif not isinstance(problem, WIRE_ERRORS):
        last = traceback.extract_tb(problem.__traceback__)[-1]
        why = "unexpected"
        message += f" ({type(problem).__name__} in {os.path.basename(last.filename)}, line {last.lineno})"
    elif why:
        message += f": {sentence(why)}"
    address = limits.address if why else ""
    return kind(message, status=status, method=method, path=path, sent=not unsent, why=why, address=address)
