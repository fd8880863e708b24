"""A number that the site has changed: a proposal, until its user confirms it or keeps the phone in force.

Nothing is stored for one: it is what the site has now, compared with the link, where somebody asks.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ..models import VerigatorUser
from . import registration
from .deadlocks import once_more
from .digests import digest, digests

_KIND = "site_phone"


def of(user: Any, link: VerigatorUser | None) -> str:
    """Return the number (E.164) that the site has by now in place of the user's confirmed one, or "".

    A phone that nobody confirmed follows the site's by itself, so it has none.
    """
    if link is None or link.confirmed_at is None:
        return ""
    raw = registration.phone_of(user)
    if not raw or raw == link.phone_number:  # as a rule; spares a run over all users the numbering plan
        return ""
    number = registration.normalised(raw)
    if number in ("", link.phone_number) or link.site_phone_digest in digests(_KIND, number):
        return ""
    return number


def settle(user: Any) -> None:
    """Note that the user has decided about the number that the site has now; only another one is a proposal."""
    number = registration.normalised(registration.phone_of(user))
    decided = digest(_KIND, number) if number else ""
    once_more(lambda: VerigatorUser.objects.filter(user_id=user.pk).update(site_phone_digest=decided))


def follow(users: Iterable[Any]) -> int:
    """Take the site's numbers over where nobody confirmed one, and return how many proposals there are.

    For changes that sent no signal (``bulk_update``, ``update()``, another program).

    Args:
        users: with ``user.verigator`` already read.
    """
    count = 0
    for user in users:
        link = user.verigator
        if link.confirmed_at is None:
            registration.follow_site(link, user)
        elif of(user, link):
            count += 1
    return count
