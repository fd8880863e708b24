"""What ``verigator_sync`` prints: a report or a plan, as lines or as data for ``--json``."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from ..exceptions import NoSuchServiceError, WrongCredentialsError
from ..records.sync.planning import Plan
from ..records.sync.report import SyncReport

_ADVICE = {
    WrongCredentialsError.reason: 'the provider refuses the credentials: mend "username" and "password" in BACKENDS.',
    NoSuchServiceError.reason: 'the provider has no such service: mend "service_id" in BACKENDS.',
}

_LIST_PROVIDER = "for that, list the entry of BACKENDS whose provider keeps user records, as the last one"

_PARKED = "to be deleted at a provider that is not listed"


def advice(errors: Iterable[str]) -> str:
    """Return the advice on the first error for which there is one, or ""."""
    return next((_ADVICE[error] for error in errors if error in _ADVICE), "")


def report_lines(report: SyncReport) -> list[str]:
    """Return the counts that are not zero, for stdout."""
    counts = {
        "handed to the task queue": report.handed_over,
        "deleted at the provider": report.deleted,
        "still to be deleted at the provider": report.deletions_left,
        _PARKED: report.deletions_parked,
        "known to the provider, unknown here": report.unknown,
        "of these to be deleted": report.unknown_deleted,
        "numbers changed on the site, not confirmed by their users": report.proposals,
    }
    counts = {outcome.value: count for outcome, count in report.counts.items()} | counts
    return [
        f"{name}: {count} ({_LIST_PROVIDER})" if name == _PARKED else f"{name}: {count}"
        for name, count in counts.items()
        if count
    ]


def failure_lines(report: SyncReport) -> list[str]:
    """Return who is not registered, and what stopped the run, for stderr."""
    lines = [f"not registered: {name} ({error})" for name, error in report.failures]
    if report.failed > len(report.failures):
        lines.append(f"not registered: {report.failed - len(report.failures)} more")
        lines += [f"  {error}: {count}" for error, count in report.errors.most_common()]
    if report.unchecked:
        lines.append(f"not in the provider's list, and not to be asked for: {report.unchecked}")
    if report.error:
        lines.append(f"the provider's list could not be read: {report.error}")
    if report.why:
        lines.append(f"the provider could not be reached ({report.why})")
    if report.down:
        lines.append(f"the provider does not answer ({report.down}): the rest is left to a later run")
    elif report.stopped:
        lines.append("stopped; what was under way is done, the rest is left to a later run")
    return lines


def report_data(report: SyncReport, seconds: float) -> dict[str, Any]:
    """Return a report for ``--json``.

    Args:
        seconds: how long the run took.
    """
    return {
        "outcome": report.outcome.value,
        "counts": report.as_counts(),
        "errors": dict(report.errors),
        "failures": [{"username": name, "error": error} for name, error in report.failures],
        "list_error": report.error,
        "provider_down": report.down,
        "why": report.why,
        "seconds": round(seconds, 1),
    }


def plan_lines(plan: Plan) -> list[str]:
    """Return every count of a plan, for stdout."""
    counts = {
        "users without a link": plan.missing_links,
        "numbers of the site not taken over yet": plan.not_taken_over,
        "waiting to be registered": plan.waiting,
        "lost by the provider": plan.lost,
        "to be deleted at the provider": plan.deletions,
        f"{_PARKED} ({_LIST_PROVIDER})": plan.deletions_parked,
        "known to the provider, unknown here": plan.unknown,
    }
    return [f"{name}: {count}" for name, count in counts.items()]


def plan_data(plan: Plan) -> dict[str, Any]:
    """Return a plan for ``--json``."""
    names = ("missing_links", "not_taken_over", "waiting", "lost", "deletions", "unknown", "deletions_parked")
    return {"dry_run": {name: getattr(plan, name) for name in names}, "list_error": plan.error}


def shown_time(moment: datetime, form: str) -> str:
    """Return a moment with its time zone; with USE_TZ off it is the server's time, which has no name.

    Args:
        form: as of ``strftime``.
    """
    return f"{moment:{form} %Z}".rstrip()
