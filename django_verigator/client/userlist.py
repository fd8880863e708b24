"""Reading a list of users as it comes in, however long it is."""

from __future__ import annotations

import codecs
from collections.abc import Callable, Iterator
from typing import Any

from .answers import BadAnswer, decoder

MAX_ITEM = 64 * 1024
"""Characters of one user, one other value or one run of blanks."""
_MAX_KEYS = 64
_BLANKS = " \t\n\r"


class _Text:
    """The text that was received and not yet used, which is never much longer than one item."""

    def __init__(self, receive: Callable[[], bytes]) -> None:
        self._receive = receive
        self._decode = codecs.getincrementaldecoder("utf-8")().decode
        self._text = ""
        self._position = 0
        self._ended = False

    def _receive_more(self) -> bool:
        if self._ended:
            return False
        piece = self._receive()
        self._ended = not piece
        try:
            self._text = self._text[self._position :] + self._decode(piece, self._ended)
        except UnicodeDecodeError:
            raise BadAnswer("no UTF-8") from None
        self._position = 0
        return True

    def peek(self) -> str:
        """Return the next character that is not blank, or "" at the end."""
        skipped = 0
        while True:
            while self._position < len(self._text):
                character = self._text[self._position]
                if character not in _BLANKS:
                    return character
                self._position += 1
                skipped += 1
                if skipped > MAX_ITEM:
                    raise BadAnswer("too many blanks")
            if not self._receive_more():
                return ""

    def take(self, expected: str) -> str:
        """Use up the next character that is not blank and return it; it must be one of ``expected``."""
        character = self.peek()
        if not character or character not in expected:
            raise BadAnswer("no list of users, or not all of it")
        self._position += 1
        return character

    def take_value(self) -> Any:
        """Use up one JSON value and return it."""
        self.peek()
        while True:
            try:
                value, end = decoder.raw_decode(self._text, self._position)
            except RecursionError:
                raise BadAnswer("nested too deeply") from None
            except ValueError:
                pass  # Perhaps not all of it is here.
            else:
                if end - self._position > MAX_ITEM:
                    raise BadAnswer("an item that is too long")
                # A number that ends where the text ends may go on in the next piece.
                if end < len(self._text) or self._ended:
                    self._position = end
                    return value
            if len(self._text) - self._position > MAX_ITEM or not self._receive_more():
                raise BadAnswer("no JSON, or an item that is too long")


def iter_users(receive: Callable[[], bytes]) -> Iterator[dict[str, Any]]:
    """Yield each object of the array ``users`` in a JSON object.

    ``receive`` returns the next bytes of the body, b"" at its end. BadAnswer comes also after some users were yielded,
    since a body that ends before the JSON does is no success.
    """
    source = _Text(receive)
    keys: set[str] = set()
    source.take("{")
    separator = source.take("}") if source.peek() == "}" else ","
    while separator == ",":
        if source.peek() != '"':
            raise BadAnswer("no JSON object")
        key = source.take_value()
        if key in keys or len(keys) == _MAX_KEYS:
            raise BadAnswer("a key stands twice, or too many keys")
        keys.add(key)
        source.take(":")
        if key == "users":
            yield from _iter_array(source)
        else:
            source.take_value()
        separator = source.take(",}")
    if "users" not in keys or source.peek():
        raise BadAnswer("no list of users, or more than that")


def _iter_array(source: _Text) -> Iterator[dict[str, Any]]:
    source.take("[")
    separator = source.take("]") if source.peek() == "]" else ","
    while separator == ",":
        user = source.take_value()
        if not isinstance(user, dict):
            raise BadAnswer("a user that is no object")
        yield user
        separator = source.take(",]")
