"""What the client sends, as text and bytes that do not show themselves."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import NoReturn
from urllib.parse import urlencode

from ..hidden import MASK, HiddenText


class SecretText(HiddenText):
    """A header that holds the credentials, and the like: it hides as bytes too, and is not pickled."""

    __slots__ = ()

    def encode(self, encoding: str = "utf-8", errors: str = "strict") -> SecretBody:
        return SecretBody(super().encode(encoding, errors))

    def __reduce__(self) -> NoReturn:
        raise TypeError("credentials are not pickled")


class SecretBody(bytes):
    """The bytes of a request (a PIN, a phone number) with a masked ``repr()``."""

    content_type = "application/json"

    def __repr__(self) -> str:
        return MASK


class SecretForm(SecretBody):
    """The same as a form."""

    content_type = "application/x-www-form-urlencoded"


def hide_values(values: Mapping[str, str] | None) -> dict[str, str]:
    """The same with masked values, for what may hold a password under a key that does not say so."""
    if not isinstance(values or {}, Mapping):
        raise ValueError("not a dict of texts")
    return {key: SecretText(value) if isinstance(value, str) else value for key, value in (values or {}).items()}


def json_body(**values: str) -> SecretBody:
    return SecretBody(json.dumps(values).encode("ascii"))


def form_text(**values: str) -> SecretText:
    """The values percent-encoded, as a query and a form have them."""
    return SecretText(urlencode(values))
