"""A user is saved: the link is written, and the registration handed to ``DISPATCHER`` after commit."""

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
    """What bounds the numbers that a user may give the site one after the other and have registered at once."""
    limit = conf.current().LIMITS.PHONE_CHANGES_PER_USER_DAY
    return [RateLimit("numbers/user/day", str(link_pk), limit, DAY, Reason.CHANGE_LIMIT)]


def on_user_saved(user: AbstractBaseUser) -> None:
    """Write the link of a saved user in the transaction under way, and register it after commit.

    Nothing that happens here can make saving the user fail: the link is written in a savepoint, every error logged.
    """
    time_budget.renew()
    began = timezone.now()
    try:
        using = db.alias()
        with transaction.atomic(using=using):
            link = links.ensure(user)
            if link is not None and not _may_log_in(user):
                # Proofs and trusted browsers are not to come back when the user is activated again.
                VerigatorUser.objects.filter(pk=link.pk).update(trust_version=new_trust_version())
    except Exception as error:  # noqa: BLE001 - a save never fails because of us; sync finds what is missing
        events.site_failed("link_failed", user, error)
        return
    if link is not None and link.state == State.PENDING and link.attempts == 0:
        _dispatch_after_commit(link, using, is_new=link.created_at >= began)


def _dispatch_after_commit(link: VerigatorUser, using: str, *, is_new: bool) -> None:
    # Not a partial: Django 5.2 asks a hook that raises for its __qualname__.
    def after_commit() -> None:
        try:
            dispatch(link) if is_new else _dispatch_another(link)
        except Exception as error:  # noqa: BLE001 - the site's code and its queue; the user is saved, sync does the rest
            events.site_failed("dispatch_failed", link.user, error)

    # With autocommit off nobody can tell when the site commits.
    with suppress(TransactionManagementError):
        transaction.on_commit(after_commit, using=using, robust=True)


def _may_log_in(user: AbstractBaseUser) -> bool:
    if getattr(user, "is_active", True):
        return True
    # Some sites let users in who are not active.
    rules = (getattr(backend, "user_can_authenticate", None) for backend in get_backends())
    return any(rule(user) for rule in rules if rule is not None)


def dispatch(link: VerigatorUser) -> None:
    """Hand a link's registration to VERIGATOR["DISPATCHER"], while whoever saves users may still be held up."""
    mine = time_budget.current()
    if mine.is_over:
        if not mine.is_told:
            mine.is_told = True
            events.record("left_to_sync", link.user, level=logging.WARNING)
        return
    with mine.spent():
        conf.resolve(conf.current().DISPATCHER)(link.pk)


def _dispatch_another(link: VerigatorUser) -> None:
    """Dispatch one whose number the site has changed, within limits: a profile page may let users do so at will."""
    consumed = _site_number_limits(link.pk)
    with suppress(Refused):  # sync registers it, or the login
        rate_limits.reserve(lambda: rate_limits.consume(consumed))
        dispatch(link)


def run_now(link_pk: int) -> None:
    """The default dispatcher: one attempt in this process, within what is left of IN_PROCESS_SECONDS for all users of
    a request; the rest is left to sync."""
    _attempt(link_pk, timeout=time_budget.current().left)


def run_in_worker(link_pk: int) -> None:
    """One attempt in a task queue's worker, where nobody waits. Not before the link's turn has come: a queue that
    delivers a task again must not undo the back-off."""
    _attempt(link_pk, force=False)


def _attempt(link_pk: int, *, timeout: float | None = None, force: bool = True) -> None:
    link = VerigatorUser.objects.filter(pk=link_pk).select_related("user").first()
    if link is not None:
        try:
            registration.register(link, timeout=timeout, force=force)
        except Exception as error:  # noqa: BLE001 - after commit nobody is left to handle it; a setting may be wrong
            events.site_failed("registration_failed", link.user, error)
