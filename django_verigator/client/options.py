"""The options of a connection to a provider, with their defaults and bounds: nothing else lists them.

Clients and backends take them as ``**connection`` and pass them on. ``takes_connection_options`` shows them in the
signature, which the system checks compare the settings with, and the tests of the documentation its tables.
"""

from __future__ import annotations

import inspect
import ipaddress
import math
import re
from base64 import b64encode
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, TypedDict, TypeVar
from urllib.parse import unquote, urlsplit

from requests.utils import select_proxy

from .secrets import HEADER_TEXT, SecretText, hide_values

if TYPE_CHECKING:
    from typing_extensions import Unpack as Unpack
else:
    Unpack = dict  # typing has Unpack since Python 3.11; nothing at run time needs more of it than its name.

_Function = TypeVar("_Function", bound=Callable[..., Any])
_ENDPOINT = re.compile(r"https?://[!-~]+\Z", re.IGNORECASE)
_LOOPBACK = ipaddress.ip_network("127.0.0.0/8")


def _seconds(default: float, advised: float = math.inf) -> Any:
    """Declare a positive number of seconds; the system checks warn of more than ``advised``."""
    return field(default=default, metadata={"advised": advised})


@dataclass(frozen=True)
class ConnectionOptions:
    """How a client reaches its provider. The environment (proxies, CA bundles, .netrc) is not read.

    Raises:
        ValueError: an option cannot be used. The message never repeats a value.
    """

    connect_timeout: float = _seconds(3.0)
    """Seconds to connect to whichever address of the host answers first; as many for the answer of a proxy, and for
    the TLS handshake."""
    read_timeout: float = _seconds(5.0)
    """Seconds of silence after that."""
    # gunicorn ends a worker that was silent for 30 seconds, and a login is more than its calls.
    total_timeout: float = _seconds(8.0, advised=20)
    """Seconds for the whole call. Only the name resolver's time is not counted, since nobody can cut it short."""
    proxies: Mapping[str, str] | None = field(default=None, repr=False)
    """Proxies as requests takes them, for instance ``{"https": "http://proxy:3128"}``; http:// addresses only. None is
    used for an http:// endpoint."""
    ca_bundle: str | None = None
    """A file or directory of CA certificates instead of those that come with requests (certifi)."""

    def __post_init__(self) -> None:
        require_seconds(**{option.name: getattr(self, option.name) for option in fields(self) if option.metadata})


class ConnectionArguments(TypedDict, total=False):
    """The types of the same options, for ``**connection``."""

    connect_timeout: float
    read_timeout: float
    total_timeout: float
    proxies: Mapping[str, str] | None
    ca_bundle: str | None


def mask_proxies(connection: ConnectionArguments) -> None:
    """Mask the proxies in ``**connection``, whose addresses may hold passwords: a debug page shows variables."""
    if "proxies" in connection:
        connection["proxies"] = hide_values(connection["proxies"])


def takes_connection_options(function: _Function) -> _Function:
    """Show the fields of ``ConnectionOptions`` in a function's signature, in the place of ``**connection``."""
    signature = inspect.signature(function)
    *others, _ = signature.parameters.values()
    shown = [
        inspect.Parameter(option.name, inspect.Parameter.KEYWORD_ONLY, default=option.default, annotation=option.type)
        for option in fields(ConnectionOptions)
    ]
    function.__signature__ = signature.replace(parameters=[*others, *shown])  # type: ignore[attr-defined]
    return function


def require_seconds(**values: float) -> None:
    """Raise ValueError unless each value is a positive, finite number."""
    for name, value in values.items():
        if not isinstance(value, int | float) or not math.isfinite(value) or value <= 0:
            raise ValueError(f"{name} must be a positive number of seconds")


def longest_advised(option: str) -> float:
    """Return the seconds above which the system checks warn of a time-out."""
    advised: float = ConnectionOptions.__dataclass_fields__[option].metadata["advised"]
    return advised


def is_loopback(host: str) -> bool:
    """Say whether a host name or address means this machine."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host == "localhost"
    return address in _LOOPBACK if address.version == 4 else address == ipaddress.IPv6Address("::1")


def clean_endpoint(endpoint: str) -> str:
    """Return the endpoint without a slash at its end, or raise ValueError.

    Plain HTTP is for this machine only, since each request carries the credentials.
    """
    if not isinstance(endpoint, str) or not _ENDPOINT.match(endpoint):
        raise ValueError("endpoint must be an http(s) address in ASCII")
    parts = urlsplit(endpoint)
    if not parts.hostname or any(character in endpoint for character in "@?#\\"):
        raise ValueError("endpoint must have a host, and no user, query or fragment")
    try:
        parts.port  # noqa: B018 - reading a port that is no number raises
        parts.hostname.encode("idna")
    except ValueError:
        raise ValueError("endpoint has an unusable host or port") from None
    if parts.scheme == "http" and not is_loopback(parts.hostname):
        raise ValueError("endpoint must use https; http is for loopback addresses only")
    return f"{parts.scheme}://{parts.netloc}{parts.path}".rstrip("/")


@dataclass(frozen=True)
class Proxy:
    """A proxy for CONNECT, with the header that it wants."""

    host: str
    port: int
    authorization: SecretText | None = None


def choose_proxy(endpoint: str, proxies: Mapping[str, str] | None) -> Proxy | None:
    """Return the one of ``proxies`` that serves an https:// endpoint, or None; raise ValueError for a wrong one.

    Plain HTTP goes to this machine, and never to a proxy: the credentials would be readable there.
    """
    for address in (proxies or {}).values():
        if not isinstance(address, str) or not address.lower().startswith("http://"):
            raise ValueError("proxies must be http:// addresses")
    chosen = select_proxy(endpoint, dict(proxies or {}))
    if chosen is None or not endpoint.startswith("https:"):
        return None
    # Masked, since a debug page shows the variables of each frame.
    userinfo, at, location = (SecretText(part) for part in chosen[len("http://") :].rpartition("@"))
    del chosen, proxies, address
    try:
        parts = urlsplit(f"http://{location}")
        host, port = parts.hostname, parts.port or 80
    except ValueError:
        host = None
    if not host:
        raise ValueError("proxies must have a host, and a port that is a number")
    if not at:
        return Proxy(host, port)
    user, _, password = (SecretText(unquote(part)) for part in userinfo.partition(":"))
    plain = SecretText(f"{user}:{password}")
    if not HEADER_TEXT.match(plain):
        raise ValueError("proxies must have user and password in Latin-1")
    return Proxy(host, port, SecretText(f"Basic {b64encode(plain.encode('latin-1')).decode()}"))
