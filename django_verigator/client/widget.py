"""The signatures of Messente's Verification Widget, and the address that a browser is sent to.

The widget is a page of Messente's: the user types the phone number there and the PIN that arrives, and the browser
comes back with the outcome. This module needs no Django project, and calls nobody.

A signature is a keyed MD5 without a time and without a nonce: see ``sign``.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from urllib.parse import urlencode, urlsplit

from ..hidden import HiddenText
from .options import clean_endpoint
from .secrets import SecretText, require_text

ENDPOINT = "https://verify.messente.com/"
VERSION = "1"
VERIFIED, CANCELLED = "VERIFIED", "CANCELLED"

SIGNED_KEYS = frozenset({"user", "phone", "version", "callback_url", "status"})
"""The parameters that take part in a signature, where they are given; all others are left out."""


def sign(parameters: Mapping[str, str], password: str) -> str:
    """Return the value of ``sig``, 32 lower-case hex digits (protocol: Verification Widget, signature).

    It is all that the widget has, and it is weak: an MD5 over password and parameters joined without separators. It
    does not say when it was made, and an answer's signature covers neither the request nor ``callback_url``. So whoever
    has seen the answer for a number can give the same answer again, for any request.

    Args:
        parameters: of a request or an answer; what is not of SIGNED_KEYS is ignored.
        password: of the API.

    Raises:
        ValueError: the password, or a parameter that takes part, is no usable text.
    """
    password = _hidden(password)
    # A key of its own, so that no parameter can stand in its place.
    values = {key: value for key, value in parameters.items() if key in SIGNED_KEYS}
    for key, value in values.items():
        if not isinstance(value, str):
            raise ValueError(f"{key} must be a str")
    values["pass"] = password
    try:
        text = SecretText("".join(key + values[key] for key in sorted(values))).encode("utf-8")
    except UnicodeEncodeError:
        raise ValueError("a parameter or the password is no valid text") from None
    # The provider's choice, not ours. MD5 by concatenation is no MAC: trust it no further than ``sign`` says.
    return hashlib.md5(text, usedforsecurity=False).hexdigest()


def verify(parameters: Mapping[str, str], password: str) -> bool:
    """Return whether ``sig`` is the signature of the parameters; compared in constant time.

    A right signature alone proves nothing. Also check that ``status`` is VERIFIED, ``user`` your username and ``phone``
    the number that you expect, and that you have accepted neither this request nor this signature before.

    Args:
        parameters: of an answer, each a str; anything else is never right.
        password: of the API.

    Raises:
        ValueError: the password is no usable text.
    """
    password = _hidden(password)
    given = parameters.get("sig")
    try:
        expected = sign(parameters, password)
    except ValueError:  # a parameter that is no text
        return False
    return isinstance(given, str) and hmac.compare_digest(given.encode("utf-8", "replace"), expected.encode("ascii"))


def request_url(username: str, password: str, callback_url: str, *, phone: str = "", endpoint: str = ENDPOINT) -> str:
    """Return the address to send the browser to.

    Args:
        username, password: of the API; the password is not in the address.
        callback_url: where the browser comes back to, by POST. Put a one-time value into it: nothing else tells one
            answer from another.
        phone: the number that the page begins with, with country prefix; the user may type another one.
        endpoint: the page; http:// is accepted for loopback hosts alone.

    Raises:
        ValueError: an argument cannot be used.
    """
    password = _hidden(password)
    require_text(username=username, callback_url=callback_url)
    if urlsplit(callback_url).scheme not in ("http", "https"):
        raise ValueError("callback_url must be an absolute http or https address")
    page = clean_endpoint(endpoint)
    values = {"user": username, "version": VERSION, "callback_url": callback_url}
    if phone:
        values["phone"] = HiddenText(phone)
    query = HiddenText(urlencode({**values, "sig": sign(values, password)}))
    return HiddenText(f"{page}/?{query}")


def _hidden(password: str) -> SecretText:
    """Return the password with a masked ``repr()``, or raise ValueError."""
    try:
        require_text(password=password)
        password.encode("utf-8")
        return SecretText(password)
    except UnicodeEncodeError:
        raise ValueError("the password is no valid text") from None
    finally:
        del password  # A debug page shows the variables of each frame.
