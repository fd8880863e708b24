"""The link of a user: find it, write it, keep it in step with the site's phone number."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Any

from django.contrib.auth.base_user import AbstractBaseUser
from django.db import IntegrityError
from django.utils import timezone
from django.views.decorators.debug import sensitive_variables

from .. import db, events
from ..db import retry_on_deadlock
from ..models import VerigatorUser, statements
from . import site_phones

State = VerigatorUser.State


def find(user: AbstractBaseUser) -> VerigatorUser | None:
    """Return the user's link, or None."""
    link: VerigatorUser | None = statements.link_of_user.first(user_id=user.pk)
    if link is not None:
        _cache_user(link, user)
    return link


def _cache_user(link: VerigatorUser, user: AbstractBaseUser) -> None:
    # Saves link.user a query. Not the other way round: user.verigator shows what is stored when it is first read.
    VerigatorUser._meta.get_field("user").set_cached_value(link, user)


@sensitive_variables()  # the guard calls it too, and its frames hold the number
def ensure(user: AbstractBaseUser) -> VerigatorUser | None:
    """Return the user's link, written now if it is missing. An unconfirmed phone follows the site's.

    Where the phone is confirmed, another number of the site is a proposal until the user confirms it.

    Returns:
        The link; None if the user has been deleted.
    """
    link = find(user)
    if link is None:
        return _make_link(user)
    if link.confirmed_at is None:
        follow_site_phone(link, user)
    return link


def new(user: AbstractBaseUser) -> VerigatorUser:
    """Return an unsaved link for a user who has none; the caller saves it and then calls ``log_unusable_number``."""
    link = VerigatorUser(user_id=user.pk, **_unregistered(site_phones.phone_of(user)))
    _cache_user(link, user)
    return link


def _make_link(user: AbstractBaseUser) -> VerigatorUser | None:
    link = new(user)

    def insert() -> None:
        with db.atomic():
            link.save(using=db.alias(), force_insert=True)

    try:
        retry_on_deadlock(insert)
    except IntegrityError:  # another request has just written it, or the user is deleted
        return find(user)
    log_unusable_number(link)
    return link


def log_unusable_number(link: VerigatorUser) -> None:
    """Log that the site's phone of this user is no number; two-factor authentication is required all the same."""
    if link.last_error == VerigatorUser.UNREADABLE:
        events.record("phone_unreadable", link.user, level=logging.WARNING)


def _unregistered(raw: str | None) -> dict[str, Any]:
    """Return a link's fields for the site's number (None: unknown), before its registration."""
    if raw is None:
        return {"state": State.NO_PHONE, "last_error": VerigatorUser.PHONE_UNKNOWN, "last_error_at": timezone.now()}
    if not raw:
        return {"state": State.NO_PHONE, "last_error": ""}
    number = site_phones.as_e164(raw)
    if not number:
        return {"state": State.FAILED, "last_error": VerigatorUser.UNREADABLE, "last_error_at": timezone.now()}
    return {"phone_number": number, "state": State.PENDING, "last_error": ""}


def number_to_take_over(link: VerigatorUser | None, user: AbstractBaseUser) -> str:
    """Return the site's number (E.164) that the next login or sync takes over for this user, or ""."""
    if link is not None and link.confirmed_at is not None:
        return ""
    number = site_phones.as_e164(site_phones.phone_of(user))
    return "" if link is not None and number == link.phone_number else number


def follow_site_phone(link: VerigatorUser, user: AbstractBaseUser) -> None:
    """Take the site's number over into a link whose phone is unconfirmed, or store why there is none."""
    raw = site_phones.phone_of(user)
    number = site_phones.as_e164(raw)
    if not number and not link.phone_number:
        _follow_without_number(link, raw)
    if not number or number == link.phone_number:
        return
    # Only while the phone is unconfirmed and as it was read.
    unchanged = {"confirmed_at": None, "phone_number": link.phone_number}
    link.forget_registration({"phone_number": number, "state": State.PENDING}, **unchanged)
    link.reload()


def _follow_without_number(link: VerigatorUser, raw: str | None) -> None:
    values, before = _unregistered(raw), {"state": link.state, "last_error": link.last_error}
    # A PHONE that fails says nothing new about a value that was no number.
    if before.items() <= values.items() or (raw is None and link.state == State.FAILED):
        return
    link.transition(values, confirmed_at=None, phone_number="", **before)
    link.show(values)
    log_unusable_number(link)


def follow_site_phones(users: Iterable[Any]) -> int:
    """Take the site's numbers over for unconfirmed phones, and return how many proposals there are for confirmed ones.

    Finds changes that sent no signal (``bulk_update``, ``update()``, another program).

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
