"""Text that does not show itself: debug pages and mails print the ``repr()`` of each frame's variables."""

from __future__ import annotations

import json
from typing import NoReturn
from urllib.parse import urlencode

_MASK = "'********'"


class SecretText(str):
    """A str (a header that holds the credentials) with a masked ``repr()``."""

    __slots__ = ()

    def __repr__(self) -> str:
        return _MASK

    def __reduce__(self) -> NoReturn:
        raise TypeError("credentials are not pickled")


class SecretBody(bytes):
    """The bytes of a request (a PIN, a phone number) with a masked ``repr()``."""

    content_type = "application/json"

    def __repr__(self) -> str:
        return _MASK


class SecretForm(SecretBody):
    """The same as a form."""

    content_type = "application/x-www-form-urlencoded"


def json_body(**values: str) -> SecretBody:
    return SecretBody(json.dumps(values).encode("ascii"))


def form_text(**values: str) -> SecretText:
    """The values percent-encoded, as a query and a form have them."""
    return SecretText(urlencode(values))
