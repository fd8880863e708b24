"""The provider's list compared with what is stored here."""

from __future__ import annotations

from django.utils import timezone

from ...backends import RemoteUser
from ...models import PhoneChange, RemoteDeletion, VerigatorUser
from .. import registration

# In the order in which a record's id moves from one to the next, so that none is missed on its way.
_OWNERS = (PhoneChange, VerigatorUser, RemoteDeletion)


def compare(batch: list[RemoteUser]) -> tuple[list[RemoteUser], list[RemoteUser]]:
    """Return the records that nothing here knows, and the surplus ones.

    Unknown ones are left alone, since another site may share the service. Surplus is a record under an id that this
    site chose, where another record is the one in use or noted for deletion.
    """
    ids = [user.user_id for user in batch]
    known = {
        user_id
        for model in _OWNERS
        for user_id in model.objects.filter(verigator_id__in=ids).values_list("verigator_id", flat=True)
    }
    names: dict[str, set[str]] = {}
    for model in _OWNERS:
        rows = model.objects.filter(id_in_service__in=[user.id_in_service for user in batch])
        for name, user_id in rows.values_list("id_in_service", "verigator_id"):
            names.setdefault(name or "", set()).add(user_id or "")
    unknown = [user for user in batch if user.user_id not in known and user.id_in_service not in names]
    surplus = [
        user
        for user in batch
        if user.user_id not in known
        and user.id_in_service in names
        # "" is the UserID of a lost reply: this record may be the one.
        and not names[user.id_in_service] & {"", user.user_id}
    ]
    return unknown, surplus


def adopt(batch: list[RemoteUser]) -> None:
    """Store which of our records the provider still has, and the UserIDs of registrations whose reply was lost."""
    now = timezone.now()
    by_name = {user.id_in_service: user.user_id for user in batch}
    ours = VerigatorUser.objects.filter(id_in_service__in=by_name, verigator_id=None).select_related("user")
    for link in ours.unleased(now):
        # This site chose the id for this user and phone, so the record is ours.
        registration.mark_registered(link, by_name[link.id_in_service or ""])
    VerigatorUser.objects.filter(verigator_id__in=[user.user_id for user in batch]).update(seen_at=now)
    for row in RemoteDeletion.objects.filter(id_in_service__in=by_name, verigator_id=""):
        row.verigator_id = by_name[row.id_in_service]
        row.save(update_fields=["verigator_id"])
