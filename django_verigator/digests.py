"""Keyed digests of values that are looked up or compared, but must not be readable in the database."""

from __future__ import annotations

import functools
import hashlib
import hmac

from django.conf import settings
from django.contrib.auth.base_user import AbstractBaseUser
from django.utils.crypto import constant_time_compare
from django.utils.encoding import force_bytes


def digest(kind: str, value: str) -> str:
    """Return the HMAC-SHA256 of ``value`` under SECRET_KEY, in 64 hex digits.

    Args:
        kind: what the value is; equal values of two kinds have different digests.
    """
    return _hmac(kind, value, settings.SECRET_KEY)


def digests(kind: str, value: str) -> list[str]:
    """Return the digests of ``value`` under SECRET_KEY and SECRET_KEY_FALLBACKS, to find rows of before a rotation."""
    keys = [settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS]
    return [_hmac(kind, value, key) for key in keys]


def _hmac(kind: str, value: str, secret: str | bytes) -> str:
    return hmac.digest(_derived_key(kind, secret), value.encode(), "sha256").hex()


@functools.cache
def _derived_key(kind: str, secret: str | bytes) -> bytes:
    # As Django's salted_hmac() derives it, which does so again for each value.
    return hashlib.sha256(force_bytes(f"django_verigator.{kind}") + force_bytes(secret)).digest()


def auth_hash_of(user: AbstractBaseUser) -> str:
    """Return the user's session auth hash, which changes with the password; "" where the user model has none."""
    return str(user.get_session_auth_hash()) if hasattr(user, "get_session_auth_hash") else ""


def is_auth_hash_of(user: AbstractBaseUser, stored: str) -> bool:
    """Whether ``stored`` is the user's session auth hash, also under SECRET_KEY_FALLBACKS."""
    fallbacks = user.get_session_auth_fallback_hash() if hasattr(user, "get_session_auth_fallback_hash") else ()
    return any(constant_time_compare(stored, known) for known in (auth_hash_of(user), *fallbacks))
