"""Read a request's body from the connection (RFC 9112, section 6) within limits."""

from __future__ import annotations

import re
from email.message import Message
from http import HTTPStatus
from typing import BinaryIO

from .http_messages import HTTPError

MAX_BODY_BYTES = 1 << 20
MAX_DISCARDED_BYTES = 16 << 20
MAX_LINE_BYTES = 8192
MAX_TRAILERS = 100
HEADER_WHITESPACE = " \t"  # str.strip() without it removes control characters too
CONTENT_LENGTH = re.compile(r"[0-9]{1,18}")
CHUNK_HEAD = re.compile(rb"([0-9a-fA-F]{1,12})[ \t]*(?:;[^\r\n]*)?\r?\n")


def read_body(stream: BinaryIO, headers: Message) -> bytes:
    """Return the body; without Content-Length and Transfer-Encoding it is empty.

    Raises:
        HTTPError: 400, 413 or 501; the connection cannot be used for another request.
    """
    encodings = headers.get_all("Transfer-Encoding", [])
    lengths = headers.get_all("Content-Length", [])
    if encodings and lengths:
        raise HTTPError(HTTPStatus.BAD_REQUEST, "Content-Length and Transfer-Encoding exclude each other")
    if encodings:
        if [str(encoding).strip().lower() for encoding in encodings] != ["chunked"]:
            raise HTTPError(HTTPStatus.NOT_IMPLEMENTED, "Transfer-Encoding must be chunked")
        return _read_chunks(stream)
    if not lengths:
        return b""
    match = CONTENT_LENGTH.fullmatch(str(lengths[0]).strip(HEADER_WHITESPACE))
    if match is None or len(set(lengths)) > 1:
        raise HTTPError(HTTPStatus.BAD_REQUEST, "Content-Length is not a number")
    return _read_exactly(stream, int(match[0]), MAX_BODY_BYTES)


def _read_chunks(stream: BinaryIO) -> bytes:
    body = bytearray()
    while True:
        match = CHUNK_HEAD.fullmatch(stream.readline(MAX_LINE_BYTES))
        if match is None:
            raise HTTPError(HTTPStatus.BAD_REQUEST, "The chunked body is malformed")
        size = int(match[1], 16)
        if size == 0:
            break
        body += _read_exactly(stream, size, MAX_BODY_BYTES - len(body))
        if stream.readline(3).rstrip(b"\r\n"):
            raise HTTPError(HTTPStatus.BAD_REQUEST, "The chunked body is malformed")
    for _ in range(MAX_TRAILERS):
        if stream.readline(MAX_LINE_BYTES) in (b"\r\n", b"\n", b""):
            return bytes(body)
    raise HTTPError(HTTPStatus.BAD_REQUEST, "The chunked body has too many trailers")


def _read_exactly(stream: BinaryIO, length: int, limit: int) -> bytes:
    if length > limit:
        _discard(stream, length)
        raise HTTPError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"The body is over {MAX_BODY_BYTES} bytes")
    body = stream.read(length)
    if len(body) < length:
        raise HTTPError(HTTPStatus.BAD_REQUEST, "The body ended early")
    return body


def _discard(stream: BinaryIO, length: int) -> None:
    """Read up to 16 MiB of what the client is still writing, so that it gets to read the response."""
    remaining = min(length, MAX_DISCARDED_BYTES)
    while remaining > 0:
        piece = stream.read(min(remaining, 1 << 16))
        if not piece:
            return
        remaining -= len(piece)
