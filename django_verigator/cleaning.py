"""What people type, in one form: keyboards and copied text have digits, dashes and invisible marks of their own."""

from __future__ import annotations

import unicodedata

_MINUS = "\u2212"
_LINE_ENDS = "\t\n\r\v\f"


def plain_text(text: str) -> str:
    """Return what was meant, without what nobody sees.

    Decimal digits of any script become ASCII, so do full-width letters and signs; every kind of dash becomes "-", every
    kind of blank and line end " "; format characters (direction marks, joiners, soft hyphens) go. The rest stays.
    """
    return "".join(map(_plain, text)).strip(" ")


def _plain(character: str) -> str:
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
