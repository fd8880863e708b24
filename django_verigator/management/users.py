"""Users and questions of the commands."""

from __future__ import annotations

from typing import Any

from django.contrib.auth import get_user_model
from django.core.management.base import CommandError, OutputWrapper

from django_verigator import shown


def find_user(username: str) -> Any:
    """Return the user of this name.

    Raises:
        CommandError: no user has it.
    """
    model = get_user_model()
    try:
        return model._default_manager.get_by_natural_key(username)
    except model.DoesNotExist:
        raise CommandError(f'There is no user "{shown.name(username)}".') from None


def agree(stderr: OutputWrapper, question: str) -> bool:
    """Ask at the terminal, and return whether the answer is "yes". On stderr: stdout carries the report."""
    stderr.write(f"{question} Type 'yes': ", ending="")
    stderr.flush()
    return input().strip() == "yes"
