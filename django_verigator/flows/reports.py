"""Delivery reports: what became of a message, as the provider posts it to us or tells us when asked.

They are shown to support and to the user who waits, and decide nothing: no login, no limit, no other message.
"""

from __future__ import annotations

import logging
from contextlib import suppress
from datetime import timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

from django.core import signing
from django.core.exceptions import ImproperlyConfigured
from django.db.models import Q
from django.urls import reverse
from django.utils import timezone

from .. import events, shown
from ..backends import BaseBackend, CallOrigin, DeliveryReport, DeliveryStatus, backends, protected_call
from ..db import RetriesExhaustedError
from ..exceptions import VerigatorError
from ..models import Challenge

ASK_SECONDS = 10
"""Seconds after which a provider is asked about a message, and asked again."""
ASK_TIMEOUT = 2.0
"""Seconds that a page waits for a report."""
ADDRESS_SECONDS = 7 * 24 * 3600
"""Seconds after which nobody may post to the address of a report any more; it stands in logs on the way."""
MAX_BODY = 16 * 1024
"""Bytes of a report that is posted to us."""

_RANKS = list(DeliveryStatus)
_LONGEST_ERROR, _LONGEST_CHANNEL = 32, 12
_PRICE_LIMIT = Decimal(99_999)


def url_for(challenge: Challenge, backend: BaseBackend) -> str:
    """Return the address to which a provider posts the reports about this code, or "" if it gets none.

    It is signed with SECRET_KEY, so that nobody but the provider knows it.
    """
    if not (backend.reports_delivery and backend.report_base):
        return ""
    token = _signer().sign_object([challenge.pk.hex, backend.alias])
    return backend.report_base + reverse("verigator:report", args=[token])


def _signer() -> signing.TimestampSigner:
    return signing.TimestampSigner(salt="django_verigator.report")


def receive(token: str, body: bytes) -> bool:
    """Take in a report that was posted to ``url_for``.

    Args:
        token: the signed part of that address.
        body: at most MAX_BODY bytes.

    Returns:
        Whether it is about a code that we know.

    Raises:
        ValueError: the body is no report that can be kept.
    """
    try:
        pk, alias = _signer().unsign_object(token, max_age=ADDRESS_SECONDS)
        backend = backends[alias]
    except (signing.BadSignature, KeyError, ImproperlyConfigured):
        return False
    if not backend.reports_delivery:  # The alias belongs to another provider now.
        return False
    message_id, report = _read(backend, body)
    challenge = Challenge.objects.filter(pk=UUID(pk), backend=alias).select_related("user").first()
    # Without an id the answer to the start is still under way, or was lost.
    if challenge is None or challenge.message_id not in ("", message_id):
        return False
    _write(challenge, report)
    return True


def _read(backend: BaseBackend, body: bytes) -> tuple[str, DeliveryReport]:
    try:
        message_id, report = backend.read_report(body)
        return message_id, _storable(report)
    except ValueError:
        raise
    except Exception as error:  # noqa: BLE001 - anybody's bytes, read by a backend's own code
        problem = type(error).__name__
    raise ValueError(f"read_report raised {problem}")


def refresh(challenge: Challenge) -> None:
    """Ask the provider what became of the message, unless that is known, or was asked a moment ago."""
    if not is_awaited(challenge):
        return
    now = timezone.now()
    before = now - timedelta(seconds=ASK_SECONDS)
    is_due = Q(report_asked_at=None) | Q(report_asked_at__lte=before)
    if challenge.sent_at is None or challenge.sent_at > before or not challenge.message_id:
        return
    # Written by the next one who asks, if the database gives up; the page does not depend on it.
    with suppress(RetriesExhaustedError):
        if challenge.transition({"report_asked_at": now}, is_due):
            _ask(challenge)


def _ask(challenge: Challenge) -> None:
    backend = backends[challenge.backend]
    origin = CallOrigin.of(challenge.user_id, challenge.phone_digest, challenge.ip)
    try:
        with protected_call(backend, origin, ASK_TIMEOUT, purpose="reports"):
            report = _storable(backend.report(challenge.message_id, timeout=ASK_TIMEOUT))
    except VerigatorError as error:
        events.record("report_failed", challenge.user, **error.details, backend=challenge.backend)
        return
    except Exception as error:  # noqa: BLE001 - a fault in a backend's own code must not cost the PIN page
        events.site_failed("report_failed", challenge.user, error)
        return
    _write(challenge, report)


def is_awaited(challenge: Challenge) -> bool:
    """Whether more may come to be known about the message of a code that is still valid."""
    if challenge.delivery not in ("", DeliveryStatus.SENT.value) or not challenge.is_running(timezone.now()):
        return False
    try:
        return backends[challenge.backend].reports_delivery
    except (KeyError, ImproperlyConfigured):
        return False


def _storable(report: DeliveryReport) -> DeliveryReport:
    """Return what the columns take of a report; a price that is none is left out.

    Raises:
        ValueError: the status is none.
    """
    price = report.price
    if not (isinstance(price, Decimal) and price.is_finite() and 0 <= price < _PRICE_LIMIT):
        price = None
    error = shown.one_line(report.error)[:_LONGEST_ERROR]
    return DeliveryReport(DeliveryStatus(report.status), storable_channel(report.channel), error, price)


def storable_channel(channel: str) -> str:
    """Return what the column takes of a channel's name."""
    return shown.one_line(channel)[:_LONGEST_CHANNEL]


def _write(challenge: Challenge, report: DeliveryReport) -> None:
    """Write a report unless one that says more is there already."""
    earlier = ["", *(status.value for status in _RANKS[: _RANKS.index(report.status)])]
    is_news = Q(delivery__in=earlier)
    if report.price is not None:
        is_news |= Q(delivery=report.status.value, price=None)
    adds_price = challenge.delivery == report.status.value and challenge.price is None and report.price is not None
    if challenge.delivery not in earlier and not adds_price:  # Posted again: no write, and no line in the log.
        return
    values: dict[str, Any] = {
        "delivery": report.status.value,
        "delivery_error": report.error,
        **({"delivery_channel": report.channel} if report.channel else {}),
        **({"price": report.price} if report.price is not None else {}),
    }
    if not challenge.transition(values, is_news):
        return
    details: dict[str, Any] = {"status": report.status.value, "channel": report.channel, "error": report.error}
    if report.status.is_failure:
        events.record("message_undelivered", challenge.user, level=logging.WARNING, challenge=challenge, **details)
    else:
        events.record("message_reported", challenge.user, challenge=challenge, **details)
