"""One event per outcome: a log line on ``django_verigator`` and a signal. Users appear by primary key only."""

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
    """Log an outcome and tell the site's receivers; a receiver that raises is logged and stops nothing.

    ``details`` go to both: the signal gets them as they are, the log their plain values, and of our rows the primary
    key. Callers pass neither PIN nor phone.
    """
    plain = {
        key: str(value.pk) if isinstance(value, Model) else value
        for key, value in details.items()
        if isinstance(value, (str, int, Model, type(None)))
    }
    user_pk = shown.key(user)
    text = " ".join(f"{key}={shown.field(value)}" for key, value in {"user": user_pk, **plain}.items())
    logger.log(level, "%s %s", event, text, extra={"event": event, "user_pk": user_pk, **_extra(plain)})
    if signal is not None:
        # Of request.user, which is lazy, type() would be the wrapper.
        for receiver, result in signal.send_robust(sender=user.__class__, user=user, **details):
            if isinstance(result, Exception):
                # Its traceback is in the log already, by Django.
                logger.error("receiver_failed event=%s receiver=%r error=%s", event, receiver, describe(result))


def describe(error: BaseException) -> str:
    """Return type and place of an exception that is not ours; its message might carry a number or a password.

    Of a database's error its code as well, or what SQLite says, which names tables and columns and no values.
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
    """Return PostgreSQL's five letters for a Django error, as psycopg or psycopg2 keeps them."""
    cause = error.__cause__
    return getattr(cause, "sqlstate", None) or getattr(cause, "pgcode", None)


def site_failed(event: str, user: AbstractBaseUser, error: BaseException) -> None:
    """Log what a function of the site has raised, with the traceback but without the message: see ``describe``."""
    logger.error("%s user=%s error=%s", event, shown.key(user), describe(error), exc_info=traceback_alone(error))


def traceback_alone(error: BaseException) -> tuple[type[BaseException], BaseException, TracebackType | None]:
    """Return an exception as ``exc_info`` that tells where it was raised, and not what it says."""
    shown = RuntimeError(f"{type(error).__name__}, its message left out")
    return RuntimeError, shown, error.__traceback__


def _extra(plain: dict[str, Any]) -> dict[str, Any]:
    return {f"verigator_{key}": value for key, value in plain.items()}
