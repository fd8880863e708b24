"""Moving in: links for users who come with a phone from elsewhere, and with a UserID if they used Verigator before.

Every row is checked before one is written, and again when it is. What is written is only what has not changed since:
links by conditional UPDATEs, new ones under the unique columns.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from enum import Enum
from itertools import islice
from typing import Any

from django.contrib.auth import get_user_model
from django.db import IntegrityError, router, transaction
from django.db.models import Q
from django.utils import timezone

from .. import phone, shown
from ..models import PhoneChange, RemoteDeletion, VerigatorUser
from . import limits, registration
from .refusals import Refused
from .registration import State

logger = logging.getLogger("django_verigator")

BATCH = 500
_ID_LENGTH = 64


class Verdict(Enum):
    """What becomes of a row; the value is what the command says of it."""

    NEW = "new"
    CHANGED = "changed"
    UNCHANGED = "in already"

    COLUMNS = "it has more or fewer columns than the first line"
    MALFORMED = "it cannot be read as CSV (a quote that does not end?)"
    ENCODING = "it has bytes that are not of the file's encoding, or characters that no name has"
    UNKNOWN_USER = "there is no such user"
    USER_TWICE = "the user stands in the file more than once"
    USER_ID_TWICE = "the UserID, or the id in the service, stands in the file more than once"
    BAD_PHONE = "the phone is no number in international form"
    NUMBER_REFUSED = "nothing is sent to such a number (COUNTRIES, REFUSED_NUMBER_TYPES)"
    BAD_USER_ID = "that is no UserID"
    BAD_ID_IN_SERVICE = "that is no id in the service, or it has no UserID with it"
    NO_RECORDS = "no provider in BACKENDS keeps user records, so there are no UserIDs"
    UNKNOWN_USER_ID = "the provider does not know the UserID"
    USER_ID_TAKEN = "the UserID, or the id in the service, belongs to another user here"
    USER_ID_DELETED = "the UserID, or the id in the service, is to be deleted at the provider"
    OTHER_PHONE_ON_SITE = "the site has another number for the user, and the phone is not given as confirmed"
    OTHER_PHONE_CONFIRMED = "the user has confirmed another phone"
    OTHER_PHONE_REGISTERED = "the user is registered with another phone"
    OTHER_USER_ID = "the user is linked to another UserID"
    BUSY = "the user is just being registered; try again in a minute"

    @property
    def is_refusal(self) -> bool:
        return self not in (Verdict.NEW, Verdict.CHANGED, Verdict.UNCHANGED)


@dataclass(frozen=True, slots=True)
class Row:
    """One row of the file, as it stands there.

    Attributes:
        line: where it begins in the file.
        problem: why it could not be read, if it could not.
    """

    line: int
    username: str = ""
    phone: str = ""
    user_id: str = ""
    id_in_service: str = ""
    problem: Verdict | None = None

    def __repr__(self) -> str:
        return f"<Row {self.line}>"

    @property
    def shown_name(self) -> str:
        """The username as a report may show it: columns may be mixed up, and it be a number."""
        return shown.name(self.username)


@dataclass(slots=True)
class Report:
    """What an import did, or would do.

    Attributes:
        counts: rows by verdict.
        is_written: whether anything was to be written; not after a refusal, nor on a dry run.
    """

    counts: Counter[Verdict] = field(default_factory=Counter)
    is_written: bool = False

    @property
    def refused(self) -> int:
        return sum(count for verdict, count in self.counts.items() if verdict.is_refusal)


def move_in(
    read: Callable[[], Iterable[Row]],
    *,
    confirmed: bool = False,
    verify: bool = False,
    skip_refused: bool = False,
    dry_run: bool = False,
    refuse: Callable[[Row, Verdict], None] = lambda row, verdict: None,
) -> Report:
    """Write a link for each row. Nothing is sent to anybody; rows without a UserID wait for ``verigator_sync``.

    Doing it twice does no harm, and after an interruption it is simply done again: what is in already stays.

    Args:
        read: returns the rows from the first one; called several times, so that they need not fit into memory.
        confirmed: the phones were confirmed by their users where they come from, so they are not replaced by the
            site's; else each is confirmed by its user's first right PIN.
        verify: refuse a UserID that is not in the provider's list.
        skip_refused: write the rows that are not refused; else nothing is written if one is.
        dry_run: check only.
        refuse: told of each row that is refused, and why.

    Raises:
        VerigatorError: the provider's list could not be read; nothing is written.
    """

    def rows() -> Iterator[Row]:
        return map(_cleaned, read())

    doubled = _doubled(rows())
    known = _known_to_the_provider() if verify else None
    report = Report()
    told: set[int] = set()
    for row, verdict in _Rules(confirmed, doubled, known).judge(rows()):
        report.counts[verdict] += 1
        if verdict.is_refusal:
            told.add(row.line)
            refuse(row, verdict)
    if dry_run or (report.refused and not skip_refused):
        return report
    written = Report(is_written=True)
    for row, verdict in _Rules(confirmed, doubled, known).write(rows()):
        written.counts[verdict] += 1
        if verdict.is_refusal and row.line not in told:
            refuse(row, verdict)
    logger.info("imported new=%s changed=%s", written.counts[Verdict.NEW], written.counts[Verdict.CHANGED])
    return written


def _doubled(rows: Iterable[Row]) -> set[tuple[str, str]]:
    """Return what stands in more than one row: both are refused, since either may be the wrong one."""
    seen: set[int] = set()  # hashes, since a file may have a million rows
    doubled: set[tuple[str, str]] = set()
    for row in rows:
        for key in _keys(row):
            if hash(key) in seen:
                doubled.add(key)
            seen.add(hash(key))
    return doubled


def _keys(row: Row) -> list[tuple[str, str]]:
    found = [("user", row.username), ("id", row.user_id), ("name", row.id_in_service)]
    return [] if row.problem else [key for key in found if key[1]]


def _known_to_the_provider() -> set[str]:
    backend = registration.record_backend()
    return {user.user_id for user in backend.users()} if backend else set()


class _Rules:
    """Judges rows, batch by batch, and writes those that pass."""

    def __init__(self, confirmed: bool, doubled: set[tuple[str, str]], known: set[str] | None) -> None:
        self._confirmed = confirmed
        self._doubled = doubled
        self._known = known
        self._backend = registration.record_backend()
        # By primary key: a site's manager may take "Bob" and "bob" for one user.
        self._users: set[Any] = set()

    def judge(self, rows: Iterable[Row]) -> Iterator[tuple[Row, Verdict]]:
        for batch in _batches(rows):
            for case in self._cases(batch):
                yield case.row, case.verdict

    def write(self, rows: Iterable[Row]) -> Iterator[tuple[Row, Verdict]]:
        using = router.db_for_write(VerigatorUser)
        for batch in _batches(rows):
            seen = set(self._users)
            cases = self._cases(batch)
            try:
                with transaction.atomic(using=using):
                    _write(cases)
            except IntegrityError:  # somebody has taken one of the users or UserIDs meanwhile
                self._users = seen
                cases = [self._write_alone(row) for row in batch]
            for case in cases:
                yield case.row, case.verdict

    def _write_alone(self, row: Row) -> _Case:
        (case,) = self._cases([row])
        try:
            with transaction.atomic(using=router.db_for_write(VerigatorUser)):
                _write([case])
        except IntegrityError:
            case.verdict = Verdict.BUSY
        return case

    def _cases(self, batch: list[Row]) -> list[_Case]:
        facts = _Facts(batch)
        return [self._case(row, facts) for row in batch]

    def _case(self, row: Row, facts: _Facts) -> _Case:
        user = facts.users.get(row.username)
        pk = user.pk if user is not None else None
        number = ""
        verdict = row.problem or self._of_user(row, user)
        if verdict is None:
            number, verdict = _number(row)
        verdict = verdict or self._of_ids(row, user, facts)
        link = facts.links.get(pk)
        if verdict is None:
            self._users.add(pk)
            verdict = self._of_link(row, user, link, number)
        return _Case(row, verdict, user, link, number, self._confirmed)

    def _of_user(self, row: Row, user: Any) -> Verdict | None:
        if user is None:
            return Verdict.UNKNOWN_USER
        if ("user", row.username) in self._doubled or user.pk in self._users:
            return Verdict.USER_TWICE
        if ("id", row.user_id) in self._doubled or ("name", row.id_in_service) in self._doubled:
            return Verdict.USER_ID_TWICE
        return None

    def _of_ids(self, row: Row, user: Any, facts: _Facts) -> Verdict | None:
        if not row.user_id:
            return Verdict.BAD_ID_IN_SERVICE if row.id_in_service else None
        if self._backend is None:
            return Verdict.NO_RECORDS
        if not _is_id(row.user_id, VerigatorUser._meta.get_field("verigator_id").max_length or 0):
            return Verdict.BAD_USER_ID
        if not _is_id(row.id_in_service or "-", _ID_LENGTH):
            return Verdict.BAD_ID_IN_SERVICE
        if self._known is not None and row.user_id not in self._known:
            return Verdict.UNKNOWN_USER_ID
        return facts.whose(row, user)

    def _of_link(self, row: Row, user: Any, link: VerigatorUser | None, number: str) -> Verdict:
        # Else the next login would put the site's number, not yet registered, in the place of this one.
        is_confirmed = self._confirmed or (link is not None and link.confirmed_at is not None)
        if not is_confirmed and registration.normalised(registration.phone_of(user)) not in ("", number):
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


@dataclass(slots=True)
class _Case:
    """A row with what was found about it."""

    row: Row
    verdict: Verdict
    user: Any = None
    link: VerigatorUser | None = None
    number: str = ""
    confirmed: bool = False

    def __repr__(self) -> str:
        return f"<_Case {self.row.line} {self.verdict.name}>"

    def values(self) -> dict[str, Any]:
        """Return what the link is to say."""
        now = timezone.now()
        values: dict[str, Any] = {}
        if self.link is None or self.link.phone_number != self.number:
            values |= {"phone_number": self.number, "state": State.PENDING, "id_in_service": None}
            values |= {"attempts": 0, "next_attempt_at": None, "leased_until": None, "last_error": ""}
        if self.row.user_id and (self.link is None or self.link.verigator_id is None):
            values |= {"verigator_id": self.row.user_id, "id_in_service": self.row.id_in_service or None}
            values |= {"state": State.REGISTERED, "registered_at": now}
            values |= {"attempts": 0, "next_attempt_at": None, "leased_until": None, "last_error": ""}
        if self.confirmed and (self.link is None or self.link.confirmed_at is None):
            values["confirmed_at"] = now
        return values


class _Facts:
    """What is stored about the users and ids of a batch."""

    def __init__(self, batch: list[Row]) -> None:
        rows = [row for row in batch if not row.problem]
        self.users = _users([row.username for row in rows])
        pks = [user.pk for user in self.users.values()]
        self.links: dict[Any, VerigatorUser] = {
            link.user_id: link for link in VerigatorUser.objects.filter(user_id__in=pks)
        }
        ids = [row.user_id for row in rows if row.user_id]
        names = [row.id_in_service for row in rows if row.id_in_service]
        self._owners: dict[tuple[str, str], Any] = {}
        self._deleted: set[tuple[str, str]] = set()
        if ids or names:
            self._read_ids(ids, names)

    def _read_ids(self, ids: list[str], names: list[str]) -> None:
        either = Q(verigator_id__in=ids) | Q(id_in_service__in=names)
        for model in (PhoneChange, VerigatorUser):
            for user_id, verigator_id, name in model.objects.filter(either).values_list(
                "user_id", "verigator_id", "id_in_service"
            ):
                # A record of a phone on its way in is nobody's until it is in force.
                owner = user_id if model is VerigatorUser else None
                self._owners |= {("id", verigator_id or ""): owner, ("name", name or ""): owner}
        for verigator_id, name in RemoteDeletion.objects.filter(either).values_list("verigator_id", "id_in_service"):
            self._deleted |= {("id", verigator_id), ("name", name)}

    def whose(self, row: Row, user: Any) -> Verdict | None:
        """Say why the ids of a row are not to be had."""
        for key in _keys(row)[1:]:
            if self._owners.get(key, user.pk) != user.pk:
                return Verdict.USER_ID_TAKEN
            if key in self._deleted:
                return Verdict.USER_ID_DELETED
        return None


def _users(names: list[str]) -> dict[str, Any]:
    model: Any = get_user_model()
    relations = registration.phone_relations()
    users = model._default_manager.all()
    if relations:
        users = users.select_related(*relations)
    found = {user.get_username(): user for user in users.filter(**{f"{model.USERNAME_FIELD}__in": names})}
    for name in names:
        if name not in found:
            # One at a time as the site's logins find them: it may take no notice of case.
            try:
                found[name] = model._default_manager.get_by_natural_key(name)
            except (model.DoesNotExist, model.MultipleObjectsReturned):
                continue
    return found


def _cleaned(row: Row) -> Row:
    row = replace(
        row, username=row.username.strip(), user_id=row.user_id.strip(), id_in_service=row.id_in_service.strip()
    )
    # NUL and half a surrogate are more than databases store.
    if not row.problem and not (row.username + row.user_id + row.id_in_service).isprintable():
        row = replace(row, problem=Verdict.ENCODING)
    return row


def _is_id(text: str, longest: int) -> bool:
    return 0 < len(text) <= longest and " " not in text


def _number(row: Row) -> tuple[str, Verdict | None]:
    try:
        number = phone.normalise(row.phone)
        limits.admit_number(number)
    except phone.InvalidPhoneError:
        return "", Verdict.BAD_PHONE
    except Refused:
        return "", Verdict.NUMBER_REFUSED
    return number, None


def _batches(rows: Iterable[Row]) -> Iterator[list[Row]]:
    rows = iter(rows)
    while batch := list(islice(rows, BATCH)):
        yield batch


def _write(cases: list[_Case]) -> None:
    """Write what the cases say; a link that changed since it was read is left alone, and its case is BUSY."""
    new = [case for case in cases if case.verdict == Verdict.NEW]
    VerigatorUser.objects.bulk_create([VerigatorUser(user_id=case.user.pk, **case.values()) for case in new])
    for case in cases:
        if case.verdict != Verdict.CHANGED or case.link is None:
            continue
        before, values = case.link, case.values()
        unleased = Q(leased_until=None) | Q(leased_until__lte=timezone.now())
        as_read = {name: getattr(before, name) for name in ("phone_number", "id_in_service", "verigator_id", "state")}
        if not VerigatorUser.objects.filter(unleased, pk=before.pk, confirmed_at=before.confirmed_at, **as_read).update(
            **values
        ):
            case.verdict = Verdict.BUSY
        elif "id_in_service" in values and values["id_in_service"] != before.id_in_service:
            # An attempt to register may have reached the provider all the same.
            registration.forget_remote(None, before.id_in_service)
