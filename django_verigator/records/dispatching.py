"""When a user is saved: write the link, and hand its registration to ``DISPATCHER`` on commit."""

from __future__ import annotations

import logging
from contextlib import suppress

from django.contrib.auth import get_backends
from django.contrib.auth.base_user import AbstractBaseUser
from django.db import transaction
from django.db.transaction import TransactionManagementError
from django.utils import timezone

from .. import conf, db, events, rate_limits
from ..exceptions import Reason, Refused
from ..models import VerigatorUser, new_trust_version
from ..rate_limits import DAY, RateLimit
from . import links, registration, time_budget
from .links import State


def _site_number_limits(link_pk: object) -> list[RateLimit]:
    """Return the rate limit for numbers that a user changes on the site and that are registered at once."""
    limit = conf.current().LIMITS.PHONE_CHANGES_PER_USER_DAY
    return [RateLimit("numbers/user/day", str(link_pk), limit, DAY, Reason.CHANGE_LIMIT)]


def on_user_saved(user: AbstractBaseUser) -> None:
    """Write the link of a saved user in the transaction under way, and register it after commit.

    Nothing here can make saving the user fail: the link is written in a savepoint, and every error is logged.
    """
    time_budget.renew()
    began = timezone.now()
    try:
        with db.atomic():
            link = links.ensure(user)
            if link is not None and not _may_log_in(user):
                # Ends proofs and trusted browsers, which must not return when the user is activated again.
                VerigatorUser.objects.filter(pk=link.pk).update(trust_version=new_trust_version())
    except Exception as error:  # noqa: BLE001 - a save never fails because of us; sync finds what is missing
        events.site_failed("link_failed", user, error)
        return
    if link is not None and link.state == State.PENDING and link.attempts == 0:
        _dispatch_after_commit(link, is_new=link.created_at >= began)


def _dispatch_after_commit(link: VerigatorUser, *, is_new: bool) -> None:
    # Not a partial: Django 5.2 asks a hook that raises for its __qualname__.
    def after_commit() -> None:
        try:
            dispatch(link) if is_new else _dispatch_changed_number(link)
        except Exception as error:  # noqa: BLE001 - the site's code and its queue; the user is saved, sync does the rest
            events.site_failed("dispatch_failed", link.user, error)

    # With autocommit off Django does not know when the site commits; sync registers the link.
    with suppress(TransactionManagementError):
        transaction.on_commit(after_commit, using=db.alias(), robust=True)


def _may_log_in(user: AbstractBaseUser) -> bool:
    if getattr(user, "is_active", True):
        return True
    # Some authentication backends let inactive users log in.
    rules = (getattr(backend, "user_can_authenticate", None) for backend in get_backends())
    return any(rule(user) for rule in rules if rule is not None)


def dispatch(link: VerigatorUser) -> None:
    """Hand a link's registration to VERIGATOR["DISPATCHER"], or leave it to sync when the time budget is spent."""
    budget = time_budget.current()
    if budget.is_over:
        if not budget.is_logged:
            budget.is_logged = True
            events.record("left_to_sync", link.user, level=logging.WARNING)
        return
    with budget.spent():
        conf.resolve(conf.current().DISPATCHER)(link.pk)


def _dispatch_changed_number(link: VerigatorUser) -> None:
    """Dispatch a link whose number the site has changed, within rate limits: users may change it at will."""
    consumed = _site_number_limits(link.pk)
    with suppress(Refused):  # sync or the next login registers it
        rate_limits.reserve(lambda: rate_limits.consume(consumed))
        dispatch(link)


def run_now(link_pk: int) -> None:
    """Register a link in this process, once, within the time budget; the default DISPATCHER."""
    _attempt(link_pk, timeout=time_budget.current().remaining)


def run_in_worker(link_pk: int) -> None:
    """Register a link in a task queue's worker, if it is due: a repeated delivery must not undo the backoff."""
    _attempt(link_pk, force=False)


def _attempt(link_pk: int, *, timeout: float | None = None, force: bool = True) -> None:
    link = VerigatorUser.objects.filter(pk=link_pk).select_related("user").first()
    if link is not None:
        try:
            registration.register(link, timeout=timeout, force=force)
        except Exception as error:  # noqa: BLE001 - after commit no caller can handle it; a setting may be wrong
            events.site_failed("registration_failed", link.user, error)
