"""The deadline over a whole call: the budget of one exchange, and a socket that keeps to it.

A time-out that is given to ``requests`` bounds each wait and not their sum, so a server that sends a byte now and then
holds a thread for as long as it likes. Here every wait asks the ``Budget`` of its exchange first. Nothing outlives the
total: no handshake, no proxy, no header and no body.

``DeadlineSocket`` needs connect, send, recv, settimeout, gettimeout and close of the system's socket, and does TLS in
memory. So it works with sockets of any class, including those that gevent and eventlet put in the place of Python's at
any time.
"""

from __future__ import annotations

import io
import socket
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from time import monotonic
from typing import Any

from .secrets import SecretText

MAX_RECEIVED = 256 * 1024
"""Bytes of one answer, headers included. They are counted on the socket, below chunks and lengths, because http.client
reads to the end of the stream when a chunk claims to be -1 bytes long."""

REUSE_SECONDS = 20.0
"""Idle seconds after which a connection is not used again. The least patient networks forget a connection after a
minute, and tell neither end."""

_PIECE = 64 * 1024


class TooMuchReceived(OSError):  # noqa: N818 - an OSError, so that it counts as a broken connection
    """The answer is longer than any honest one."""


class Budget:
    """What one exchange may cost in seconds and bytes, and how far the exchange came.

    Args:
        connect: seconds for each attempt to connect, for a proxy's answer, and for the TLS handshake.
        read: seconds for each wait after that.
        total: seconds for everything except the name resolver.
        query: text that is put behind the path when the request goes out, or None.

    Attributes:
        on_wire: connections of this package serve the exchange, and no stand-in that a test put into requests.
        reused: the connection has carried another exchange before.
        sending: the request is being written.
        sent: a byte of the request has left.
        answered: a byte of the answer has come.
        address: host and port of the other end.
        why: a word of ``errors.WHY``, where no connection came about.
        timed_out: a wait ended because the budget was used up.
        garbled: what came is not HTTP, or is too much.
    """

    def __init__(self, connect: float, read: float, total: float, query: SecretText | None = None) -> None:
        self.query = query
        self.on_wire = self.reused = self.sending = self.sent = self.answered = self.timed_out = self.garbled = False
        self.address = self.why = ""
        self._connect, self._read, self._wait = connect, read, connect
        self._deadline: float | None = monotonic() + total
        self._bytes_left = MAX_RECEIVED

    def start_connecting(self) -> None:
        """Bound each wait by the connect time-out."""
        self._wait = self._connect
        self.on_wire = True
        self.reused = self.sending = False

    def start_sending(self) -> None:
        """Bound each wait by the read time-out, and take what leaves for the request (TimeoutError if too late)."""
        self._wait = self._read
        self.remaining()
        self.sending = True

    def start_streaming(self, idle: float) -> None:
        """Drop the deadline once the headers are in: from now on ``idle`` seconds of silence end the exchange."""
        self._deadline = None
        self._wait = idle

    def extend(self, seconds: float) -> None:
        """Move the deadline by the seconds that the name resolver took, since nobody can cut those short."""
        if self._deadline is not None:
            self._deadline += seconds

    def remaining(self) -> float:
        """Return the seconds that the next wait may take; raise TimeoutError if there are none."""
        if self._deadline is None:
            return self._wait
        seconds = min(self._wait, self._deadline - monotonic())
        if seconds <= 0:
            self.timed_out = True
            raise TimeoutError("total time-out")
        return seconds

    def spend_bytes(self, received: int) -> None:
        """Count received bytes; raise TooMuchReceived if they are more than ``MAX_RECEIVED``."""
        self._bytes_left -= received
        if self._bytes_left < 0:
            self.garbled = True
            raise TooMuchReceived("answer too long")

    def renew_bytes(self) -> None:
        """Count anew, since each piece of a stream may be as long as an answer."""
        self._bytes_left = MAX_RECEIVED

    @contextmanager
    def explaining(self, explain: Callable[[Exception], str]) -> Iterator[None]:
        """Note in ``why`` the word that ``explain`` finds for the failure of the block."""
        try:
            yield
        except Exception as error:
            self.why = explain(error)
            self.timed_out = self.timed_out or isinstance(error, TimeoutError)
            raise


class DeadlineSocket(io.RawIOBase):
    """A connected socket as http.client uses one, with or without TLS. Each operation takes as long as the budget says,
    however many packets that needs.
    """

    def __init__(self, sock: socket.socket, budget: Budget) -> None:
        super().__init__()
        self.budget = budget
        self._sock = sock
        self._tls: ssl.SSLObject | None = None
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._is_read = self._said_too_much = self._is_closed = False
        self._last_used = monotonic()
        self._deadline = 0.0

    def start_tls(self, context: ssl.SSLContext, host: str) -> None:
        """Speak TLS from now on, after the handshake with ``host``."""
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname=host)
        self._in_time(self._through_tls, self._tls.do_handshake)

    def is_reusable(self) -> bool:
        """Say whether the socket is open, was idle for no long time, and heard nothing beyond its answer."""
        if self._is_closed or self._said_too_much or monotonic() - self._last_used > REUSE_SECONDS:
            return False
        try:
            self._do_not_wait()
            for _ in range(4):  # A few records of TLS itself, such as session tickets, are no obstacle.
                if self._tls is not None:
                    with suppress(ssl.SSLWantReadError):
                        self._tls.read(1)
                        return False
                received = self._sock.recv(_PIECE)
                if self._tls is None or not received:
                    return False
                self._incoming.write(received)
        except BlockingIOError:
            return True
        except OSError:
            pass
        return False

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        return self.recv_into(buffer) if self._is_read else 0

    def recv_into(self, buffer: memoryview) -> int:
        if self.budget.sending and not self.budget.sent:
            raise ConnectionResetError("not an answer to what was never sent")
        if self._tls is None:
            received: int = self._in_time(self._wait, self._sock.recv_into, buffer)
            self.budget.spend_bytes(received)
        else:
            try:
                received = self._in_time(self._through_tls, self._tls.read, len(buffer), buffer)
            except ssl.SSLEOFError:  # Many servers end a connection without the closing alert of TLS.
                received = 0
        self.budget.answered = self.budget.answered or bool(received and self.budget.sent)
        return received

    def sendall(self, data: bytes) -> None:
        self._in_time(self._send if self._tls is None else self._send_through_tls, data)

    def makefile(self, *_: Any) -> io.BufferedReader:
        """Return the file that http.client reads one answer from, and closes behind it."""
        self._is_read = True
        return _AnswerFile(self)

    def end_answer(self, file: io.BufferedReader) -> None:
        """Note what was said beyond the answer: ``peek`` shows the buffer, and waits for nothing more."""
        self._is_read = False
        self._said_too_much = self._said_too_much or bool(file.peek(1))
        self._last_used = monotonic()
        if self._is_closed:
            self._sock.close()

    def close(self) -> None:
        """Close the socket, at once or behind the answer that is being read."""
        self._is_closed = True
        if not self._is_read:
            self._sock.close()

    def abort(self) -> None:
        """Close the socket at once."""
        self._is_closed = True
        self._sock.close()

    def _in_time(self, operation: Callable[..., Any], *args: Any) -> Any:
        self._deadline = monotonic() + self.budget.remaining()
        try:
            return operation(*args)
        except TimeoutError:
            self.budget.timed_out = True
            raise

    def _wait(self, operation: Callable[..., Any], *args: Any) -> Any:
        seconds = self._deadline - monotonic()
        if seconds <= 0:
            raise TimeoutError("time-out")
        self._sock.settimeout(seconds)
        return operation(*args)

    def _do_not_wait(self) -> None:
        # settimeout() is a system call, during which other threads may take the interpreter; gettimeout() is none.
        if self._sock.gettimeout() != 0:
            self._sock.settimeout(0)

    def _send(self, data: bytes) -> None:
        rest = memoryview(data)
        while rest:
            try:  # There is room nearly always, so that nothing has to be waited for.
                self._do_not_wait()
                sent = self._sock.send(rest)
            except BlockingIOError:
                sent = self._wait(self._sock.send, rest)
            rest = rest[sent:]
            self.budget.sent = self.budget.sending

    def _send_through_tls(self, data: bytes) -> None:
        rest = memoryview(data)
        while rest:
            assert self._tls is not None
            rest = rest[self._through_tls(self._tls.write, rest) :]

    def _through_tls(self, operation: Callable[..., Any], *args: Any) -> Any:
        while True:
            try:
                result = operation(*args)
            except ssl.SSLWantReadError:
                self._send(self._outgoing.read())
                self._receive()
            except ssl.SSLError:
                with suppress(OSError):  # The alert tells the log of the other end why.
                    self._send(self._outgoing.read())
                raise
            else:
                self._send(self._outgoing.read())
                return result

    def _receive(self) -> None:
        received = self._wait(self._sock.recv, _PIECE)
        self.budget.spend_bytes(len(received))
        if received:
            self._incoming.write(received)
        else:
            self._incoming.write_eof()


class _AnswerFile(io.BufferedReader):
    """Reads one answer from a socket, and leaves the socket open behind it."""

    raw: DeadlineSocket
    _is_over = False

    def close(self) -> None:
        # Once: a finalizer that comes late must not end the next answer.
        if not self._is_over:
            self._is_over = True
            self.raw.end_answer(self)
