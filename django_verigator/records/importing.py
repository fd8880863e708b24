"""Import users with a phone from another system, and with a UserID if they used Verigator there.

Every row is checked before the first is written, and again when it is written. Conditional UPDATEs and unique columns
keep an import from overwriting what has changed since.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from django.db import IntegrityError
from django.utils import timezone

from .. import db
from ..models import VerigatorUser
from . import import_cases, import_rows, site_phones
from .import_cases import Case, Facts
from .import_rows import ID_LENGTH, Row, Verdict
from .provider import record_backend

logger = logging.getLogger("django_verigator")

BATCH = 500


@dataclass(slots=True)
class ImportReport:
    """What an import did, or would do.

    Attributes:
        counts: rows by verdict.
        is_written: False on a dry run, and after a refusal without ``skip_refused``.
    """

    counts: Counter[Verdict] = field(default_factory=Counter)
    is_written: bool = False

    @property
    def refused(self) -> int:
        """How many rows were refused."""
        return sum(count for verdict, count in self.counts.items() if verdict.is_refusal)


def import_users(
    read: Callable[[], Iterable[Row]],
    *,
    confirmed: bool = False,
    verify: bool = False,
    skip_refused: bool = False,
    dry_run: bool = False,
    refuse: Callable[[Row, Verdict], None] = lambda row, verdict: None,
) -> ImportReport:
    """Write a link for each row. Nothing is sent to users; rows without a UserID wait for ``verigator_sync``.

    Idempotent: after an interruption it is run again, and rows that are in already are unchanged.

    Args:
        read: returns the rows from the first one; called several times, so that they need not fit into memory.
        confirmed: whether the users confirmed these phones in the system they come from, so that the site's number
            does not replace them; else a user's first right PIN confirms the phone.
        verify: refuse a UserID that is not in the provider's list.
        skip_refused: write the rows that are not refused; else one refusal means that nothing is written.
        dry_run: check only.
        refuse: called with each refused row and the reason.

    Raises:
        VerigatorError: the provider's list could not be read; nothing is written.
    """
    doubled = _doubled(map(import_rows.cleaned, read()))
    known = _known_to_the_provider() if verify else None
    judged = _Importer(confirmed, doubled, known).judge(map(import_rows.cleaned, read()))
    report, refused_lines = _count(judged, refuse, set())
    if dry_run or (report.refused and not skip_refused):
        return report
    written = _Importer(confirmed, doubled, known).write(map(import_rows.cleaned, read()))
    report, _ = _count(written, refuse, refused_lines)
    report.is_written = True
    logger.info("imported new=%s changed=%s", report.counts[Verdict.NEW], report.counts[Verdict.CHANGED])
    return report


def _count(
    rows: Iterable[tuple[Row, Verdict]], refuse: Callable[[Row, Verdict], None], already_refused: set[int]
) -> tuple[ImportReport, set[int]]:
    """Count the verdicts, and call ``refuse`` for each refused row whose line is not in ``already_refused``.

    Returns:
        The counts, and the lines of all refused rows.
    """
    report, lines = ImportReport(), set()
    for row, verdict in rows:
        report.counts[verdict] += 1
        if verdict.is_refusal:
            lines.add(row.line)
            if row.line not in already_refused:
                refuse(row, verdict)
    return report, lines


def _doubled(rows: Iterable[Row]) -> set[tuple[str, str]]:
    """Return the keys that stand in more than one row; all their rows are refused, since any may be wrong."""
    seen: set[int] = set()  # hashes, since a file may have a million rows
    doubled: set[tuple[str, str]] = set()
    for row in rows:
        for key in import_rows.keys(row):
            if hash(key) in seen:
                doubled.add(key)
            seen.add(hash(key))
    return doubled


def _known_to_the_provider() -> set[str]:
    backend = record_backend()
    return {user.user_id for user in backend.users()} if backend else set()


class _Importer:
    """Judges rows, batch by batch, and writes those that pass."""

    def __init__(self, confirmed: bool, doubled: set[tuple[str, str]], known: set[str] | None) -> None:
        self._confirmed = confirmed
        self._doubled = doubled
        self._known = known
        self._backend = record_backend()
        # By primary key: a site's manager may take "Bob" and "bob" for one user.
        self._users: set[Any] = set()

    def judge(self, rows: Iterable[Row]) -> Iterator[tuple[Row, Verdict]]:
        """Yield each row with its verdict; write nothing."""
        for batch in _batches(rows):
            for case in self._cases(batch):
                yield case.row, case.verdict

    def write(self, rows: Iterable[Row]) -> Iterator[tuple[Row, Verdict]]:
        """Write the rows that are not refused; yield each row with its verdict."""
        for batch in _batches(rows):
            seen = set(self._users)
            cases = self._cases(batch)
            try:
                with db.atomic():
                    import_cases.write(cases)
            except IntegrityError:  # another process has taken a user or a UserID meanwhile
                self._users = seen
                cases = [self._write_alone(row) for row in batch]
            for case in cases:
                yield case.row, case.verdict

    def _write_alone(self, row: Row) -> Case:
        (case,) = self._cases([row])
        try:
            with db.atomic():
                import_cases.write([case])
        except IntegrityError:
            case.verdict = Verdict.BUSY
        return case

    def _cases(self, batch: list[Row]) -> list[Case]:
        facts = Facts(batch)
        return [self._case(row, facts) for row in batch]

    def _case(self, row: Row, facts: Facts) -> Case:
        user = facts.users.get(row.username)
        pk = user.pk if user is not None else None
        number = ""
        verdict = row.problem or self._user_verdict(row, user)
        if verdict is None:
            number, verdict = import_rows.number(row)
        verdict = verdict or self._ids_verdict(row, user, facts)
        link = facts.links.get(pk)
        if verdict is None:
            self._users.add(pk)
            verdict = self._link_verdict(row, user, link, number)
        return Case(row, verdict, user, link, number, self._confirmed)

    def _user_verdict(self, row: Row, user: Any) -> Verdict | None:
        if user is None:
            return Verdict.UNKNOWN_USER
        if ("user", row.username) in self._doubled or user.pk in self._users:
            return Verdict.USER_TWICE
        if ("id", row.user_id) in self._doubled or ("name", row.id_in_service) in self._doubled:
            return Verdict.USER_ID_TWICE
        return None

    def _ids_verdict(self, row: Row, user: Any, facts: Facts) -> Verdict | None:
        if not row.user_id:
            return Verdict.BAD_ID_IN_SERVICE if row.id_in_service else None
        if self._backend is None:
            return Verdict.NO_RECORDS
        if not import_rows.is_id(row.user_id, VerigatorUser._meta.get_field("verigator_id").max_length or 0):
            return Verdict.BAD_USER_ID
        if not import_rows.is_id(row.id_in_service or "-", ID_LENGTH):
            return Verdict.BAD_ID_IN_SERVICE
        if self._known is not None and row.user_id not in self._known:
            return Verdict.UNKNOWN_USER_ID
        return facts.id_conflict(row, user)

    def _link_verdict(self, row: Row, user: Any, link: VerigatorUser | None, number: str) -> Verdict:
        # Else the next login would replace this number with the site's.
        is_confirmed = self._confirmed or (link is not None and link.confirmed_at is not None)
        if not is_confirmed and site_phones.as_e164(site_phones.phone_of(user)) not in ("", number):
            return Verdict.OTHER_PHONE_ON_SITE
        if link is None:
            return Verdict.NEW
        if link.phone_number != number and link.confirmed_at is not None:
            return Verdict.OTHER_PHONE_CONFIRMED
        if link.phone_number != number and link.verigator_id:
            return Verdict.OTHER_PHONE_REGISTERED
        if row.user_id and link.verigator_id not in (None, row.user_id):
            return Verdict.OTHER_USER_ID
        is_registered = not row.user_id or link.verigator_id == row.user_id
        has_proof = link.confirmed_at is not None or not self._confirmed
        if link.phone_number == number and is_registered and has_proof:
            return Verdict.UNCHANGED
        if link.leased_until is not None and link.leased_until > timezone.now():
            return Verdict.BUSY
        return Verdict.CHANGED


def _batches(rows: Iterable[Row]) -> Iterator[list[Row]]:
    rows = iter(rows)
    while batch := list(islice(rows, BATCH)):
        yield batch
