"""What one exchange with the provider may cost: seconds, and bytes received.

A time-out given to ``requests`` bounds each wait, not their sum: a server that sends one byte now and then keeps a
thread for as long as it likes. A ``Limits`` object belongs to one exchange, and the sockets of ``sockets.py`` ask it
before every wait, so that nothing (not the handshakes, a proxy, the headers or the body) outlives the total.
"""

from __future__ import annotations

from contextvars import ContextVar
from time import monotonic

from .masked import SecretText

# An answer is a small JSON object; this leaves room for its headers. Counted on the socket, below chunks and lengths,
# because http.client reads to the end of the stream when a chunk claims to be -1 bytes long.
MAX_RECEIVED = 256 * 1024


class TooMuchReceived(OSError):  # noqa: N818 - an OSError, so that urllib3 closes the connection
    """The answer is longer than any honest one."""


class Limits:
    """The limits of one exchange, and how far it came.

    Arguments:
        connect: seconds for each attempt to connect, for the proxy's answer and for the TLS handshake.
        read: seconds for each wait after that.
        total: seconds for everything, the resolver's time apart; None for a stream that is past its headers.
        query: what is put behind the path when the request goes out, or None.

    Attributes:
        engaged: our own connections served this exchange (and no stand-in put into requests by a test).
        reused: the connection has carried another exchange before.
        sending: the request is being written.
        sent: a byte of the request has left.
        answered: a byte of the answer has come.
        address: host and port that are talked to.
        why: a word of reasons.py, where no connection came about.
        timed_out: a wait ended because of these limits.
        garbled: what came is not HTTP, or is too much.
    """

    __slots__ = (
        "_deadline",
        "_wait",
        "address",
        "answered",
        "connect",
        "engaged",
        "garbled",
        "query",
        "read",
        "reused",
        "room",
        "sending",
        "sent",
        "timed_out",
        "why",
    )

    def __init__(self, connect: float, read: float, total: float, query: SecretText | None = None) -> None:
        self.connect = connect
        self.read = read
        self.query = query
        self.room = MAX_RECEIVED
        self.engaged = self.reused = self.sending = self.sent = self.answered = self.timed_out = self.garbled = False
        self.address = self.why = ""
        self._wait = connect
        self._deadline: float | None = monotonic() + total

    def start_connecting(self) -> None:
        self._wait = self.connect
        self.reused = self.sending = False

    def start_sending(self) -> None:
        """From here on what leaves is the request. Raises TimeoutError if it is too late to begin."""
        self._wait = self.read
        self.left()
        self.sending = True

    def start_streaming(self, idle: float) -> None:
        """The headers are in: from here on only silence (``idle`` seconds of it) ends the exchange."""
        self._deadline = None
        self._wait = idle

    def exclude(self, seconds: float) -> None:
        """Do not count these seconds (the resolver's)."""
        if self._deadline is not None:
            self._deadline += seconds

    def left(self) -> float:
        """Seconds the next wait may take; raises TimeoutError if there are none."""
        if self._deadline is None:
            return self._wait
        seconds = min(self._wait, self._deadline - monotonic())
        if seconds <= 0:
            self.timed_out = True
            raise TimeoutError("total time-out")
        return seconds

    def count(self, received: int) -> None:
        self.room -= received
        if self.room < 0:
            self.garbled = True
            raise TooMuchReceived("answer too long")


# The exchange this thread or greenlet is starting (each has a context of its own, whenever gevent came). Only a new or
# reused connection looks here; from then on its socket holds the limits itself, since a stream may be read on while the
# same thread makes other calls.
current: ContextVar[Limits | None] = ContextVar("django_verigator.limits", default=None)


def current_limits() -> Limits:
    limits = current.get()
    if limits is None:
        raise RuntimeError("no exchange has begun in this thread")
    return limits
