"""The URLs that a login may redirect to."""

from __future__ import annotations

from collections.abc import Iterable
from urllib.parse import unquote

from django.http import HttpRequest
from django.utils.http import url_has_allowed_host_and_scheme


def is_safe_url(request: HttpRequest, url: str, allowed_hosts: Iterable[str] = ()) -> bool:
    """Whether a URL leads to this site, or to a host that the site allows."""
    hosts = {request.get_host(), *allowed_hosts}
    if any(character < " " for character in unquote(url)):  # PostgreSQL stores no NUL
        return False
    return url_has_allowed_host_and_scheme(url, hosts, require_https=request.is_secure())
