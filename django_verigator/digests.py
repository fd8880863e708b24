"""Keyed digests of values that are looked up or compared, but must not be readable in the database."""

from __future__ import annotations

from django.conf import settings
from django.contrib.auth.base_user import AbstractBaseUser
from django.utils.crypto import constant_time_compare, salted_hmac

_SALT = "django_verigator."


def digest(kind: str, value: str) -> str:
    """Return the HMAC-SHA256 of ``value`` under SECRET_KEY, in 64 hex digits.

    Args:
        kind: what the value is; equal values of two kinds have different digests.
    """
    return salted_hmac(_SALT + kind, value, algorithm="sha256").hexdigest()


def digests(kind: str, value: str) -> list[str]:
    """Return the digests of ``value`` under SECRET_KEY and SECRET_KEY_FALLBACKS, to find rows of before a rotation."""
    keys = [settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS]
    return [salted_hmac(_SALT + kind, value, secret=key, algorithm="sha256").hexdigest() for key in keys]


def auth_hash_of(user: AbstractBaseUser) -> str:
    """Return the user's session auth hash, which changes with the password; "" where the user model has none."""
    return str(user.get_session_auth_hash()) if hasattr(user, "get_session_auth_hash") else ""


def is_auth_hash_of(user: AbstractBaseUser, stored: str) -> bool:
    """Whether ``stored`` is the user's session auth hash, also under SECRET_KEY_FALLBACKS."""
    fallbacks = user.get_session_auth_fallback_hash() if hasattr(user, "get_session_auth_fallback_hash") else ()
    return any(constant_time_compare(stored, known) for known in (auth_hash_of(user), *fallbacks))
