"""What the client sends, with a masked ``repr()``, since error trackers print the variables of frames."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Mapping
from typing import NoReturn
from urllib.parse import urlencode

from ..hidden import MASK, HiddenText

HEADER_TEXT = re.compile(r"[ -~\xa0-\xff]+\Z")  # Latin-1 without control characters
_REQUEST_LINE = re.compile(r"[A-Z]+ [!-~]+ HTTP/1\.1\Z")


class SecretText(HiddenText):
    """A header with credentials, or another secret text. Its bytes are masked too, and it cannot be pickled."""

    __slots__ = ()

    def encode(self, encoding: str = "utf-8", errors: str = "strict") -> SecretBody:
        return SecretBody(super().encode(encoding, errors))

    def __reduce__(self) -> NoReturn:
        raise TypeError("credentials are not pickled")


class SecretBody(bytes):
    """The JSON body of a request, which may hold a PIN or a phone number, with a masked ``repr()``."""

    content_type = "application/json"

    def __repr__(self) -> str:
        return MASK


class SecretForm(SecretBody):
    """The same as a form."""

    content_type = "application/x-www-form-urlencoded"


def hide_values(values: Mapping[str, str] | None) -> dict[str, str]:
    """Return a copy with masked values, for a dict that holds a password under a key that does not say so."""
    if not isinstance(values or {}, Mapping):
        raise ValueError("not a dict of texts")
    return {key: SecretText(value) if isinstance(value, str) else value for key, value in (values or {}).items()}


def json_body(**values: object) -> SecretBody:
    """Return the values as a JSON object."""
    return SecretBody(json.dumps(values).encode("ascii"))


def form_text(**values: str) -> SecretText:
    """Return the values percent-encoded, as a query and a form have them."""
    return SecretText(urlencode(values))


def request_message(method: str, target: str, headers: Mapping[str, str], body: bytes) -> SecretBody:
    """Return a request as it goes over the wire (protocol: RFC 9112, section 3), head and body in one.

    Raises:
        ValueError: a character that could end a line, or the head, early.
    """
    first = SecretText(f"{method} {target} HTTP/1.1")
    others = [SecretText(f"{name}: {value}") for name, value in headers.items()]
    if not (_REQUEST_LINE.match(first) and all(map(HEADER_TEXT.match, others))):
        raise ValueError("a control character in the head of a request")
    return SecretBody(SecretText("\r\n".join([first, *others, "", ""])).encode("latin-1") + body)


def service_auth(username: str, password: str) -> SecretText | None:
    """Return the value of X-Service-Auth (protocol: Messente docs, request-authentication), or None if the credentials
    cannot be sent in it. The provider splits at the first colon, so a username must not have one.
    """
    if not isinstance(username, str) or not isinstance(password, str) or ":" in username:
        return None
    if not HEADER_TEXT.match(username) or not HEADER_TEXT.match(password):
        return None
    return SecretText(f"{username}:{password}")


def basic_auth(username: str, password: str) -> SecretText | None:
    """Return the value of Authorization (protocol: RFC 7617, UTF-8), or None if the credentials cannot be sent in it. A
    username must not have a colon, at which the provider splits.
    """
    if not isinstance(username, str) or not isinstance(password, str) or ":" in username:
        return None
    if not (username and password and username.isprintable() and password.isprintable()):
        return None
    try:
        pair = SecretText(f"{username}:{password}").encode("utf-8")
    except UnicodeEncodeError:
        return None
    return SecretText(f"Basic {base64.b64encode(pair).decode('ascii')}")


def require_text(**values: object) -> None:
    """Raise ValueError, without repeating the value, unless each value is a str that is not blank."""
    for name, value in values.items():
        if not isinstance(value, str) or not value.strip():
            raise ValueError(f"{name} must be a str that is not blank")
