"""What the app does when a user is saved, a link is deleted, or somebody logs out."""

from __future__ import annotations

from typing import Any

from django.contrib.auth import get_user_model
from django.contrib.auth.base_user import AbstractBaseUser
from django.contrib.auth.signals import user_logged_in, user_logged_out
from django.db import router
from django.db.models.signals import post_save, pre_delete, pre_save

from . import db, events
from .flows import lockout, login
from .flows.session import drop_old_proof
from .models import PhoneChange, RemoteDeletion, VerigatorUser
from .records import dispatching

# A login writes one of these; it never changes where a phone comes from.
_NOTHING_TO_DO = frozenset({"last_login", "password"})


# A row of another database (an archive, another tenant's) may have the primary key of somebody here.


def user_saved(
    sender: type, instance: Any, *, using: str, raw: bool = False, update_fields: Any = None, **kwargs: Any
) -> None:
    # Fixtures are left to sync.
    if raw or not _is_user_model(sender) or using != router.db_for_write(get_user_model()):
        return
    if update_fields is not None and _NOTHING_TO_DO.issuperset(update_fields):
        return
    dispatching.on_user_saved(instance)


def user_saves(
    sender: type, instance: Any, *, using: str, raw: bool = False, update_fields: Any = None, **kwargs: Any
) -> None:
    if raw or not _is_user_model(sender) or using != router.db_for_write(get_user_model()):
        return
    is_chosen = getattr(instance, "_password", None) is not None  # by set_password()
    is_stored_anew = update_fields is not None and set(update_fields) == {"password"}
    if instance.pk is not None and not instance._state.adding and (is_chosen or is_stored_anew):
        try:
            with db.atomic():
                lockout.keep_over_rehash(instance)
        except Exception as error:  # noqa: BLE001 - a save never fails because of us
            events.site_failed("link_failed", instance, error)


def _is_user_model(sender: type) -> bool:
    # Proxies and children of the user model are senders of their own. The model that our rows point to, and not the one
    # that the settings name by now: tests (Django's own too) put another one into them, or have none installed.
    user_model: Any = VerigatorUser._meta.get_field("user").related_model
    return issubclass(sender, user_model)


def link_deleted(sender: type, instance: VerigatorUser, *, using: str, **kwargs: Any) -> None:
    if using != db.alias():
        return
    # In the transaction that deletes the rows: rolled back together, and the provider is not asked now. Sent before
    # anything is gone, so that a phone on its way is seen as well.
    VerigatorUser.objects.filter(user_id=instance.user_id).lock()
    # A registration may have been under way since ``instance`` was read.
    rows = VerigatorUser.objects.filter(pk=instance.pk)
    for verigator_id, id_in_service in rows.values_list("verigator_id", "id_in_service"):
        RemoteDeletion.objects.schedule(verigator_id, id_in_service)
    for change in PhoneChange.objects.filter(user_id=instance.user_id):
        RemoteDeletion.objects.schedule(change.verigator_id, change.id_in_service)


def logged_in(sender: type, request: Any, user: AbstractBaseUser, **kwargs: Any) -> None:
    session = getattr(request, "session", None)
    if session is None:
        return
    if hasattr(request, "verigator"):
        request.verigator.note_login(session, user)
    else:
        drop_old_proof(session, user)


def logged_out(sender: type, request: Any, **kwargs: Any) -> None:
    if hasattr(request, "verigator"):
        request.verigator.allowed_pk = None
        login.cancel(request)


def connect() -> None:
    pre_save.connect(user_saves, dispatch_uid="django_verigator.user_saves")
    post_save.connect(user_saved, dispatch_uid="django_verigator.user_saved")
    pre_delete.connect(link_deleted, sender=VerigatorUser, dispatch_uid="django_verigator.link_deleted")
    user_logged_in.connect(logged_in, dispatch_uid="django_verigator.logged_in")
    user_logged_out.connect(logged_out, dispatch_uid="django_verigator.logged_out")
