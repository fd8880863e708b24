"""Generate and check time-based one-time passwords (RFC 6238): six digits, 30 seconds, as in the Verigator app."""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
from urllib.parse import quote, urlencode

PERIOD = 30
DIGITS = 6
ALLOWED_DRIFT = 1
SECRET_BYTES = 20


def new_secret() -> str:
    """Return a random secret in Base32, the form that authenticator apps take."""
    return base64.b32encode(secrets.token_bytes(SECRET_BYTES)).decode("ascii")


def step_at(timestamp: float) -> int:
    """Return the number of the time step (30 seconds) that holds ``timestamp``."""
    return int(timestamp // PERIOD)


def seconds_left(timestamp: float) -> float:
    """Return the seconds until the next code, more than 0 and at most 30."""
    return PERIOD - timestamp % PERIOD


def code_for(secret: str, step: int, *, digits: int = DIGITS) -> str:
    """Return the code of a time step: HMAC-SHA-1, truncated as RFC 4226, section 5.3, defines."""
    key = base64.b32decode(secret)
    digest = hmac.new(key, step.to_bytes(8, "big"), hashlib.sha1).digest()
    offset = digest[-1] & 0x0F
    number = int.from_bytes(digest[offset : offset + 4], "big") & 0x7FFFFFFF
    return str(number % 10**digits).zfill(digits)


def matching_step(secret: str, token: str, timestamp: float, *, after: int) -> int | None:
    """Return the time step whose code is ``token``, or None.

    Args:
        timestamp: the current time; the steps just before and after it match too.
        after: the last step that was used; a code is valid only once (RFC 6238, section 5.2).
    """
    current = step_at(timestamp)
    sent = token.encode("utf-8", "replace")
    for step in range(current - ALLOWED_DRIFT, current + ALLOWED_DRIFT + 1):
        if hmac.compare_digest(code_for(secret, step).encode("ascii"), sent) and step > after:
            return step
    return None


def otpauth_url(secret: str, *, issuer: str, account: str) -> str:
    """Return the ``otpauth://`` address that authenticator apps read from a QR code."""
    label = quote(f"{issuer}:{account}", safe=":@")
    parameters = {"secret": secret, "issuer": issuer, "algorithm": "SHA1", "digits": DIGITS, "period": PERIOD}
    return f"otpauth://totp/{label}?{urlencode(parameters, quote_via=quote)}"
