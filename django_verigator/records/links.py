"""The link of a user: written, found, locked, and kept in step with the site's phone number."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Any

from django.db import IntegrityError, transaction
from django.db.models import F, Q, QuerySet
from django.utils import timezone
from django.views.decorators.debug import sensitive_variables

from .. import db, events
from ..db import retry_on_deadlock
from ..models import VerigatorUser
from . import deletion, site_phones

State = VerigatorUser.State

PHONE_UNKNOWN = "phone_unknown"
"""On a link: the site's PHONE failed, so whether its user has a phone is not known."""

UNREADABLE = "invalid_phone"
"""On a link: what the site has for this user is no phone number."""


def find(user: Any) -> VerigatorUser | None:
    link = VerigatorUser.objects.filter(user_id=user.pk).first()
    if link is not None:
        _know_user(link, user)
    return link


def _know_user(link: VerigatorUser, user: Any) -> None:
    # Spares link.user its query. Not the other way round: user.verigator is to show what is stored when it is asked.
    VerigatorUser._meta.get_field("user").set_cached_value(link, user)


def lock(user_pk: Any) -> None:
    """Have what follows in this transaction wait for what another one does with the same user.

    By a write: SQLite takes no lock for a read, and refuses a write that comes after one.
    """
    VerigatorUser.objects.filter(user_id=user_pk).update(attempts=F("attempts"))


@sensitive_variables()  # the guard comes here too, and its frames hold the number
def ensure(user: Any) -> VerigatorUser | None:
    """Return the user's link, written now if it is missing; a phone nobody confirmed yet follows the site's.

    A later change of a confirmed phone is not taken over: it stays a proposal until the user confirms it.
    """
    link = find(user)
    if link is None:
        return _make_link(user)
    if link.confirmed_at is None:
        follow_site_phone(link, user)
    return link


def new(user: Any) -> VerigatorUser:
    """Return the link of a user who has none, not stored yet; ``tell_of_unusable`` when it is."""
    link = VerigatorUser(user_id=user.pk, **_unregistered(site_phones.phone_of(user)))
    _know_user(link, user)
    return link


def _make_link(user: Any) -> VerigatorUser | None:
    link = new(user)
    using = db.alias()

    @transaction.atomic(using=using)
    def work() -> None:
        link.save(using=using, force_insert=True)

    try:
        retry_on_deadlock(work)
    except IntegrityError:  # written by somebody else just now, or the user is gone
        return find(user)
    log_unusable_number(link)
    return link


def log_unusable_number(link: VerigatorUser) -> None:
    """Log that the site has something for this user that is no number: the user owes the second step all the same."""
    if link.last_error == UNREADABLE:
        events.record("phone_unreadable", link.user, level=logging.WARNING)


def without_usable_number() -> QuerySet[VerigatorUser]:
    """Return the links whose users owe the step under "enrolled" and have no number to send a PIN to."""
    unknown = Q(state=State.NO_PHONE, last_error=PHONE_UNKNOWN)
    return VerigatorUser.objects.filter(Q(state=State.FAILED) | unknown, confirmed_at=None)


def _unregistered(raw: str | None) -> dict[str, Any]:
    """Return what a link says of a number that the provider has not seen yet."""
    if raw is None:
        return {"state": State.NO_PHONE, "last_error": PHONE_UNKNOWN, "last_error_at": timezone.now()}
    if not raw:
        return {"state": State.NO_PHONE, "last_error": ""}
    number = site_phones.as_e164(raw)
    if not number:
        return {"state": State.FAILED, "last_error": UNREADABLE, "last_error_at": timezone.now()}
    return {"phone_number": number, "state": State.PENDING, "last_error": ""}


def number_to_take_over(link: VerigatorUser | None, user: Any) -> str:
    """Return the number (E.164) of the site that the next login, or sync, takes over for this user, or ""."""
    if link is not None and link.confirmed_at is not None:
        return ""
    number = site_phones.as_e164(site_phones.phone_of(user))
    return "" if link is not None and number == link.phone_number else number


def follow_site_phone(link: VerigatorUser, user: Any) -> None:
    """Have a link whose phone nobody confirmed take over the number that the site has now, or say why there is none."""
    raw = site_phones.phone_of(user)
    number = site_phones.as_e164(raw)
    if not number and not link.phone_number:
        _follow_without_number(link, raw)
    if not number or number == link.phone_number:
        return
    before = link.phone_number

    @db.atomic()
    def work() -> None:
        # Only while it is still unconfirmed and still the number we saw.
        changed = VerigatorUser.objects.filter(pk=link.pk, confirmed_at=None, phone_number=before).update(
            phone_number=number,
            state=State.PENDING,
            id_in_service=None,
            verigator_id=None,
            registered_at=None,
            attempts=0,
            next_attempt_at=None,
            leased_until=None,
            last_error="",
        )
        if changed:
            deletion.schedule(link.verigator_id, link.id_in_service)

    retry_on_deadlock(work)
    reread(link)


def _follow_without_number(link: VerigatorUser, raw: str | None) -> None:
    values, before = _unregistered(raw), {"state": link.state, "last_error": link.last_error}
    # A PHONE that fails tells nothing new about a number that was no number.
    if before.items() <= values.items() or (raw is None and link.state == State.FAILED):
        return
    mine = VerigatorUser.objects.filter(pk=link.pk, confirmed_at=None, phone_number="", **before)
    retry_on_deadlock(lambda: mine.update(**values))
    for name, value in values.items():
        setattr(link, name, value)
    log_unusable_number(link)


def reread(link: VerigatorUser) -> bool:
    """Have ``link`` show what is stored; False if its user has been deleted meanwhile."""
    try:
        link.refresh_from_db()
    except VerigatorUser.DoesNotExist:
        return False
    return True


def follow_site_phones(users: Iterable[Any]) -> int:
    """Take the site's numbers over where nobody confirmed one, and return how many proposals there are.

    For changes that sent no signal (``bulk_update``, ``update()``, another program).

    Args:
        users: with ``user.verigator`` already read.
    """
    count = 0
    for user in users:
        link = user.verigator
        if link.confirmed_at is None:
            follow_site_phone(link, user)
        elif site_phones.changed_number(user, link):
            count += 1
    return count
