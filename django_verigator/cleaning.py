"""Typed and pasted text in one form, whatever digits, dashes and invisible characters it has."""

from __future__ import annotations

import unicodedata

_MINUS = "\u2212"
_LINE_ENDS = "\t\n\r\v\f"


def plain_text(text: str) -> str:
    """Return the text in ASCII where it has an equivalent there, without invisible characters.

    Decimal digits of any script and full-width letters and signs become ASCII; every dash becomes "-", every blank and
    line end " "; format characters (direction marks, joiners, soft hyphens) are dropped. The rest stays.
    """
    return "".join(map(_plain_character, text)).strip(" ")


def _plain_character(character: str) -> str:
    if character.isascii():
        return " " if character in _LINE_ENDS else character
    digit = unicodedata.decimal(character, None)
    if digit is not None:
        return str(digit)
    category = unicodedata.category(character)
    if category == "Cf":
        return ""
    if category == "Pd" or character == _MINUS:
        return "-"
    if category in ("Zs", "Zl", "Zp") or character == "\x85":
        return " "
    if unicodedata.east_asian_width(character) in "FH":
        return unicodedata.normalize("NFKC", character)
    return character
