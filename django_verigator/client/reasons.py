"""Why a connection failed, in a word for each reason that somebody would do something else about."""

from __future__ import annotations

import errno
import re
import socket
import ssl

_SENTENCES = {
    "no_such_name": "the name is not known",
    "refused": "nobody listens there",
    "no_route": "there is no way there",
    "connect_timeout": "nobody answers there",
    "unreachable": "it cannot be reached",
    "unknown_ca": "the certificate is from an unknown CA",
    "wrong_host": "the certificate is for another host name",
    "expired": "the certificate has expired",
    "not_yet_valid": "the certificate is not valid yet; is the clock right?",
    "bad_certificate": "the certificate is not acceptable",
    "no_tls": "what answers there does not speak TLS",
    "tls_failed": "no TLS that both ends accept",
    "tls_broken": "it broke off in the TLS handshake",
    "tls_timeout": "the TLS handshake took too long",
    "proxy_auth": "it is a proxy and wants other credentials",
    "proxy_denied": "it is a proxy and does not let us through",
    "proxy_broken": "it is no proxy, or broke off",
    "no_answer": "it ended before an answer came",
    "cut_answer": "it ended in the middle of the answer",
}
_NO_ROUTE = {errno.ENETUNREACH, errno.EHOSTUNREACH, errno.ENETDOWN, errno.EADDRNOTAVAIL}
# OpenSSL's X509_V_ERR_...: 2 and 18 to 21 are about an issuer that is missing or signs itself.
_CERTIFICATES = {
    **dict.fromkeys((2, 18, 19, 20, 21), "unknown_ca"),
    **dict.fromkeys((62, 64), "wrong_host"),
    9: "not_yet_valid",
    10: "expired",
}
_NO_TLS = {"WRONG_VERSION_NUMBER", "HTTP_REQUEST", "RECORD_LAYER_FAILURE", "PACKET_LENGTH_TOO_LONG"}
_PROXY_STATUS = re.compile(r"Tunnel connection failed: ([0-9]{3})\b")  # what http.client says


def sentence(why: str) -> str:
    return _SENTENCES.get(why) or f"it is a proxy: {_SENTENCES[why.removeprefix('proxy_')]}"


def of_connecting(error: Exception) -> str:
    if isinstance(error, (socket.gaierror, UnicodeError)):
        return "no_such_name"
    if isinstance(error, TimeoutError):
        return "connect_timeout"
    if isinstance(error, ConnectionRefusedError):
        return "refused"
    return "no_route" if getattr(error, "errno", None) in _NO_ROUTE else "unreachable"


def of_proxy(error: Exception) -> str:
    status = _PROXY_STATUS.match(str(error))
    if status is not None:
        return "proxy_auth" if status[1] == "407" else "proxy_denied"
    why = of_connecting(error)
    return "proxy_broken" if why == "unreachable" else f"proxy_{why}"


def of_tls(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return "tls_timeout"
    if isinstance(error, ssl.SSLCertVerificationError):
        return _CERTIFICATES.get(error.verify_code, "bad_certificate")
    if isinstance(error, ssl.SSLError) and not isinstance(error, ssl.SSLEOFError):
        return "no_tls" if getattr(error, "reason", "") in _NO_TLS else "tls_failed"
    return "tls_broken"
