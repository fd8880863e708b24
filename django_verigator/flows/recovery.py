"""TODO"""

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

CHARACTERS = 16
"""Of 32 that are told apart by eye and ear (Crockford's base 32): 80 bits."""

SUPPORT_MINUTES = 15

_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"

_LOOK_ALIKE = str.maketrans({"O": "0", "I": "1", "L": "1", " ": None, "-": None})


def normalise(text: str) -> str:
    """Return a typed code in its one form, or "" if it is none: any case, blanks and dashes, O for 0, I or L for 1."""
    code = HiddenText(plain_text(text).upper().translate(_LOOK_ALIKE))
    return code if len(code) == CHARACTERS and not set(code) - set(_ALPHABET) else ""


def _value(user_pk: object, code: str) -> str:
    return HiddenText(f"{user_pk}.{code}")


def _new(user: AbstractBaseUser, expires_at: datetime | None = None) -> tuple[RecoveryCode, str]:
    code = "".join(secrets.choice(_ALPHABET) for _ in range(CHARACTERS))
    row = RecoveryCode(user_id=user.pk, digest=digest("recovery", _value(user.pk, code)), expires_at=expires_at)
    # Masked: of a variable that a template lacks, Django logs the whole context.
    return row, SecretText("-".join(code[place : place + 4] for place in range(0, CHARACTERS, 4)))


def renew(user: AbstractBaseUser) -> list[str]:
    """Replace the user's codes by a new set and return it; it cannot be read again."""

    @db.atomic()
    def replace() -> list[str]:
        made = [_new(user) for _ in range(NUMBER)]
        VerigatorUser.objects.filter(user_id=user.pk).lock()
        RecoveryCode.objects.filter(user_id=user.pk).delete()
        RecoveryCode.objects.bulk_create([row for row, _ in made])
        return [code for _, code in made]

    return retry_on_deadlock(replace)


def issue_one(user: AbstractBaseUser) -> str:
    """Return a single code for a user whom support has identified, valid for SUPPORT_MINUTES; the user's own stay."""
    row, code = _new(user, timezone.now() + timedelta(minutes=SUPPORT_MINUTES))
    row.save(force_insert=True)
    return code


def count_unused(user: AbstractBaseUser) -> int:
    """Return how many codes of the user's own set are unused."""
    return RecoveryCode.objects.filter(user_id=user.pk, used_at=None, expires_at=None).count()


def consume(user_pk: Any, code: str) -> bool:
    """Use up a code; part of the transaction that lets its user in.

    Args:
        code: as ``normalise`` returns it.

    Returns:
        True for one caller only, however many come at the same time.
    """
    now = timezone.now()
    known = digests("recovery", _value(user_pk, code))
    fresh = Q(expires_at=None) | Q(expires_at__gt=now)
    return bool(RecoveryCode.objects.filter(fresh, digest__in=known, user_id=user_pk, used_at=None).update(used_at=now))
