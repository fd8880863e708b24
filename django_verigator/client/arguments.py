"""Checks of what callers pass in. They raise ValueError, and never repeat the value."""

from __future__ import annotations

import ipaddress
import math
import re
from base64 import b64encode
from collections.abc import Mapping
from urllib.parse import quote, unquote, urlsplit

from requests.utils import select_proxy

from .masked import SecretText

_ENDPOINT = re.compile(r"https?://[!-~]+\Z", re.IGNORECASE)
_HEADER_TEXT = re.compile(r"[ -~\xa0-\xff]+\Z")  # Latin-1 without control characters
_LOOPBACK = ipaddress.ip_network("127.0.0.0/8")


def require_text(**values: object) -> None:
    """Raise ValueError unless each value is a str that is not blank."""
    for name, value in values.items():
        if not isinstance(value, str) or not value.strip():
            raise ValueError(f"{name} must be a str that is not blank")


def path_part(name: str, value: str) -> str:
    """An id as one part of a path, percent-encoded. "." and ".." are refused: quoting does not change them."""
    require_text(**{name: value})
    if value in {".", ".."}:
        raise ValueError(f"{name} must not be a dot segment")
    try:
        return quote(value, safe="")
    except UnicodeEncodeError:
        pass
    raise ValueError(f"{name} must be valid text")


def service_auth(username: str, password: str) -> SecretText | None:
    """The value of X-Service-Auth (protocol: Messente docs, request-authentication), or None if it cannot be one.

    The provider splits at the first colon, so a username cannot hold one.
    """
    if not isinstance(username, str) or not isinstance(password, str) or ":" in username:
        return None
    if not _HEADER_TEXT.match(username) or not _HEADER_TEXT.match(password):
        return None
    return SecretText(f"{username}:{password}")


def is_loopback(host: str) -> bool:
    """Whether a host name or address means this machine."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host == "localhost"
    return address in _LOOPBACK if address.version == 4 else address == ipaddress.IPv6Address("::1")


def clean_endpoint(endpoint: str) -> str:
    """The endpoint without a trailing slash. Plain HTTP is for this machine only: each request has the credentials."""
    if not isinstance(endpoint, str) or not _ENDPOINT.match(endpoint):
        raise ValueError("endpoint must be an http(s) address in ASCII")
    parts = urlsplit(endpoint)
    if not parts.hostname or any(character in endpoint for character in "@?#\\"):
        raise ValueError("endpoint must have a host, and no user, query or fragment")
    try:
        parts.port  # noqa: B018 - looks at the port, and raises if it is none
        parts.hostname.encode("idna")
    except ValueError:
        raise ValueError("endpoint has an unusable host or port") from None
    if parts.scheme == "http" and not is_loopback(parts.hostname):
        raise ValueError("endpoint must use https; http is for loopback addresses only")
    return f"{parts.scheme}://{parts.netloc}{parts.path}".rstrip("/")


def choose_proxy(endpoint: str, proxies: Mapping[str, str] | None) -> tuple[dict[str, str], dict[str, str]]:
    """The one of ``proxies`` that is for the endpoint, as requests takes it, and what it wants in its headers.

    User and password are in these alone, masked. Only http:// proxies: others bring sockets without limits.
    """
    for address in (proxies or {}).values():
        if not isinstance(address, str) or not address.lower().startswith("http://"):
            raise ValueError("proxies must be http:// addresses")
    chosen = select_proxy(endpoint, dict(proxies or {}))
    if chosen is None:
        return {}, {}
    userinfo, at, host = chosen[len("http://") :].rpartition("@")
    del chosen, proxies  # a debug page shows the variables of each frame
    if not at:
        return {"https": f"http://{host}"}, {}
    user, _, password = (SecretText(unquote(part)) for part in userinfo.partition(":"))
    del userinfo
    plain = SecretText(f"{user}:{password}")
    if not _HEADER_TEXT.match(plain):
        raise ValueError("proxies must have user and password in Latin-1")
    return {"https": f"http://{host}"}, {
        "Proxy-Authorization": SecretText(f"Basic {b64encode(plain.encode('latin-1')).decode()}")
    }


def check_seconds(**values: float) -> None:
    """Raise ValueError unless each value is a positive, finite number."""
    for name, value in values.items():
        if not isinstance(value, int | float) or not math.isfinite(value) or value <= 0:
            raise ValueError(f"{name} must be a positive number of seconds")
