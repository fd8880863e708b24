"""What a sync did."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from ... import shown
from ...models import SyncRun, VerigatorUser
from ..registration import RegistrationResult

SHOWN_FAILURES = 100
"""How many failures a report names; the others are only counted."""

LEFT = (RegistrationResult.BUSY, RegistrationResult.POSTPONED)


@dataclass(slots=True)
class SyncReport:
    """What a run did; its size does not depend on the number of users.

    Attributes:
        counts: users by outcome.
        failures: username, as it may be shown, and last error of the first users who have a phone and are not
            registered.
        errors: all such users, by last error.
        deleted, deletions_left: records deleted at the provider, and still to be deleted.
        deletions_parked: records to be deleted, where no entry of BACKENDS keeps records.
        unknown: records at the provider that no link here knows.
        unknown_deleted: how many of them ``delete_unknown`` scheduled for deletion.
        handed_over: links given to a task queue.
        unchecked: records that were not in the list, and for which the provider could not be asked.
        proposals: numbers that the site has changed and their users have not confirmed; a run leaves them to the users.
        error: why the provider's list could not be read to its end, or "".
        down: the error after which the provider counts as down, or "".
        why: the cause of the last call that could not reach the provider, or "".
        stopped: whether the run was told to stop.
    """

    counts: Counter[RegistrationResult] = field(default_factory=Counter)
    failures: list[tuple[str, str]] = field(default_factory=list)
    errors: Counter[str] = field(default_factory=Counter)
    deleted: int = 0
    deletions_left: int = 0
    deletions_parked: int = 0
    unknown: int = 0
    unknown_deleted: int = 0
    handed_over: int = 0
    unchecked: int = 0
    proposals: int = 0
    error: str = ""
    down: str = ""
    why: str = ""
    stopped: bool = False

    def add(self, link: VerigatorUser, outcome: RegistrationResult) -> None:
        """Count a link, and name it if it has a phone and is not registered."""
        self.counts[outcome] += 1
        if outcome in (*LEFT, RegistrationResult.REFUSED):
            error = link.last_error or outcome.value
            self.errors[error] += 1
            if len(self.failures) < SHOWN_FAILURES:
                self.failures.append((shown.user(link.user), error))

    @property
    def failed(self) -> int:
        """How many users have a phone and are not registered."""
        return sum(self.errors.values())

    @property
    def outcome(self) -> SyncRun.Outcome:
        """The outcome to store with the run."""
        if self.down:
            return SyncRun.Outcome.PROVIDER_DOWN
        if self.stopped:
            return SyncRun.Outcome.STOPPED
        left = self.deletions_left or self.error or self.failed or self.handed_over or self.unchecked
        return SyncRun.Outcome.LEFT if left else SyncRun.Outcome.COMPLETE

    @property
    def is_complete(self) -> bool:
        """Whether nothing is left to do."""
        return self.outcome == SyncRun.Outcome.COMPLETE

    def as_counts(self) -> dict[str, int]:
        """Return the counts by name, for the run's row and for ``--json``."""
        counts = {outcome.name.lower(): count for outcome, count in self.counts.items() if count}
        return counts | {
            "failed": self.failed,
            "deleted": self.deleted,
            "deletions_left": self.deletions_left,
            "deletions_parked": self.deletions_parked,
            "unknown": self.unknown,
            "unknown_deleted": self.unknown_deleted,
            "handed_over": self.handed_over,
            "unchecked": self.unchecked,
            "proposals": self.proposals,
        }
