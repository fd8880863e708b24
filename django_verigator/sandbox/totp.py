"""Time-based one-time passwords (RFC 6238): HMAC-SHA-1, six digits, 30 seconds, as the Verigator app shows them."""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
from urllib.parse import quote, urlencode

PERIOD = 30
DIGITS = 6
DRIFT = 1
SECRET_BYTES = 20


def new_secret() -> str:
    """A secret in Base32, as authenticator apps take it."""
    return base64.b32encode(secrets.token_bytes(SECRET_BYTES)).decode("ascii")


def step_at(moment: float) -> int:
    return int(moment // PERIOD)


def seconds_left(moment: float) -> float:
    """Seconds until the next code, more than 0 and at most 30."""
    return PERIOD - moment % PERIOD


def code_for(secret: str, step: int, *, digits: int = DIGITS) -> str:
    key = base64.b32decode(secret)
    digest = hmac.new(key, step.to_bytes(8, "big"), hashlib.sha1).digest()
    at = digest[-1] & 0x0F
    number = int.from_bytes(digest[at : at + 4], "big") & 0x7FFFFFFF
    return str(number % 10**digits).zfill(digits)


def matching_step(secret: str, token: str, moment: float, *, after: int) -> int | None:
    """The step whose code ``token`` is, one step of drift either way; steps up to ``after`` are used up."""
    now = step_at(moment)
    given = token.encode("utf-8", "replace")
    for step in range(now - DRIFT, now + DRIFT + 1):
        if hmac.compare_digest(code_for(secret, step).encode("ascii"), given) and step > after:
            return step
    return None


def otpauth_address(secret: str, *, issuer: str, account: str) -> str:
    label = quote(f"{issuer}:{account}", safe=":@")
    parameters = {"secret": secret, "issuer": issuer, "algorithm": "SHA1", "digits": DIGITS, "period": PERIOD}
    return f"otpauth://totp/{label}?{urlencode(parameters, quote_via=quote)}"
