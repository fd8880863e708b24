"""Where a request came from, and what of an address is counted."""

from __future__ import annotations

import ipaddress

from django.http import HttpRequest

from . import conf


def client_address(request: HttpRequest) -> str | None:
    """Return the address the request came from; None where only that of a proxy is known.

    ``X-Forwarded-For`` counts only from TRUSTED_PROXIES.
    """
    remote = request.META.get("REMOTE_ADDR", "")
    address = _address(remote)
    trusted = [ipaddress.ip_network(network) for network in conf.current().TRUSTED_PROXIES]

    def is_proxy() -> bool:
        return address is not None and any(address in network for network in trusted)

    # A Unix socket has no address; at its other end is a proxy on this machine.
    if is_proxy() or (trusted and not remote):
        # From the right: each hop was written by the proxy on its right.
        for hop in reversed(request.META.get("HTTP_X_FORWARDED_FOR", "").split(",")):
            address = _address(hop.strip())
            if not is_proxy():
                break
    return str(address) if address is not None else None


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """Read "192.0.2.1", "2001:db8::1", and both with a port behind them, as some proxies write it."""
    host = text.partition("%")[0]  # without the zone of a link-local one
    if host.startswith("["):
        host = host[1:].partition("]")[0]
    elif host.count(":") == 1:
        host = host.partition(":")[0]
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return None
    # What a socket for both families makes of IPv4 is IPv4.
    return getattr(address, "ipv4_mapped", None) or address


def rate_limit_key(address: str | None) -> str:
    """Return what of an address is counted: IPv6 by /64; "" for one that says nothing about who is behind it.

    Without TRUSTED_PROXIES a private or loopback address is that of a proxy, and would be everybody's.
    """
    if not address:
        return ""
    ip = ipaddress.ip_address(address)
    if not ip.is_global and not conf.current().TRUSTED_PROXIES:
        return ""
    if isinstance(ip, ipaddress.IPv6Address):
        return str(ipaddress.ip_network((ip, 64), strict=False))
    return str(ip)
