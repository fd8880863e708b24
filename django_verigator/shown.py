"""What may be printed and logged of a name that somebody else chose."""

from __future__ import annotations

import re
from typing import Any

from django.contrib.auth.base_user import AbstractBaseUser

from . import phone
from .cleaning import plain_text

_LIKE_A_NUMBER = re.compile(r"(?:tel:)? *[\d +().\-/]{7,}\Z", re.IGNORECASE)


def one_line(value: object) -> str:
    """Return a text with nothing in it that a terminal acts upon: line ends and control characters are escaped."""
    text = str(value)
    return text if text.isprintable() else repr(text)[1:-1]


def name(value: object) -> str:
    """Return a name as a report may show it: a phone number masked (some sites have them as usernames), on one line."""
    if isinstance(value, str) and _LIKE_A_NUMBER.match(plain_text(value)):
        return phone.mask(plain_text(value))
    return one_line(value)


def key(user: AbstractBaseUser) -> Any:
    """Return a user's primary key for the log; on some sites it is the username."""
    return name(user.pk) if isinstance(user.pk, str) else user.pk


def user(user: AbstractBaseUser) -> str:
    """Return a user's name as ``name`` does, with the primary key where the name alone does not tell who it is."""
    username = str(user.get_username())
    shown = name(username)
    return shown if shown == username else f"{shown} (id {key(user)})"


def field(value: object) -> str:
    """Return a value as it stands behind a ``key=`` in the log: in quotes where it could pass for more than one."""
    text = str(value)
    return text if text.isprintable() and not set(text) & set(" =\"'") else repr(text)
