"""Events: a log line on ``django_verigator``, some with a signal. Log lines name users by primary key only."""

from __future__ import annotations

import logging
import sqlite3
import traceback
from types import TracebackType
from typing import Any

from django.contrib.auth.base_user import AbstractBaseUser
from django.db import DatabaseError
from django.db.models import Model
from django.dispatch import Signal

from . import shown

logger = logging.getLogger("django_verigator")


def record(
    event: str, user: AbstractBaseUser, *, signal: Signal | None = None, level: int = logging.INFO, **details: Any
) -> None:
    """Log an event and send its signal; a receiver that raises is logged and stops nothing.

    Args:
        details: arguments of the signal. The log gets the plain values, and the primary keys of model instances; so
            neither a PIN nor a phone number.
    """
    if logger.isEnabledFor(level):  # Most sites keep no INFO, and a bulk run has a line for each user.
        _log(event, user, level, details)
    if signal is not None:
        # type() of the lazy request.user is its wrapper.
        for receiver, result in signal.send_robust(sender=user.__class__, user=user, **details):
            if isinstance(result, Exception):
                # Django has logged the traceback.
                logger.error("receiver_failed event=%s receiver=%r error=%s", event, receiver, describe(result))


def _log(event: str, user: AbstractBaseUser, level: int, details: dict[str, Any]) -> None:
    plain = {
        key: str(value.pk) if isinstance(value, Model) else value
        for key, value in details.items()
        if isinstance(value, (str, int, Model, type(None)))
    }
    user_pk = shown.key(user)
    text = " ".join(f"{key}={shown.field(value)}" for key, value in {"user": user_pk, **plain}.items())
    logger.log(level, "%s %s", event, text, extra={"event": event, "user_pk": user_pk, **_prefixed(plain)})


def describe(error: BaseException) -> str:
    """Return type and place of a foreign exception, but not its message, which may hold a number or a password.

    A database error shows its code as well; SQLite's its message, which names tables and columns but no values.
    """
    place = ""
    if error.__traceback__ is not None:
        frame = traceback.extract_tb(error.__traceback__)[-1]
        place = f" at {frame.filename}:{frame.lineno}"
    return f"{type(error).__name__}{_database_says(error)}{place}"


def _database_says(error: BaseException) -> str:
    if not isinstance(error, DatabaseError):
        return ""
    if isinstance(error.__cause__, sqlite3.Error):
        return f" ({error})"
    number = error.args[0] if error.args else None
    return f" {sqlstate(error) or (number if isinstance(number, int) else '')}".rstrip()


def sqlstate(error: BaseException) -> str | None:
    """Return the SQLSTATE (five characters) of a Django error, as psycopg or psycopg2 keeps it; None without one."""
    cause = error.__cause__
    return getattr(cause, "sqlstate", None) or getattr(cause, "pgcode", None)


def site_failed(event: str, user: AbstractBaseUser, error: BaseException) -> None:
    """Log an exception of the site's own code with its traceback, but without its message (see ``describe``)."""
    logger.error("%s user=%s error=%s", event, shown.key(user), describe(error), exc_info=traceback_alone(error))


def traceback_alone(error: BaseException) -> tuple[type[BaseException], BaseException, TracebackType | None]:
    """Return ``exc_info`` for an exception that shows where it was raised, but not its message."""
    without_message = RuntimeError(f"{type(error).__name__}, its message left out")
    return RuntimeError, without_message, error.__traceback__


def _prefixed(plain: dict[str, Any]) -> dict[str, Any]:
    return {f"verigator_{key}": value for key, value in plain.items()}
