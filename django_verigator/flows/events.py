"""One event per outcome: a log line on ``django_verigator`` and a signal. Users appear by primary key only."""

from __future__ import annotations

import logging
import traceback
from typing import Any

from django.db.models import Model
from django.dispatch import Signal

logger = logging.getLogger("django_verigator")


def record(event: str, user: Any, *, signal: Signal | None = None, level: int = logging.INFO, **details: Any) -> None:
    """Log an outcome and tell the site's receivers; a receiver that raises is logged and stops nothing.

    ``details`` go to both: the signal gets them as they are, the log their plain values, and of our rows the primary
    key. Callers pass neither PIN nor phone.
    """
    plain = {
        key: str(value.pk) if isinstance(value, Model) else value
        for key, value in details.items()
        if isinstance(value, (str, int, Model, type(None)))
    }
    text = " ".join(f"{key}={value}" for key, value in {"user": user.pk, **plain}.items())
    logger.log(level, "%s %s", event, text, extra={"event": event, "user_pk": user.pk, **_extra(plain)})
    if signal is not None:
        # Of request.user, which is lazy, type() would be the wrapper.
        for receiver, result in signal.send_robust(sender=user.__class__, user=user, **details):
            if isinstance(result, Exception):
                logger.error("receiver_failed event=%s receiver=%r error=%s", event, receiver, describe(result))


def describe(error: BaseException) -> str:
    """Return type and place of an exception that is not ours; its message might carry a number or a password."""
    place = ""
    if error.__traceback__ is not None:
        frame = traceback.extract_tb(error.__traceback__)[-1]
        place = f" at {frame.filename}:{frame.lineno}"
    return f"{type(error).__name__}{place}"


def site_failed(event: str, user: Any, error: BaseException) -> None:
    """Log what a function of the site has raised, with the traceback but without the message: see ``describe``."""
    shown = RuntimeError(f"{type(error).__name__}, its message left out")
    traceback_alone = (RuntimeError, shown, error.__traceback__)
    logger.error("%s user=%s error=%s", event, user.pk, describe(error), exc_info=traceback_alone)


def _extra(plain: dict[str, Any]) -> dict[str, Any]:
    return {f"verigator_{key}": value for key, value in plain.items()}
