"""Keyed digests: what must be found again or compared, but not read out of the database."""

from __future__ import annotations

from django.conf import settings
from django.contrib.auth.base_user import AbstractBaseUser
from django.utils.crypto import constant_time_compare, salted_hmac

_SALT = "django_verigator."


def digest(kind: str, value: str) -> str:
    """Return the HMAC of ``value`` under SECRET_KEY as 64 hex digits; ``kind`` keeps the uses apart."""
    return salted_hmac(_SALT + kind, value, algorithm="sha256").hexdigest()


def digests(kind: str, value: str) -> list[str]:
    """Return the digests of ``value`` under SECRET_KEY and SECRET_KEY_FALLBACKS, for what was stored long ago."""
    keys = [settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS]
    return [salted_hmac(_SALT + kind, value, secret=key, algorithm="sha256").hexdigest() for key in keys]


def auth_hash_of(user: AbstractBaseUser) -> str:
    """Return what sessions keep of the user's password, as Django has it; "" where the user model has none."""
    return str(user.get_session_auth_hash()) if hasattr(user, "get_session_auth_hash") else ""


def is_auth_hash_of(user: AbstractBaseUser, stored: str) -> bool:
    # Under SECRET_KEY_FALLBACKS as well: a rotated key is not a new password.
    fallbacks = user.get_session_auth_fallback_hash() if hasattr(user, "get_session_auth_fallback_hash") else ()
    return any(constant_time_compare(stored, known) for known in (auth_hash_of(user), *fallbacks))
