"""Read phone numbers."""

from __future__ import annotations

import re

PUNCTUATION = str.maketrans("", "", " -().")
NUMBER = re.compile(r"\+?([0-9]{7,15})")


def parse_phone_number(text: str) -> str:
    """Return the number as ``+`` and digits; spaces and the usual punctuation do not count.

    Raises:
        ValueError: the text is not a phone number.
    """
    match = NUMBER.fullmatch(text.translate(PUNCTUATION))
    if match is None:
        raise ValueError("this is no phone number: 7 to 15 digits, with the country prefix")
    return f"+{match[1]}"
