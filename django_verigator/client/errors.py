"""From whatever goes wrong in an exchange to our exceptions. No text of the provider gets into them."""

from __future__ import annotations

import errno
import http.client
import math
import os
import socket
import ssl
import traceback
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime

import requests

from django_verigator.exceptions import (
    ConnectionFailedError,
    InternalError,
    InvalidDataError,
    InvalidResponseError,
    NoSuchResourceError,
    RequestTimeoutError,
    ResourceAlreadyExistsError,
    ResourceForbiddenError,
    ThrottledError,
    VerigatorError,
    WrongCredentialsError,
)

from .answers import BadAnswer
from .deadline import Budget

MAX_RETRY_AFTER = 3600  # seconds

# protocol: Messente docs name 401, 403, 404, 409 and 422; 400 and 500 are known from their clients alone.
_BY_STATUS: dict[int, tuple[type[VerigatorError], str]] = {
    400: (InvalidDataError, "the provider refuses the data"),
    401: (WrongCredentialsError, "the provider refuses the credentials"),
    403: (ResourceForbiddenError, "the resource belongs to another account"),
    404: (NoSuchResourceError, "no such service, user or authentication"),
    409: (ResourceAlreadyExistsError, "it exists already"),
    422: (InvalidDataError, "the provider refuses the data"),
    429: (ThrottledError, "too many calls"),
}

WHY = {
    "no_such_name": "the name is not known",
    "refused": "nobody listens there",
    "no_route": "there is no way there",
    "connect_timeout": "nobody answers there",
    "unreachable": "it cannot be reached",
    "unknown_ca": "the certificate is from an unknown CA",
    "wrong_host": "the certificate is for another host name",
    "expired": "the certificate has expired",
    "not_yet_valid": "the certificate is not valid yet; is the clock right?",
    "bad_certificate": "the certificate is not acceptable",
    "no_tls": "what answers there does not speak TLS",
    "tls_failed": "no TLS that both ends accept",
    "tls_broken": "it broke off in the TLS handshake",
    "tls_timeout": "the TLS handshake took too long",
    "proxy_auth": "it is a proxy and wants other credentials",
    "proxy_denied": "it is a proxy and does not let us through",
    "proxy_broken": "it is no proxy, or broke off",
    "no_answer": "it ended before an answer came",
    "cut_answer": "it ended in the middle of the answer",
}
"""Why a connection failed: a word for each reason that has a remedy of its own, and the same for people."""

_NO_ROUTE = {errno.ENETUNREACH, errno.EHOSTUNREACH, errno.ENETDOWN, errno.EADDRNOTAVAIL}
# OpenSSL's X509_V_ERR_...: 2 and 18 to 21 are about an issuer that is missing or signs itself.
_CERTIFICATES = {
    **dict.fromkeys((2, 18, 19, 20, 21), "unknown_ca"),
    **dict.fromkeys((62, 64), "wrong_host"),
    9: "not_yet_valid",
    10: "expired",
}
_NO_TLS = {"WRONG_VERSION_NUMBER", "HTTP_REQUEST", "RECORD_LAYER_FAILURE", "PACKET_LENGTH_TOO_LONG"}

# What requests and http.client raise for a broken exchange. http.client raises ValueError for a chunk that claims a
# negative length.
WIRE_ERRORS = (requests.RequestException, http.client.HTTPException, OSError, ValueError)


class ProxyRefusedError(OSError):
    """The proxy answered, and opens no tunnel."""

    def __init__(self, status: int) -> None:
        super().__init__(f"the proxy answered {status}")
        self.status = status


def status_error(status: int, method: str, path: str, retry_after: str | None) -> VerigatorError:
    """Return the error for a status that is no success; the header Retry-After is read for 429 and 503."""
    if status in _BY_STATUS:
        kind, message = _BY_STATUS[status]
    elif 400 <= status < 500:
        kind, message = VerigatorError, "the provider refuses the call"
    elif 500 <= status < 600:
        kind, message = InternalError, "the provider failed"
    elif 300 <= status < 400:
        kind, message = InvalidResponseError, "a redirect, which is never followed"
    else:
        kind, message = InvalidResponseError, "a status that is no answer"
    wait = parse_retry_after(retry_after) if status in {429, 503} else None
    return kind(message, status=status, method=method, path=path, retry_after=wait)


def parse_retry_after(text: str | None) -> int | None:
    """Return the seconds to wait, 0 to 3600, from a number or an HTTP date; None for anything else."""
    if not text or not text.isascii():
        return None
    if text.isdigit():
        return MAX_RETRY_AFTER if len(text) > 9 else min(int(text), MAX_RETRY_AFTER)
    try:
        date = parsedate_to_datetime(text)
        if date.tzinfo is None:  # The parser's sign for "-0000", which is UTC.
            date = date.replace(tzinfo=timezone.utc)
        seconds = math.ceil((date - datetime.now(timezone.utc)).total_seconds())
    except (TypeError, ValueError, OverflowError, IndexError):
        return None
    return max(0, min(seconds, MAX_RETRY_AFTER))


def exchange_error(
    problem: Exception, budget: Budget, method: str, path: str, status: int | None = None
) -> VerigatorError:
    """Return our exception for what an exchange was broken off by."""
    # Certain only if our own connection stopped before sending, or if requests says so in the place of one (in a test).
    unsent = not budget.sent and (budget.on_wire or isinstance(problem, requests.ConnectTimeout))
    why = budget.why if unsent else "cut_answer" if budget.answered else "no_answer"
    kind: type[VerigatorError] = ConnectionFailedError
    message = f"no connection to {budget.address}" if unsent else f"the connection to {budget.address} broke"
    if isinstance(problem, BadAnswer):
        kind, message, why = InvalidResponseError, str(problem), ""
    elif budget.timed_out or isinstance(problem, requests.Timeout):
        kind = RequestTimeoutError
        message = f"{message} in time" if unsent else f"no complete answer from {budget.address} in time"
    elif budget.sent and (budget.garbled or type(problem) is ValueError):
        kind, message, why = InvalidResponseError, "no HTTP, or too much of it", ""
    elif not isinstance(problem, WIRE_ERRORS):
        last = traceback.extract_tb(problem.__traceback__)[-1]
        why = "unexpected"
        message += f" ({type(problem).__name__} in {os.path.basename(last.filename)}, line {last.lineno})"
    elif why:
        message += f": {explanation(why)}"
    address = budget.address if why else ""
    return kind(message, status=status, method=method, path=path, sent=not unsent, why=why, address=address)


def explanation(why: str) -> str:
    """Return what a word means; "proxy_" stands in front of one about connecting."""
    return WHY.get(why) or f"it is a proxy: {WHY[why.removeprefix('proxy_')]}"


def why_not_connected(error: Exception) -> str:
    """Return the word for a failure between the name and the connection."""
    if isinstance(error, (socket.gaierror, UnicodeError)):
        return "no_such_name"
    if isinstance(error, TimeoutError):
        return "connect_timeout"
    if isinstance(error, ConnectionRefusedError):
        return "refused"
    return "no_route" if getattr(error, "errno", None) in _NO_ROUTE else "unreachable"


def why_no_tunnel(error: Exception) -> str:
    """Return the word for a failure between a proxy's name and its answer."""
    if isinstance(error, ProxyRefusedError):
        return "proxy_auth" if error.status == 407 else "proxy_denied"
    why = why_not_connected(error)
    return "proxy_broken" if why == "unreachable" else f"proxy_{why}"


def why_no_tls(error: Exception) -> str:
    """Return the word for a failure of the TLS handshake."""
    if isinstance(error, TimeoutError):
        return "tls_timeout"
    if isinstance(error, ssl.SSLCertVerificationError):
        return _CERTIFICATES.get(error.verify_code, "bad_certificate")
    if isinstance(error, ssl.SSLError) and not isinstance(error, ssl.SSLEOFError):
        return "no_tls" if getattr(error, "reason", "") in _NO_TLS else "tls_failed"
    return "tls_broken"
