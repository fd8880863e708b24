"""The transport: an exchange with the provider, in which whatever goes wrong becomes one of our exceptions."""

from __future__ import annotations

import logging
import random
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from time import monotonic, sleep
from typing import Any, NoReturn, TypeVar
from urllib.parse import urlsplit

import requests
from requests.structures import CaseInsensitiveDict

from django_verigator import __version__
from django_verigator.exceptions import ConnectionFailedError, NoSuchResourceError, VerigatorError

from .answers import BadAnswer, drain, parse_object, read_body, read_piece, require_identity
from .connections import BudgetedRequest, Sessions
from .deadline import Budget
from .errors import exchange_error, status_error
from .options import (
    ConnectionArguments,
    ConnectionOptions,
    Unpack,
    choose_proxy,
    clean_endpoint,
    mask_proxies,
    require_seconds,
    takes_connection_options,
)
from .route import Route, tls_context
from .secrets import SecretBody, SecretText
from .userlist import iter_users

Result = TypeVar("Result")
ReadError = Callable[[int, bytes], VerigatorError | None]

logger = logging.getLogger("django_verigator.client")

IDLE_TIMEOUT = 15.0
"""Seconds of silence within a stream."""

# What may be repeated is idempotent: never a start (money), a check (a try) or a registration (a second record).
IDEMPOTENT = frozenset({"GET", "DELETE"})
RETRIED_STATUSES = frozenset({500, 502, 503, 504})
RETRIES = 2
FIRST_BACKOFF = 0.5
"""Seconds before the first retry. Each further backoff is twice as long, and jitter makes it up to twice as long again,
so that clients do not return all at once."""

before_request: list[Callable[[str, str], None]] = []
"""Functions called with (method, path) before each request to the provider, in its thread. What they raise goes to the
caller, and nothing is sent. Tests use this to show that no database transaction is open during a call."""

_within: ContextVar[float | None] = ContextVar("django_verigator.within", default=None)
"""Seconds that each call may take, where that is less than its total time-out."""


class Transport:
    """Sends requests. Threads may share it; each of them has its own connections.

    Args:
        endpoint: the provider's address, before the paths; http:// is accepted for loopback hosts alone.
        headers: headers of each request, beside those that every request has; secret ones as ``SecretText``.
        idle_timeout: seconds of silence within a stream, which has no total.
        read_error: is given status (400 and above) and body of an answer that is no success, b"" where the body cannot
            be had. Returns the error that the body stands for, with words of ours, or None; then the status decides, as
            after a BadAnswer. An error without a status gets that of the answer.
        connection: see ``ConnectionOptions``.

    Raises:
        ValueError: an argument cannot be used.

    Errors are raised outside the ``except`` that saw the cause, so that none carries a context: its frames hold the
    headers and the body.
    """

    @takes_connection_options
    def __init__(
        self,
        endpoint: str,
        *,
        headers: Mapping[str, str],
        idle_timeout: float = IDLE_TIMEOUT,
        read_error: ReadError | None = None,
        **connection: Unpack[ConnectionArguments],
    ) -> None:
        mask_proxies(connection)
        self._options = ConnectionOptions(**connection)
        require_seconds(idle_timeout=idle_timeout)
        self._idle_timeout = idle_timeout
        self._read_error = read_error
        self.endpoint = clean_endpoint(endpoint)
        self.total_timeout = self._options.total_timeout
        self._headers = {"User-Agent": f"django-verigator/{__version__}", "Accept-Encoding": "identity", **headers}
        parts = urlsplit(self.endpoint)
        self._address, self._path = parts.netloc, parts.path
        proxy = choose_proxy(self.endpoint, self._options.proxies)
        tls = tls_context(self._options.ca_bundle) if parts.scheme == "https" else None
        self._sessions = Sessions(Route(parts.hostname or "", parts.port or (443 if tls else 80), tls, proxy))
        self.close = self._sessions.close

    def __reduce__(self) -> NoReturn:
        raise TypeError("a client holds credentials and connections, and is not pickled or copied")

    @contextmanager
    def within(self, seconds: float | None) -> Iterator[None]:
        """Give each call of this thread at most so many seconds, where that is less than the total time-out."""
        before = _within.get()
        if seconds is not None:
            _within.set(seconds if before is None else min(seconds, before))
        try:
            yield
        finally:
            _within.set(before)

    def allowance(self) -> float:
        """Return the seconds that a call of this thread may take in all."""
        seconds = _within.get()
        return self.total_timeout if seconds is None else min(seconds, self.total_timeout)

    def call(
        self,
        method: str,
        path: str,
        read: Callable[[dict[str, Any]], Result],
        body: SecretBody | None = None,
        *,
        only_200: bool = False,
    ) -> Result:
        """Do what ``exchange`` does; ``read`` is given the JSON object in the answer."""
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
        """Send a request and return what ``read`` makes of the body of the answer.

        Args:
            read: is given the body; raises BadAnswer for one that it does not like.
            query: is put behind the path at the very end, on the connection, so that no log, exception or object of
                requests ever holds it.
            only_200: take no other 2xx for a success.

        Raises:
            VerigatorError: the call did not end in an answer that can be used.
        """

        def exchange_once() -> Result:
            response, budget = self._open(method, path, body, query)
            try:
                if only_200 and response.status_code != 200:
                    raise BadAnswer("another success than 200")
                require_identity(response)
                return read(read_body(response))
            except Exception as problem:  # noqa: BLE001 - sockets that somebody has patched raise what they like
                error = exchange_error(problem, budget, method, path, response.status_code)
            finally:
                response.close()
            raise error

        return self._with_retries(method, exchange_once)

    def delete(self, path: str) -> None:
        """Send a DELETE. Any 2xx is a success, with any body (protocol: Messente docs, deleting-users: 202)."""
        attempts = 0

        def delete_once() -> None:
            nonlocal attempts
            attempts += 1
            try:
                drain(self._open("DELETE", path, None)[0])
            except NoSuchResourceError:
                # After a lost answer this says that the first attempt did it.
                if attempts == 1:
                    raise

        self._with_retries("DELETE", delete_once)

    def stream(self, path: str, read: Callable[[dict[str, Any]], Result]) -> Iterator[Result]:
        """Yield what ``read`` makes of each user of a list, as it comes in."""
        response, budget = self._with_retries("GET", lambda: self._open("GET", path, None))
        budget.start_streaming(self._idle_timeout)

        def receive() -> bytes:
            budget.renew_bytes()
            return read_piece(response)

        try:
            users = iter_users(receive)
            while True:
                try:
                    require_identity(response)
                    item = read(next(users))
                except StopIteration:
                    return
                except Exception as problem:  # noqa: BLE001 - as in exchange
                    error = exchange_error(problem, budget, "GET", path, response.status_code)
                    break
                yield item
        finally:
            response.close()
        raise error

    def _with_retries(self, method: str, attempt: Callable[[], Result]) -> Result:
        """Return ``attempt()``, repeated where that is allowed, all within the time that one call may take."""
        if method not in IDEMPOTENT:
            return attempt()
        deadline = monotonic() + self.allowance()
        seen = False
        for backoff in (*_backoffs(), None):
            try:
                with self.within(deadline - monotonic()):
                    return attempt()
            except VerigatorError as error:
                error.sent = seen = seen or error.sent
                wait = None if backoff is None else _wait_before_retry(error, backoff)
                if wait is None or monotonic() + wait >= deadline:
                    raise
            sleep(wait)
        raise AssertionError("the last attempt returns or raises")

    def _open(
        self, method: str, path: str, body: SecretBody | None, query: SecretText | None = None
    ) -> tuple[requests.Response, Budget]:
        """Send a request and return the open response, a 2xx, with its budget; raise the error of any other status."""
        for hook in before_request:
            hook(method, path)
        options = self._options
        budget = Budget(options.connect_timeout, options.read_timeout, self.allowance(), query)
        budget.address = self._address
        try:
            response = self._sessions.for_this_thread().send(
                self._prepare(method, path, body, budget),
                stream=True,
                timeout=(options.connect_timeout, options.read_timeout),
                proxies={},
                allow_redirects=False,
            )
        except Exception as problem:  # noqa: BLE001 - as in exchange
            error = exchange_error(problem, budget, method, path)
        else:
            logger.debug('"%s %s HTTP/1.1" %s', method, path, response.status_code)
            if 200 <= response.status_code < 300:
                return response, budget
            error = self._refusal(response, method, path)
        raise error

    def _refusal(self, response: requests.Response, method: str, path: str) -> VerigatorError:
        """Return the error of an answer that is no success, and close the response."""
        status, body = response.status_code, drain(response)
        error = status_error(status, method, path, response.headers.get("Retry-After"))
        if self._read_error is None or status < 400:
            return error
        try:
            better = self._read_error(status, body)
        except BadAnswer:
            return error
        if better is None:
            return error
        better.status = better.status or status
        better.method, better.path, better.retry_after = method, path, error.retry_after
        return better

    def _prepare(self, method: str, path: str, body: SecretBody | None, budget: Budget) -> BudgetedRequest:
        # PreparedRequest.prepare() would merge, guess and quote, which is not wanted here and takes its time.
        request = BudgetedRequest()
        request.budget = budget
        request.method = method
        request.url = self.endpoint + path
        request.target = self._path + path
        request.headers = CaseInsensitiveDict(self._headers)
        if body is not None:
            request.headers["Content-Type"] = body.content_type
            request.headers["Content-Length"] = str(len(body))
            request.body = body
        elif method not in IDEMPOTENT:
            request.headers["Content-Length"] = "0"
        return request


def _backoffs() -> Iterator[float]:
    """Yield the seconds before each retry."""
    for number in range(RETRIES):
        shortest = FIRST_BACKOFF * 2**number
        yield random.uniform(shortest, 2 * shortest)  # noqa: S311 - nothing secret hangs on it


def _wait_before_retry(error: VerigatorError, backoff: float) -> float | None:
    """Return the seconds to wait before the call is repeated; None if it is not.

    It is not repeated after a time-out, which has used up the caller's patience, nor where nobody listens.
    """
    if error.status in RETRIED_STATUSES:
        return max(backoff, error.retry_after or 0)
    if isinstance(error, ConnectionFailedError) and error.sent:
        return backoff
    return None


class Client:
    """What the clients of all APIs have in common.

    Threads may share a client. Each has its own connections, which are kept open between calls. Certificates are
    always verified.

    Attributes:
        endpoint: the provider's address, before the paths.
        total_timeout: seconds that a whole call may take.
    """

    endpoint = ""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self.endpoint = transport.endpoint
        self.total_timeout = transport.total_timeout

    def within(self, seconds: float | None) -> AbstractContextManager[None]:
        """Return a context in which each call of this thread has at most so many seconds, and never more than
        ``total_timeout``; None changes nothing.
        """
        return self._transport.within(seconds)

    def close(self) -> None:
        """Close the connections of this thread; the next call opens new ones."""
        self._transport.close()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} endpoint={self.endpoint!r}>"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a client holds credentials and connections, and is not pickled or copied")
