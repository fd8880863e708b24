"""The rows of an import with what is stored about their users and ids."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.contrib.auth import get_user_model
from django.db.models import Q
from django.utils import timezone

from ..models import PhoneChange, RemoteDeletion, VerigatorUser
from ..models.link import NO_REGISTRATION
from . import import_rows, site_phones
from .import_rows import Row, Verdict
from .links import State

_DECISIVE = ("phone_number", "id_in_service", "verigator_id", "state", "confirmed_at")
"""What a verdict rests on: a link is written only while these fields are stored as they were read."""


@dataclass(slots=True)
class Case:
    """A row with what is stored about its user."""

    row: Row
    verdict: Verdict
    user: Any = None
    link: VerigatorUser | None = None
    number: str = ""
    confirmed: bool = False

    def __repr__(self) -> str:
        return f"<Case {self.row.line} {self.verdict.name}>"

    def values(self) -> dict[str, Any]:
        """Return the fields of the link to write."""
        now = timezone.now()
        values: dict[str, Any] = {}
        if self.link is None or self.link.phone_number != self.number:
            values |= {**NO_REGISTRATION, "phone_number": self.number, "state": State.PENDING}
        if self.row.user_id and (self.link is None or self.link.verigator_id is None):
            values |= VerigatorUser.registered_values(self.row.user_id)
            values["id_in_service"] = self.row.id_in_service or None
        if self.confirmed and (self.link is None or self.link.confirmed_at is None):
            values["confirmed_at"] = now
        return values


class Facts:
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
                # The record of a phone change has no owner before the phone is in force.
                owner = user_id if model is VerigatorUser else None
                self._owners |= {("id", verigator_id or ""): owner, ("name", name or ""): owner}
        for verigator_id, name in RemoteDeletion.objects.filter(either).values_list("verigator_id", "id_in_service"):
            self._deleted |= {("id", verigator_id), ("name", name)}

    def id_conflict(self, row: Row, user: Any) -> Verdict | None:
        """Return why the user cannot have the ids of a row, or None."""
        for key in import_rows.keys(row)[1:]:
            if self._owners.get(key, user.pk) != user.pk:
                return Verdict.USER_ID_TAKEN
            if key in self._deleted:
                return Verdict.USER_ID_DELETED
        return None


def _users(names: list[str]) -> dict[str, Any]:
    model: Any = get_user_model()
    relations = site_phones.phone_relations()
    users = model._default_manager.all()
    if relations:
        users = users.select_related(*relations)
    found = {user.get_username(): user for user in users.filter(**{f"{model.USERNAME_FIELD}__in": names})}
    for name in names:
        if name not in found:
            # As the site's logins find users, one at a time: its manager may ignore case.
            try:
                found[name] = model._default_manager.get_by_natural_key(name)
            except (model.DoesNotExist, model.MultipleObjectsReturned):
                continue
    return found


def write(cases: list[Case]) -> None:
    """Write the cases; where a link has changed since it was read, it is left alone and the case becomes BUSY."""
    new = [case for case in cases if case.verdict == Verdict.NEW]
    VerigatorUser.objects.bulk_create([VerigatorUser(user_id=case.user.pk, **case.values()) for case in new])
    for case in cases:
        if case.verdict != Verdict.CHANGED or case.link is None:
            continue
        before, values = case.link, case.values()
        as_read = {name: getattr(before, name) for name in _DECISIVE}
        if not VerigatorUser.objects.unleased(timezone.now()).filter(pk=before.pk, **as_read).update(**values):
            case.verdict = Verdict.BUSY
        elif "id_in_service" in values and values["id_in_service"] != before.id_in_service:
            # A registration under the old id may have reached the provider.
            RemoteDeletion.objects.schedule(None, before.id_in_service)
