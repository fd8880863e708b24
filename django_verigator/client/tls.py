"""The TLS context: it verifies, and nothing in the environment has a say in it."""

from __future__ import annotations

import os
import ssl
from functools import lru_cache

from requests.utils import DEFAULT_CA_BUNDLE_PATH


def tls_context(ca_bundle: str | None) -> ssl.SSLContext:
    """A context that verifies against a file or directory of CA certificates (None: those that come with requests).

    Raises ValueError if there are none to be read.
    """
    path = ca_bundle or DEFAULT_CA_BUNDLE_PATH
    try:
        return _context(path, os.stat(path).st_mtime_ns)
    except OSError:  # ssl.SSLError is one
        pass
    raise ValueError("ca_bundle cannot be read as CA certificates")


@lru_cache(maxsize=8)  # reading the usual bundle takes 25 ms
def _context(path: str, _changed: int) -> ssl.SSLContext:
    # By hand: ssl.create_default_context() would write session keys to the file that SSLKEYLOGFILE names.
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if os.path.isdir(path):
        context.load_verify_locations(capath=path)
    else:
        context.load_verify_locations(path)
    context.set_alpn_protocols(["http/1.1"])
    return context
