"""Reading the body of an answer, never more than a little of it."""

from __future__ import annotations

import http.client
from contextlib import suppress

import requests
from urllib3.exceptions import HTTPError

from .answers import BadAnswer

MAX_BODY = 64 * 1024
PIECE = 16 * 1024

# What requests, urllib3 and http.client raise for a broken exchange. ValueError is http.client's, about a chunk that
# claims a negative length.
WIRE_ERRORS = (requests.RequestException, HTTPError, http.client.HTTPException, OSError, ValueError)


def require_identity(response: requests.Response) -> None:
    """Raise BadAnswer for a compressed body. We ask for none, and 200 KB of gzip can become 200 MB."""
    if response.headers.get("Content-Encoding", "identity").strip().lower() not in {"", "identity"}:
        raise BadAnswer("a compressed body")


def read_body(response: requests.Response) -> bytes:
    body = bytearray()
    while piece := read_piece(response, MAX_BODY + 1 - len(body)):
        body += piece
        if len(body) > MAX_BODY:
            raise BadAnswer("the body is too long")
    return bytes(body)


def read_piece(response: requests.Response, size: int = PIECE) -> bytes:
    """The next ``size`` bytes, fewer at the end."""
    piece: bytes = response.raw.read(size, decode_content=False)
    return piece


def discard(response: requests.Response) -> None:
    """Read a body nobody wants, so that the connection can be used again, or close the connection."""
    try:
        # After a 1xx, which http.client takes for the answer, the real one would follow.
        if response.status_code >= 200:
            with suppress(Exception):
                read_body(response)
    finally:
        response.close()
