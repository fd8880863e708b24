"""Answers of gateways that speak in lines of text, and whose errors come with status 200 too."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from .answers import BadAnswer, parse_text
from .errors import status_error


def line_reader(success: str, errors: Mapping[str, int]) -> Callable[[bytes], str]:
    """Return a function for ``Transport.exchange`` that reads such an answer.

    It returns the first group of a line that is a success, and raises the error of one that names an error. Any other
    line is no answer.

    Args:
        success: a regular expression for the whole line, for instance ``OK ([!-~]{1,64})``.
        errors: whole lines, each with the HTTP status that says the same. After 401, 403, 404, 405, 429 and 503 the
            next provider is asked; after 400, 409 and 422 the number is why, and none is.
    """

    def read(body: bytes) -> str:
        line = parse_text(body)
        found = re.fullmatch(success, line)
        if found is not None:
            return found[1]
        if line in errors:
            raise status_error(errors[line], "", "", None)
        raise BadAnswer("an answer that is not of this call")

    return read
