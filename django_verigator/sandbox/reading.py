"""Taking a request's body off the connection, however it is framed, and no more of it than is good."""

from __future__ import annotations

import re
from email.message import Message
from http import HTTPStatus
from typing import BinaryIO

from django_verigator.sandbox.exchange import Refusal

MAX_BODY = 1 << 20
MAX_DRAINED = 16 << 20
MAX_LINE = 8192
BLANKS = " \t"  # in a header; str.strip alone takes control characters off too
MAX_TRAILERS = 100
DIGITS = re.compile(r"[0-9]{1,18}")
CHUNK_SIZE = re.compile(rb"([0-9a-fA-F]{1,12})[ \t]*(?:;[^\r\n]*)?\r?\n")


def read_body(stream: BinaryIO, headers: Message) -> bytes:
    """The body, or a Refusal (400, 413, 501), after which the connection cannot be used again."""
    encodings = headers.get_all("Transfer-Encoding", [])
    lengths = headers.get_all("Content-Length", [])
    if encodings and lengths:
        raise Refusal(HTTPStatus.BAD_REQUEST, "Content-Length and Transfer-Encoding exclude each other")
    if encodings:
        if [str(each).strip().lower() for each in encodings] != ["chunked"]:
            raise Refusal(HTTPStatus.NOT_IMPLEMENTED, "Transfer-Encoding must be chunked")
        return _read_chunks(stream)
    if not lengths:
        return b""
    number = DIGITS.fullmatch(str(lengths[0]).strip(BLANKS))
    if number is None or len(set(lengths)) > 1:
        raise Refusal(HTTPStatus.BAD_REQUEST, "Content-Length is not a number")
    length = int(number[0])
    if length > MAX_BODY:
        _drain(stream, length)
        raise _too_large()
    return _read_exactly(stream, length)


def _read_chunks(stream: BinaryIO) -> bytes:
    body = bytearray()
    while True:
        match = CHUNK_SIZE.fullmatch(stream.readline(MAX_LINE))
        if match is None:
            raise Refusal(HTTPStatus.BAD_REQUEST, "The chunked body is malformed")
        size = int(match[1], 16)
        if size == 0:
            break
        if len(body) + size > MAX_BODY:
            _drain(stream, size)
            raise _too_large()
        body += _read_exactly(stream, size)
        if stream.readline(3).rstrip(b"\r\n"):
            raise Refusal(HTTPStatus.BAD_REQUEST, "The chunked body is malformed")
    for _ in range(MAX_TRAILERS):
        if stream.readline(MAX_LINE) in (b"\r\n", b"\n", b""):
            return bytes(body)
    raise Refusal(HTTPStatus.BAD_REQUEST, "The chunked body has too many trailers")


def _read_exactly(stream: BinaryIO, length: int) -> bytes:
    body = stream.read(length)
    if len(body) < length:
        raise Refusal(HTTPStatus.BAD_REQUEST, "The body ended early")
    return body


def _drain(stream: BinaryIO, length: int) -> None:
    """Read and forget, within reason: a caller who is still writing would not see the answer."""
    left = min(length, MAX_DRAINED)
    while left > 0:
        piece = stream.read(min(left, 1 << 16))
        if not piece:
            return
        left -= len(piece)


def _too_large() -> Refusal:
    return Refusal(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"The body is over {MAX_BODY} bytes")
