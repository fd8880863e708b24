"""Sending a reply: whole, or in the way a fault asks for."""

from __future__ import annotations

import json
import socket
import struct
import threading
import time
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from email.utils import formatdate
from http import HTTPStatus

from django_verigator.sandbox.exchange import Reply, error_reply, json_reply
from django_verigator.sandbox.faults import BODY, DRIP, HANG, RESET, STATUS, Fault

PIECE = 1 << 16
WHOLE = 16 << 20
LOOK_EVERY = 0.2
DRIP_SECONDS = 0.25
BODILESS = (HTTPStatus.NO_CONTENT, HTTPStatus.RESET_CONTENT, HTTPStatus.NOT_MODIFIED)
REPLY_FAULTS = (STATUS, BODY, DRIP)


class Wire:
    """One connection, as the sender of a reply sees it.

    Attributes:
        http10: the caller speaks HTTP/1.0 and does not know chunks.
        head_only: the request was a HEAD.
        closing: the connection ends after this reply.
        on_reply: told the status when a reply begins to go out, so that the log is never behind what the caller knows.
    """

    def __init__(self, connection: socket.socket, stopping: threading.Event) -> None:
        self._connection = connection
        self._stopping = stopping
        self.http10 = False
        self.head_only = False
        self.closing = False
        self.on_reply: Callable[[int], None] = ignored

    def write(self, data: bytes) -> None:
        if data:
            self._connection.sendall(data)

    def pause(self, seconds: float) -> bool:
        """Wait; False where the sandbox stops meanwhile."""
        return not self._stopping.wait(seconds)

    def hold(self, seconds: float | None) -> None:
        """Keep the caller waiting until he leaves, the time is over or the sandbox stops."""
        end = None if seconds is None else time.monotonic() + seconds
        self._connection.settimeout(LOOK_EVERY)
        while not self._stopping.is_set() and (end is None or time.monotonic() < end):
            try:
                if not self._connection.recv(1, socket.MSG_PEEK):
                    return
            except TimeoutError:
                continue
            except ValueError:  # TLS cannot peek
                pass
            self._stopping.wait(LOOK_EVERY)

    def reset_on_close(self) -> None:
        """Make the next close a TCP reset instead of an orderly end."""
        self._connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def ignored(_status: int) -> None:
    """The call is not one that is logged."""


def send(wire: Wire, reply: Reply) -> None:
    """Send a reply. A short one is one packet, so no caller waits for a delayed acknowledgement."""
    wire.on_reply(reply.status)
    if isinstance(reply.body, bytes):
        wire.write(_head(wire, reply, length=len(reply.body)) + (b"" if wire.head_only else reply.body))
        return
    wire.closing = wire.closing or wire.http10
    wire.write(_head(wire, reply, length=None))
    if wire.head_only:
        return
    for piece in reply.body:
        wire.write(piece if wire.http10 else b"%x\r\n%b\r\n" % (len(piece), piece))
    if not wire.http10:
        wire.write(b"0\r\n\r\n")


def send_damaged(wire: Wire, reply: Reply, fault: Fault) -> None:
    """Send what the fault leaves of a reply."""
    wire.closing = wire.closing or fault.fault not in REPLY_FAULTS or fault.content_length is not None
    if fault.fault in REPLY_FAULTS:
        reply = _dressed(reply, fault)
    if fault.endless:
        send(wire, replace(reply, body=_endless(wire, _joined(reply.body))))
    elif fault.fault == DRIP:
        _drip(wire, reply, fault)
    elif fault.fault in REPLY_FAULTS:
        body = _body(reply, fault)
        if fault.content_length is None or not isinstance(body, bytes):
            send(wire, replace(reply, body=body))
        else:
            wire.on_reply(reply.status)
            wire.write(_head(wire, reply, length=fault.content_length) + body)
    else:
        _cut(wire, reply, fault)


def own_reply(fault: Fault) -> Reply:
    """The reply to a request that a fault kept from being carried out."""
    return error_reply(fault.status, _phrase(fault.status)) if fault.status else json_reply(HTTPStatus.OK, {})


def _head(wire: Wire, reply: Reply, *, length: int | None) -> bytes:
    framing = [] if wire.http10 else ["Transfer-Encoding: chunked"]
    if length is not None:
        framing = [f"Content-Length: {length}"]
    if wire.closing or wire.http10:
        framing.append("Connection: close" if wire.closing else "Connection: keep-alive")
    lines = [
        f"HTTP/1.1 {int(reply.status)} {_phrase(reply.status)}",
        "Server: verigator-sandbox",
        f"Date: {formatdate(usegmt=True)}",
        f"Content-Type: {reply.content_type}",
        *framing,
        "Cache-Control: no-store",
        "X-Content-Type-Options: nosniff",
        "Cross-Origin-Resource-Policy: same-origin",
        *(f"{name}: {value}" for name, value in reply.headers),
    ]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


def _phrase(status: int | None) -> str:
    try:
        return HTTPStatus(status or 0).phrase
    except ValueError:
        return "Unknown"


def _dressed(reply: Reply, fault: Fault) -> Reply:
    """The reply with the fault's status, headers and type, and with its body where it brings one."""
    status = fault.status or reply.status
    body = reply.body
    if fault.body is not None:
        body = (fault.body if isinstance(fault.body, str) else json.dumps(fault.body)).encode("utf-8", "surrogatepass")
    elif fault.fault == STATUS:
        body = b"" if status in BODILESS else own_reply(fault).body
    extra = [*fault.headers]
    if fault.retry_after is not None:
        extra.append(("Retry-After", fault.retry_after))
    if fault.gzip:
        extra.append(("Content-Encoding", "gzip"))
    return replace(
        reply, status=status, body=body, content_type=fault.content_type or reply.content_type, headers=(*extra,)
    )


def _body(reply: Reply, fault: Fault) -> bytes | Iterable[bytes]:
    if fault.gzip:
        packer = zlib.compressobj(wbits=31)
        packed = b"".join(packer.compress(piece) for piece in _padded(reply.body, fault.size))
        return packed + packer.flush()
    pieces = _padded(reply.body, fault.size)
    return pieces if fault.size > WHOLE else b"".join(pieces)


def _padded(body: bytes | Iterable[bytes], size: int) -> Iterator[bytes]:
    whole = _joined(body)
    if whole:
        yield whole
    left = size - len(whole)
    while left > 0:
        yield b" " * min(PIECE, left)
        left -= PIECE


def _joined(body: bytes | Iterable[bytes]) -> bytes:
    return body if isinstance(body, bytes) else b"".join(body)


def _endless(wire: Wire, body: bytes) -> Iterator[bytes]:
    if body:
        yield body
    while wire.pause(0.001):
        yield b" " * 1024


def _drip(wire: Wire, reply: Reply, fault: Fault) -> None:
    body = _joined(reply.body)
    head = _head(wire, reply, length=len(body))
    wire.on_reply(reply.status)
    if fault.part == BODY:
        wire.write(head)
        head = b""
    for byte in head + (b"" if wire.head_only else body):
        if not wire.pause(DRIP_SECONDS if fault.seconds is None else fault.seconds):
            wire.closing = True
            return
        wire.write(bytes((byte,)))


def _cut(wire: Wire, reply: Reply, fault: Fault) -> None:
    body = _joined(reply.body)
    wire.write((_head(wire, reply, length=len(body)) + body)[: fault.after_bytes])
    if fault.fault == HANG:
        wire.hold(fault.seconds)
    elif fault.fault == RESET:
        if fault.after_bytes:
            # A reset throws away what the other side has not read yet.
            wire.pause(LOOK_EVERY / 4)
        wire.reset_on_close()
