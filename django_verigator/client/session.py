"""One pooled session for each thread of each process."""

from __future__ import annotations

import os
import ssl
import threading
from http.cookiejar import DefaultCookiePolicy

import requests

from .sockets import LimitedAdapter


class LimitedSession(requests.Session):
    """A session that takes nothing from the environment, keeps no cookie and knows no redirect."""

    def __init__(self, tls: ssl.SSLContext | None, proxy_headers: dict[str, str]) -> None:
        super().__init__()
        self.trust_env = False
        self.cookies.set_policy(DefaultCookiePolicy(allowed_domains=()))
        self.mount("https://", LimitedAdapter(tls, proxy_headers))
        self.mount("http://", LimitedAdapter(None, {}))

    def get_redirect_target(self, resp: requests.Response) -> None:
        # Also with allow_redirects=False, requests reads the whole body of a redirect into memory to prepare the next
        # request. X-Service-Auth would go along to any host.
        return None


class _Local(threading.local):
    pid = 0
    session: LimitedSession


class Sessions:
    """Hands each thread its own session; after a fork the parent's connections stay the parent's."""

    def __init__(self, tls: ssl.SSLContext | None, proxy_headers: dict[str, str]) -> None:
        self._tls = tls
        self._proxy_headers = proxy_headers
        self._local = _Local()

    def get(self) -> LimitedSession:
        pid = os.getpid()
        if self._local.pid != pid:
            self._local.session = LimitedSession(self._tls, self._proxy_headers)
            self._local.pid = pid
        return self._local.session

    def close(self) -> None:
        """Close this thread's connections; the next call opens new ones."""
        if self._local.pid == os.getpid():
            self._local.session.close()
