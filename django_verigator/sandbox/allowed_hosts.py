"""Keep web pages of other origins, which run in the developer's browser, away from the sandbox."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Collection
from http import HTTPStatus

from .http_messages import HTTPError, Request

HOST = re.compile(r"(\[[0-9a-f:.]+\]|[^\s:/@\[\]]+)(?::([0-9]{1,5}))?")


def is_loopback(host: str) -> bool:
    """Return whether this name or address certainly stays on this machine; only ``localhost`` counts of the names."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


class AllowedHosts:
    """Reject foreign Host headers (DNS rebinding) and foreign Origin headers (cross-site requests).

    Args:
        hosts: names besides the loopback ones that a Host header may carry, as ``name`` or ``name:port``.
    """

    def __init__(self, hosts: Collection[str]) -> None:
        self._hosts = {host.lower() for host in hosts}

    def check(self, request: Request, *, any_origin: bool = False) -> None:
        """Let a request pass.

        Args:
            any_origin: pages of other origins may send it, since it carries a signature.

        Raises:
            HTTPError: 400, there is not exactly one Host header; 403, the Host or the Origin is foreign.
        """
        hosts = [str(host).strip().lower() for host in request.headers.get_all("Host", [])]
        if len(hosts) != 1:
            raise HTTPError(HTTPStatus.BAD_REQUEST, "One Host header is needed")
        if not self._is_allowed(hosts[0], request):
            raise HTTPError(HTTPStatus.FORBIDDEN, "The sandbox does not answer to this Host; see --allow-host")
        for origin in request.headers.get_all("Origin", []):
            if not any_origin and str(origin).strip().lower() != f"{request.scheme}://{hosts[0]}":
                raise HTTPError(HTTPStatus.FORBIDDEN, "The sandbox does not answer to pages of another origin")

    def _is_allowed(self, host: str, request: Request) -> bool:
        match = HOST.fullmatch(host)
        if match is None:
            return False
        name = match[1].strip("[]")
        if is_loopback(name):
            return True  # with any port, since a forwarded port differs from the server's
        if host in self._hosts:
            return True
        address, port = request.server
        default_port = "443" if request.scheme == "https" else "80"
        return (match[2] or default_port) == str(port) and (name in self._hosts or name == address)
