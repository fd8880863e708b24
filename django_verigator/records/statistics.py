"""How many links are in which state, for the admin."""

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
    """The counts that the admin shows.

    Attributes:
        states: every state, also those without a link.
        errors: every last error that a link has.
        deletions: records that are still to be deleted at the provider.
        run: the newest run of verigator_sync, or None.
    """

    states: list[StateCount]
    errors: list[str]
    deletions: int
    run: SyncRun | None


def collect() -> Statistics:
    """Count in three statements: one over the index of state and last error, two over few rows."""
    states = {state: StateCount(state) for state in _ORDER}
    # Rows, not primary keys: those are not in the index.
    counts = VerigatorUser.objects.values_list("state", "last_error").annotate(count=Count("*")).order_by()
    for state, error, count in counts:
        state_count = states[State(state)]
        state_count.count += count
        if error:
            state_count.errors[error] += count
    return Statistics(
        states=list(states.values()),
        errors=sorted({error for state_count in states.values() for error in state_count.errors}),
        deletions=RemoteDeletion.objects.count(),
        run=SyncRun.objects.order_by("-pk").first(),
    )
