"""One report from the statuses of a message on several channels."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal

from ..client import MessageStatus
from .base import DeliveryReport, DeliveryStatus

_STATUSES = {
    "DELIVRD": DeliveryStatus.DELIVERED,
    "SEEN": DeliveryStatus.SEEN,
    "EXPIRED": DeliveryStatus.EXPIRED,
    **dict.fromkeys(("UNDELIV", "FAILED", "REJECTD", "DELETED", "NACK"), DeliveryStatus.UNDELIVERED),
}
_RANKS = {
    DeliveryStatus.EXPIRED: 0,
    DeliveryStatus.UNDELIVERED: 0,
    DeliveryStatus.SENT: 1,
    DeliveryStatus.DELIVERED: 2,
    DeliveryStatus.SEEN: 3,
}


def merge_statuses(statuses: Sequence[MessageStatus], *, is_last: bool) -> DeliveryReport:
    """Return what became of the message: the best that became of it on any channel, and what it costs on all.

    Args:
        statuses: in the order in which the channels were tried.
        is_last: no other channel is still to be tried, so that a message which failed on these is undelivered.
    """
    found = [(_STATUSES.get(each.status, DeliveryStatus.SENT), each) for each in statuses]
    status, best = max(reversed(found), key=lambda pair: _RANKS[pair[0]], default=(DeliveryStatus.SENT, None))
    prices = [each.price for each in statuses if each.price is not None]
    price = sum(prices, Decimal()) if prices else None
    if best is None or (status.is_failure and not is_last):
        return DeliveryReport(DeliveryStatus.SENT, price=price)
    error = ""
    if status.is_failure:
        error = best.status if best.err is None else f"{best.status} {best.err}"
    return DeliveryReport(status, best.channel, error, price)
