"""Reading the provider's JSON, without trusting it.

Functions here raise ``BadAnswer`` with words of ours; the transport adds method, path and status.
"""

from __future__ import annotations

import json
import re
from typing import Any, NoReturn

# What an id may look like. Ids go into paths, so an answer cannot be allowed to choose another one.
_ID = re.compile(r"[A-Za-z0-9._~-]{1,128}\Z")
_AUTH_ID = re.compile(r"[!-~]{1,255}\Z")
_WORD = re.compile(r"[A-Za-z_]{1,40}\Z")
METHODS = frozenset({"sms", "totp"})
_FLAGS = ("throttled", "expired", "invalid")
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")  # valid in JSON; no database takes them


class BadAnswer(Exception):  # noqa: N818 - never leaves the client
    """The answer is not what the protocol says."""


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise BadAnswer("a key stands twice")
    return result


def _no_constant(_: str) -> NoReturn:
    raise BadAnswer("NaN and Infinity are no JSON")


decoder = json.JSONDecoder(object_pairs_hook=_unique, parse_constant=_no_constant)


def parse_object(body: bytes) -> dict[str, Any]:
    """The JSON object in ``body``: UTF-8 without a byte order mark, no key twice, no NaN."""
    try:
        data = decoder.decode(body.decode("utf-8"))
    except (ValueError, RecursionError):  # UnicodeDecodeError, JSONDecodeError, numbers of 5,000 digits
        data = None
    if not isinstance(data, dict):
        raise BadAnswer("no JSON object")
    return data


def parse_text(body: bytes) -> str:
    """The one line of ASCII text in ``body``; line ends behind it do not count (protocol: none is sent)."""
    try:
        line = body.decode("ascii").rstrip("\r\n")
    except UnicodeDecodeError:
        line = ""
    if not line.isprintable():
        line = ""
    return line


def text(data: dict[str, Any], key: str) -> str:
    value = data.get(key)
    if not isinstance(value, str) or _UNSTORABLE.search(value):
        raise BadAnswer(f"{key} is missing or no text")
    return value


def identifier(data: dict[str, Any]) -> str:
    value = text(data, "id")
    if not _ID.match(value) or value in {".", ".."}:
        raise BadAnswer("id is not in the form of an id")
    return value


def auth_id(data: dict[str, Any]) -> str | None:
    value = data.get("auth_id")
    if value is None:
        return None
    if type(value) is int:
        value = str(value)
    if not isinstance(value, str) or not _AUTH_ID.match(value):
        raise BadAnswer("auth_id is not in the form of an id")
    return value


def method(data: dict[str, Any]) -> str:
    value = text(data, "method")
    if value not in METHODS:
        raise BadAnswer("an unknown method")
    return value


def same(data: dict[str, Any], **expected: str) -> None:
    """Raise unless each key, where the answer has it, has the value expected: an answer about someone else."""
    for key, value in expected.items():
        if key in data and data[key] != value:
            raise BadAnswer(f"the answer is about another {key}")


def failure(data: dict[str, Any]) -> dict[str, bool | str] | None:
    """The ``status`` of a verification: three flags and a word ("" if none was given); None where the answer has none.

    No documentation has this object, only the tests of Messente's Python library.
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
    """No flag is up and the word names no failure: then ``verified: true`` may be believed."""
    return not any(status[flag] for flag in _FLAGS) and str(status["result"]).lower() not in _FLAGS
