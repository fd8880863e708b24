"""What the commands share."""

from __future__ import annotations

from typing import Any

from django.contrib.auth import get_user_model
from django.core.management.base import CommandError, OutputWrapper

from django_verigator import shown


def find_user(username: str) -> Any:
    """Return the user of this name.

    Raises:
        CommandError: there is none.
    """
    model = get_user_model()
    try:
        return model._default_manager.get_by_natural_key(username)
    except model.DoesNotExist:
        raise CommandError(f'There is no user "{shown.name(username)}".') from None


def agree(stderr: OutputWrapper, question: str) -> bool:
    """Ask whoever sits at the terminal; on stderr, so that stdout is the report's."""
    stderr.write(f"{question} Type 'yes': ", ending="")
    stderr.flush()
    return input().strip() == "yes"
