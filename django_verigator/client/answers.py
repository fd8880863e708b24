"""Reading what the provider answers, without trusting it: never more than a little, and only what the protocol says.

Functions here raise ``BadAnswer`` with words of ours; the transport adds method, path and status.
"""

from __future__ import annotations

import json
import re
from contextlib import suppress
from typing import Any, NoReturn

import requests

MAX_BODY = 64 * 1024  # bytes
PIECE = 16 * 1024  # bytes

# What an id may look like. Ids go into paths, so an answer must not choose another path.
_ID = re.compile(r"[A-Za-z0-9._~-]{1,128}\Z")
_AUTH_ID = re.compile(r"[!-~]{1,255}\Z")
_WORD = re.compile(r"[A-Za-z_]{1,40}\Z")
METHODS = frozenset({"sms", "totp"})
_FLAGS = ("throttled", "expired", "invalid")
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")  # Valid in JSON, but no database takes them.


class BadAnswer(Exception):  # noqa: N818 - never leaves the client
    """The answer is not what the protocol says; the transport turns it into an InvalidResponseError."""


def require_identity(response: requests.Response) -> None:
    """Refuse a compressed body: none is asked for, and 200 KB of gzip can become 200 MB."""
    if response.headers.get("Content-Encoding", "identity").strip().lower() not in {"", "identity"}:
        raise BadAnswer("a compressed body")


def read_body(response: requests.Response) -> bytes:
    """Read a body to its end, and refuse one that is longer than ``MAX_BODY``."""
    body = bytearray()
    while piece := read_piece(response, MAX_BODY + 1 - len(body)):
        body += piece
        if len(body) > MAX_BODY:
            raise BadAnswer("the body is too long")
    return bytes(body)


def read_piece(response: requests.Response, size: int = PIECE) -> bytes:
    """Return the next ``size`` bytes of a body: fewer at its end, then none."""
    piece: bytes = response.raw.read(size, decode_content=False)
    return piece


def drain(response: requests.Response) -> bytes:
    """Read a body to its end, so that the connection can be used again, and close the response.

    Returns b"" for one that is too long, or cannot be read.
    """
    try:
        # http.client takes a 1xx for the answer, and the real one would follow.
        if response.status_code >= 200:
            with suppress(Exception):
                return read_body(response)
        return b""
    finally:
        response.close()


def _refuse_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise BadAnswer("a key stands twice")
    return result


def _refuse_constant(_: str) -> NoReturn:
    raise BadAnswer("NaN and Infinity are no JSON")


decoder = json.JSONDecoder(object_pairs_hook=_refuse_duplicates, parse_constant=_refuse_constant)


def parse_object(body: bytes) -> dict[str, Any]:
    """Return the JSON object in ``body``: UTF-8 without a byte order mark, no key twice, no NaN."""
    try:
        data = decoder.decode(body.decode("utf-8"))
    except (ValueError, RecursionError):  # UnicodeDecodeError, JSONDecodeError, numbers of 5,000 digits.
        data = None
    if not isinstance(data, dict):
        raise BadAnswer("no JSON object")
    return data


def parse_text(body: bytes) -> str:
    """Return the one line of ASCII text in ``body``, without line ends (protocol: none is sent), or "" for anything
    else."""
    try:
        line = body.decode("ascii").rstrip("\r\n")
    except UnicodeDecodeError:
        line = ""
    if not line.isprintable():
        line = ""
    return line


def text_of(data: dict[str, Any], key: str) -> str:
    """Return the text under a key, which must be there."""
    value = data.get(key)
    if not isinstance(value, str) or _UNSTORABLE.search(value):
        raise BadAnswer(f"{key} is missing or no text")
    return value


def id_of(data: dict[str, Any], key: str = "id") -> str:
    """Return the id under a key, which may go into a path."""
    value = text_of(data, key)
    if not is_id(value):
        raise BadAnswer(f"{key} is not in the form of an id")
    return value


def is_id(value: str) -> bool:
    """Say whether a text is in the form of an id, which may go into a path."""
    return bool(_ID.match(value)) and value not in {".", ".."}


def objects_of(data: dict[str, Any], key: str, most: int) -> list[dict[str, Any]]:
    """Return the list of objects under a key, which must be there."""
    values = data.get(key)
    if not isinstance(values, list) or len(values) > most or not all(isinstance(each, dict) for each in values):
        raise BadAnswer(f"{key} is missing or no short list of objects")
    return values


def auth_id_of(data: dict[str, Any]) -> str | None:
    """Return the ``auth_id``, or None where the answer has none (today's API)."""
    value = data.get("auth_id")
    if value is None:
        return None
    if type(value) is int:
        value = str(value)
    if not isinstance(value, str) or not _AUTH_ID.match(value):
        raise BadAnswer("auth_id is not in the form of an id")
    return value


def method_of(data: dict[str, Any]) -> str:
    """Return the ``method``, "sms" or "totp"."""
    value = text_of(data, "method")
    if value not in METHODS:
        raise BadAnswer("an unknown method")
    return value


def require_same(data: dict[str, Any], **expected: str) -> None:
    """Refuse an answer about somebody else: each key, where the answer has it, must have the value expected."""
    for key, value in expected.items():
        if key in data and data[key] != value:
            raise BadAnswer(f"the answer is about another {key}")


def status_of(data: dict[str, Any]) -> dict[str, bool | str] | None:
    """Return the ``status`` of a verification: three flags, and under "result" a word ("" if there is none).

    None if the answer has no status. protocol: the tests of Messente's Python library; no documentation has it.
    """
    status = data.get("status")
    if status is None:
        return None
    if not isinstance(status, dict):
        raise BadAnswer("status is no object")
    flags: dict[str, bool | str] = {}
    for flag in _FLAGS:
        value = status.get(flag)
        if value is not None and not isinstance(value, bool):
            raise BadAnswer(f"{flag} is neither true nor false")
        flags[flag] = value is True
    word = status.get("result")
    if not isinstance(word, str) or not _WORD.match(word):
        word = next((flag.upper() for flag in _FLAGS if flags[flag]), "")
    return {**flags, "result": word}


def is_clear(status: dict[str, bool | str]) -> bool:
    """Say whether no flag is up and the word names no failure, so that ``verified: true`` may be believed."""
    return not any(status[flag] for flag in _FLAGS) and str(status["result"]).lower() not in _FLAGS
