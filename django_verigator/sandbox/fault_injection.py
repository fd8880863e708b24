"""Send a response in the way a fault asks for: altered, cut off, slowly or not at all."""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import replace
from http import HTTPStatus

from .connection import ClientConnection
from .faults import BODY, DRIP, HANG, RESET, STATUS, FaultRule
from .http_messages import Response, error_response, json_response, reason_phrase
from .response_writer import render_head, send_response

PADDING_BYTES = 1 << 16
MAX_BUFFERED_BYTES = 16 << 20
DRIP_SECONDS = 0.25
RESET_DELAY_SECONDS = 0.05
BODILESS_STATUSES = (HTTPStatus.NO_CONTENT, HTTPStatus.RESET_CONTENT, HTTPStatus.NOT_MODIFIED)
RESPONSE_FAULTS = (STATUS, BODY, DRIP)


def placeholder_response(fault: FaultRule) -> Response:
    """Return the response to a call that ``fault`` prevents from being carried out."""
    if fault.status:
        return error_response(fault.status, reason_phrase(fault.status))
    return json_response(HTTPStatus.OK, {})


def send_faulty_response(client: ClientConnection, response: Response, fault: FaultRule) -> None:
    """Send what ``fault`` leaves of ``response``."""
    client.closing = client.closing or fault.kind not in RESPONSE_FAULTS or fault.content_length is not None
    if fault.kind not in RESPONSE_FAULTS:
        _send_truncated(client, response, fault)
        return
    response = _altered(response, fault)
    if fault.kind == DRIP:
        _send_dripping(client, response, fault)
    elif fault.endless:
        send_response(client, replace(response, body=_endless_body(client, _join(response.body))))
    else:
        _send_altered(client, response, fault)


def _altered(response: Response, fault: FaultRule) -> Response:
    """Return the response with the status, headers, type and body that the fault brings."""
    status = fault.status or response.status
    body = response.body
    if fault.body is not None:
        body = (fault.body if isinstance(fault.body, str) else json.dumps(fault.body)).encode("utf-8", "surrogatepass")
    elif fault.kind == STATUS:
        body = b"" if status in BODILESS_STATUSES else placeholder_response(fault).body
    headers = [*fault.headers]
    if fault.retry_after is not None:
        headers.append(("Retry-After", fault.retry_after))
    if fault.gzip:
        headers.append(("Content-Encoding", "gzip"))
    content_type = fault.content_type or response.content_type
    return replace(response, status=status, body=body, content_type=content_type, headers=tuple(headers))


def _send_altered(client: ClientConnection, response: Response, fault: FaultRule) -> None:
    body = _resized_body(response, fault)
    if fault.content_length is None or not isinstance(body, bytes):
        send_response(client, replace(response, body=body))
    else:
        client.begin_response(response.status)
        client.write(render_head(client, response, length=fault.content_length) + body)


def _send_dripping(client: ClientConnection, response: Response, fault: FaultRule) -> None:
    body = _join(response.body)
    head = render_head(client, response, length=len(body))
    client.begin_response(response.status)
    if fault.part == BODY:
        client.write(head)
        head = b""
    for byte in head + (b"" if client.head_only else body):
        if not client.sleep(DRIP_SECONDS if fault.seconds is None else fault.seconds):
            client.closing = True
            return
        client.write(bytes((byte,)))


def _send_truncated(client: ClientConnection, response: Response, fault: FaultRule) -> None:
    body = _join(response.body)
    client.write((render_head(client, response, length=len(body)) + body)[: fault.after_bytes])
    if fault.kind == HANG:
        client.hang(fault.seconds)
    elif fault.kind == RESET:
        if fault.after_bytes:
            # A reset discards what the client has not read yet.
            client.sleep(RESET_DELAY_SECONDS)
        client.reset_on_close()


def _resized_body(response: Response, fault: FaultRule) -> bytes | Iterable[bytes]:
    pieces = _padded_body(response.body, fault.size)
    if fault.gzip:
        compressor = zlib.compressobj(wbits=31)
        compressed = b"".join(compressor.compress(piece) for piece in pieces)
        return compressed + compressor.flush()
    return pieces if fault.size > MAX_BUFFERED_BYTES else b"".join(pieces)


def _padded_body(body: bytes | Iterable[bytes], size: int) -> Iterator[bytes]:
    original = _join(body)
    if original:
        yield original
    remaining = size - len(original)
    while remaining > 0:
        yield b" " * min(PADDING_BYTES, remaining)
        remaining -= PADDING_BYTES


def _endless_body(client: ClientConnection, body: bytes) -> Iterator[bytes]:
    if body:
        yield body
    while client.sleep(0.001):
        yield b" " * 1024


def _join(body: bytes | Iterable[bytes]) -> bytes:
    return body if isinstance(body, bytes) else b"".join(body)
