"""How many links are in which state: what an administrator wants to see first."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from django.db.models import Count

from ..models import RemoteDeletion, SyncRun, VerigatorUser

State = VerigatorUser.State

_ORDER = (State.REGISTERED, State.PENDING, State.REPAIR, State.FAILED, State.NO_PHONE)


@dataclass(slots=True)
class StateCount:
    """The links in one state.

    Attributes:
        errors: how many of them had which last error.
    """

    state: State
    count: int = 0
    errors: Counter[str] = field(default_factory=Counter)

    @property
    def reasons(self) -> list[tuple[str, int]]:
        """The errors, the most frequent first."""
        return self.errors.most_common()


@dataclass(frozen=True, slots=True)
class Statistics:
    """What there is to see.

    Attributes:
        states: every state, also those that no link is in.
        errors: every last error there is.
        deletions: records that must still go at the provider.
        run: the newest run of verigator_sync, if there was one.
    """

    states: list[StateCount]
    errors: list[str]
    deletions: int
    run: SyncRun | None


def collect() -> Statistics:
    """Count; three statements, the first over an index of state and last error, the others over a few rows."""
    states = {state: StateCount(state) for state in _ORDER}
    # Of rows, not of primary keys: those are not in the index.
    counts = VerigatorUser.objects.values_list("state", "last_error").annotate(count=Count("*")).order_by()
    for state, error, count in counts:
        standing = states[State(state)]
        standing.count += count
        if error:
            standing.errors[error] += count
    return Statistics(
        states=list(states.values()),
        errors=sorted({error for standing in states.values() for error in standing.errors}),
        deletions=RemoteDeletion.objects.count(),
        run=SyncRun.objects.order_by("-pk").first(),
    )
