"""Names and values of others, in a form that may be printed and logged."""

from __future__ import annotations

import re
from typing import Any

from django.contrib.auth.base_user import AbstractBaseUser

from . import phone
from .cleaning import plain_text

_LIKE_A_NUMBER = re.compile(r"(?:tel:)? *[\d +().\-/]{7,}\Z", re.IGNORECASE)


def one_line(value: object) -> str:
    """Return the text with line ends and control characters escaped, since a terminal acts on them."""
    text = str(value)
    return text if text.isprintable() else repr(text)[1:-1]


def name(value: object) -> str:
    """Return a name on one line, masked if it is a phone number, as usernames are on some sites."""
    if isinstance(value, str) and _LIKE_A_NUMBER.match(plain_text(value)):
        return phone.mask(plain_text(value))
    return one_line(value)


def key(user: AbstractBaseUser) -> Any:
    """Return a user's primary key for the log, masked if it is a username that is a phone number."""
    return name(user.pk) if isinstance(user.pk, str) else user.pk


def user(user: AbstractBaseUser) -> str:
    """Return a user's ``name``, with the primary key where the name is masked or escaped."""
    username = str(user.get_username())
    shown = name(username)
    return shown if shown == username else f"{shown} (id {key(user)})"


def field(value: object) -> str:
    """Return a value for ``key=value`` in the log, quoted if it could be read as more than one value."""
    text = str(value)
    return text if text.isprintable() and not set(text) & set(" =\"'") else repr(text)
