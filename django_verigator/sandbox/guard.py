"""Who may knock: a page in the developer's browser that comes from elsewhere must not reach the sandbox."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Collection
from http import HTTPStatus

from django_verigator.sandbox.exchange import Refusal, Request

HOST = re.compile(r"(\[[0-9a-f:.]+\]|[^\s:/@\[\]]+)(?::([0-9]{1,5}))?")


def is_loopback(host: str) -> bool:
    """Whether this name or address stays on this machine for certain. Names other than localhost are not looked up."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


class Guard:
    """Refuses foreign Host headers (DNS rebinding) and foreign Origins (a form or script of another site)."""

    def __init__(self, allowed_hosts: Collection[str]) -> None:
        self._allowed = {host.lower() for host in allowed_hosts}

    def check(self, request: Request) -> None:
        """Raises Refusal (400, 403)."""
        hosts = [str(host).strip().lower() for host in request.headers.get_all("Host", [])]
        if len(hosts) != 1:
            raise Refusal(HTTPStatus.BAD_REQUEST, "One Host header is needed")
        if not self._knows(hosts[0], request):
            raise Refusal(HTTPStatus.FORBIDDEN, "The sandbox does not answer to this Host; see --allow-host")
        for origin in request.headers.get_all("Origin", []):
            if str(origin).strip().lower() != f"{request.scheme}://{hosts[0]}":
                raise Refusal(HTTPStatus.FORBIDDEN, "The sandbox does not answer to pages of another origin")

    def _knows(self, host: str, request: Request) -> bool:
        match = HOST.fullmatch(host)
        if match is None:
            return False
        name = match[1].strip("[]")
        if is_loopback(name):
            return True  # with any port, since it may come through a forwarded one
        if host in self._allowed:
            return True
        address, port = request.server
        standard = "443" if request.scheme == "https" else "80"
        return (match[2] or standard) == str(port) and (name in self._allowed or name == address)
