"""Find the account whose credentials a caller sent.

Every account is compared, each in constant time, so that the delay of an answer reveals nothing.
"""

from __future__ import annotations

import base64
import binascii
import hmac
from collections.abc import Mapping


def account_of_header(accounts: Mapping[str, str], header: str) -> str | None:
    """Return the username for the value of an X-Service-Auth header, or None.

    The form is ``username:password``, in plain text (Messente's documentation, "request authentication"). Headers
    arrive decoded as Latin-1, but a client may have encoded them as UTF-8.
    """
    sent = header.strip(" \t").encode("latin-1", "replace")
    found = None
    for username, password in accounts.items():
        for expected in _encodings(f"{username}:{password}"):
            if hmac.compare_digest(sent, expected):
                found = username
    return found


def account_of_basic_auth(accounts: Mapping[str, str], header: str) -> str | None:
    """Return the username for the value of an Authorization header of HTTP Basic (RFC 7617), or None."""
    scheme, _, encoded = header.strip(" \t").partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        pair = base64.b64decode(encoded.strip(), validate=True).decode("utf-8")
    except (binascii.Error, ValueError):
        return None
    username, _, password = pair.partition(":")
    return account_of_parameters(accounts, username, password)


def account_of_parameters(accounts: Mapping[str, str], username: str, password: str) -> str | None:
    """Return ``username`` if it belongs to an account with this password, or None."""
    sent = _joined(username, password)
    found = None
    for pair in accounts.items():
        if hmac.compare_digest(sent, _joined(*pair)):
            found = pair[0]
    return found


def _encodings(text: str) -> list[bytes]:
    try:
        return [text.encode("utf-8"), text.encode("latin-1")]
    except UnicodeEncodeError:
        return [text.encode("utf-8")]


def _joined(username: str, password: str) -> bytes:
    return f"{username}\0{password}".encode("utf-8", "surrogatepass")
