"""The IP address a request came from, and the part of it that rate limits count."""

from __future__ import annotations

import ipaddress

from django.http import HttpRequest

from . import conf


def client_address(request: HttpRequest) -> str | None:
    """Return the client's IP address; None where only the address of a proxy is known.

    ``X-Forwarded-For`` is believed only from TRUSTED_PROXIES.
    """
    remote = request.META.get("REMOTE_ADDR", "")
    address = _parse_address(remote)
    trusted = [ipaddress.ip_network(network) for network in conf.current().TRUSTED_PROXIES]

    def is_proxy() -> bool:
        return address is not None and any(address in network for network in trusted)

    # A Unix socket has no address; its peer is a proxy on this machine.
    if is_proxy() or (trusted and not remote):
        # From right to left: each proxy appends the address that it was called from.
        for hop in reversed(request.META.get("HTTP_X_FORWARDED_FOR", "").split(",")):
            address = _parse_address(hop.strip())
            if not is_proxy():
                break
    return str(address) if address is not None else None


def _parse_address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """Parse "192.0.2.1" or "2001:db8::1", each also with a port, as some proxies write it."""
    host = text.partition("%")[0]  # a link-local address carries its zone
    if host.startswith("["):
        host = host[1:].partition("]")[0]
    elif host.count(":") == 1:
        host = host.partition(":")[0]
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return None
    # A dual-stack socket shows IPv4 as ::ffff:192.0.2.1.
    return getattr(address, "ipv4_mapped", None) or address


def rate_limit_key(address: str | None) -> str:
    """Return the part of an address that rate limits count: all of IPv4, the /64 of IPv6; "" to count nothing.

    Without TRUSTED_PROXIES a private or loopback address is a proxy's, which all users share.
    """
    if not address:
        return ""
    ip = ipaddress.ip_address(address)
    if not ip.is_global and not conf.current().TRUSTED_PROXIES:
        return ""
    if isinstance(ip, ipaddress.IPv6Address):
        return str(ipaddress.ip_network((ip, 64), strict=False))
    return str(ip)
