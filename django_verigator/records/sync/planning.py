"""What a run would do now."""

from __future__ import annotations

from dataclasses import dataclass

from ...exceptions import VerigatorError
from ...models import RemoteDeletion, VerigatorUser
from .. import links
from ..provider import record_backend
from . import comparing, missing_links, paging, phases


@dataclass(frozen=True, slots=True)
class Plan:
    """What ``sync_all`` would do now, in links and records."""

    missing_links: int
    not_taken_over: int
    waiting: int
    lost: int
    deletions: int
    deletions_parked: int
    unknown: int
    error: str = ""

    @property
    def is_empty(self) -> bool:
        """Whether a run would find nothing to do."""
        to_do = self.missing_links + self.not_taken_over + self.waiting + self.lost + self.deletions
        return not (to_do or self.error)


def plan() -> Plan:
    """Return what a run would do; writes nothing, here or at the provider."""
    registered = VerigatorUser.objects.registered()
    lost, unknown, error = registered.count(), 0, ""
    backend = record_backend()
    try:
        for batch in paging.batches(backend.users() if backend else iter(())):
            lost -= registered.filter(verigator_id__in=[user.user_id for user in batch]).count()
            unknown += len(comparing.compare(batch)[0])
    except VerigatorError as failure:
        error = failure.reason
    return Plan(
        missing_links=missing_links.users_to_look_at().filter(verigator=None).count(),
        not_taken_over=_count_not_taken_over(),
        waiting=phases.waiting().count(),
        lost=0 if error or backend is None else lost,
        deletions=RemoteDeletion.objects.count() if backend else 0,
        deletions_parked=0 if backend else RemoteDeletion.objects.count(),
        unknown=unknown,
        error=error,
    )


def _count_not_taken_over() -> int:
    return sum(
        bool(links.number_to_take_over(user.verigator, user))
        for user in paging.in_pages(missing_links.users_with_a_link())
    )
