"""Links for users who have none, and numbers that the site has changed."""

from __future__ import annotations

from functools import partial
from typing import Any

from django.contrib.auth import get_user_model
from django.db import IntegrityError
from django.db.models import Q

from ... import db
from ...db import retry_while_locked
from ...models import VerigatorUser
from .. import links, registration, site_phones
from ..links import State
from . import paging
from .report import SyncReport
from .run import Run


def users_with_a_link() -> Any:
    """Return the users who have a link, with what PHONE needs."""
    users = get_user_model()._default_manager.filter(verigator__isnull=False)
    return users.select_related("verigator", *site_phones.phone_relations())


def users_to_look_at() -> Any:
    """Return the users without a link (bulk_create, fixtures), or with an unusable phone that the site may correct."""
    return get_user_model()._default_manager.filter(
        Q(verigator=None) | Q(verigator__confirmed_at=None, verigator__state__in=[State.NO_PHONE, State.FAILED])
    )


def make_missing_links(run: Run | None = None) -> None:
    """Write the missing links, and follow the site's numbers where a link has no usable phone."""
    users = users_to_look_at().select_related("verigator", *site_phones.phone_relations())
    for done, page in enumerate(paging.pages(users), 1):
        if run is not None:
            run.beat(done * paging.BATCH)
            if run.stop.is_set():
                return
        retry_while_locked(partial(_make_links, [user for user in page if not hasattr(user, "verigator")]))
        for user in page:
            if hasattr(user, "verigator"):
                retry_while_locked(partial(links.follow_site_phone, user.verigator, user))


def follow_site(run: Run, report: SyncReport) -> None:
    """Find the numbers that the site has changed without a signal."""
    for done, page in enumerate(paging.pages(users_with_a_link()), 1):
        run.beat(done * paging.BATCH)
        if run.stop.is_set():
            return
        report.proposals += retry_while_locked(partial(links.follow_site_phones, page))


def _make_links(users: list[Any]) -> None:
    if not users:
        return
    made = [links.new(user) for user in users]
    for link in made:
        if link.state == State.PENDING:
            link.id_in_service = registration.new_id_in_service(link.user)
    try:
        with db.atomic():
            VerigatorUser.objects.bulk_create(made, ignore_conflicts=True)
    except IntegrityError:  # a user was deleted meanwhile
        for user in users:
            links.ensure(user)
    else:
        for link in made:
            links.log_unusable_number(link)
