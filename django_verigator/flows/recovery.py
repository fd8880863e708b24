"""Recovery codes, each of which proves the second factor once, without the phone."""

from __future__ import annotations

import secrets
from datetime import datetime, timedelta
from typing import Any

from django.contrib.auth.base_user import AbstractBaseUser
from django.db.models import Q
from django.utils import timezone

from .. import db
from ..cleaning import plain_text
from ..client import SecretText
from ..db import retry_on_deadlock
from ..digests import digest, digests
from ..hidden import HiddenText
from ..models import RecoveryCode, VerigatorUser

NUMBER = 10
"""How many codes a user's own set has."""

CHARACTERS = 16
"""Length of a code in Crockford's base 32 (https://www.crockford.com/base32.html), which makes 80 bits."""

SUPPORT_MINUTES = 15

_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"

_LOOK_ALIKE = str.maketrans({"O": "0", "I": "1", "L": "1", " ": None, "-": None})


def normalise(text: str) -> str:
    """Return a typed code as it is stored, or "" if it cannot be one.

    Case, blanks and dashes do not matter; O is read as 0, I and L as 1.
    """
    code = HiddenText(plain_text(text).upper().translate(_LOOK_ALIKE))
    return code if len(code) == CHARACTERS and not set(code) - set(_ALPHABET) else ""


def _digest_input(user_pk: object, code: str) -> str:
    return HiddenText(f"{user_pk}.{code}")


def _new_code(user: AbstractBaseUser, expires_at: datetime | None = None) -> tuple[RecoveryCode, str]:
    code = "".join(secrets.choice(_ALPHABET) for _ in range(CHARACTERS))
    row = RecoveryCode(user_id=user.pk, digest=digest("recovery", _digest_input(user.pk, code)), expires_at=expires_at)
    # Masked, since Django logs the whole context of a template that lacks a variable.
    return row, SecretText("-".join(code[place : place + 4] for place in range(0, CHARACTERS, 4)))


def renew(user: AbstractBaseUser) -> list[str]:
    """Replace all codes of the user by a new set, and return it; only digests are stored."""

    @db.atomic()
    def replace_codes() -> list[str]:
        new_codes = [_new_code(user) for _ in range(NUMBER)]
        VerigatorUser.objects.filter(user_id=user.pk).lock()
        RecoveryCode.objects.filter(user_id=user.pk).delete()
        RecoveryCode.objects.bulk_create([row for row, _ in new_codes])
        return [code for _, code in new_codes]

    return retry_on_deadlock(replace_codes)


def issue_one(user: AbstractBaseUser) -> str:
    """Return one more code, valid for SUPPORT_MINUTES, for a user whom support has identified."""
    row, code = _new_code(user, timezone.now() + timedelta(minutes=SUPPORT_MINUTES))
    row.save(force_insert=True)
    return code


def count_unused(user: AbstractBaseUser) -> int:
    """Return the number of unused codes in the user's own set."""
    return RecoveryCode.objects.filter(user_id=user.pk, used_at=None, expires_at=None).count()


def consume(user_pk: Any, code: str) -> bool:
    """Use up a code, within the transaction that accepts it.

    Args:
        code: as ``normalise`` returns it.

    Returns:
        Whether the code was unused; of parallel calls one returns True.
    """
    now = timezone.now()
    known = digests("recovery", _digest_input(user_pk, code))
    valid = Q(expires_at=None) | Q(expires_at__gt=now)
    return bool(RecoveryCode.objects.filter(valid, digest__in=known, user_id=user_pk, used_at=None).update(used_at=now))
