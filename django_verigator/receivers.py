"""Receivers of Django's signals: a user is saved, logs in or out, a link is deleted."""

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

# Logins and rehashes write these; the user's phone does not depend on them.
_WITHOUT_PHONE = frozenset({"last_login", "password"})


def user_saved(
    sender: type, instance: Any, *, using: str, raw: bool = False, update_fields: Any = None, **kwargs: Any
) -> None:
    """Write the link of a saved user, and register it on commit."""
    if raw or not _is_our_user(sender, using):  # fixtures are left to sync
        return
    if update_fields is not None and _WITHOUT_PHONE.issuperset(update_fields):
        return
    dispatching.on_user_saved(instance)


def user_saves(
    sender: type, instance: Any, *, using: str, raw: bool = False, update_fields: Any = None, **kwargs: Any
) -> None:
    """Keep a stop after too many wrong PINs where a newer hasher stores the same password again."""
    if raw or not _is_our_user(sender, using):
        return
    is_chosen = getattr(instance, "_password", None) is not None  # by set_password()
    is_rehash = update_fields is not None and set(update_fields) == {"password"}
    if instance.pk is not None and not instance._state.adding and (is_chosen or is_rehash):
        try:
            with db.atomic():
                lockout.keep_over_rehash(instance)
        except Exception as error:  # noqa: BLE001 - a save never fails because of us
            events.site_failed("link_failed", instance, error)


def _is_our_user(sender: type, using: str) -> bool:
    # Not get_user_model(), which tests change; and a subclass, since proxies and children are senders of their own.
    user_model: Any = VerigatorUser._meta.get_field("user").related_model
    # A row of another database (an archive, another tenant) may have the primary key of one of our users.
    return issubclass(sender, user_model) and using == router.db_for_write(get_user_model())


def link_deleted(sender: type, instance: VerigatorUser, *, using: str, **kwargs: Any) -> None:
    """Schedule the deletion of a link's records at the provider, in the transaction that deletes the link."""
    if using != db.alias():
        return
    # pre_delete comes before the rows of phone changes are gone.
    VerigatorUser.objects.filter(user_id=instance.user_id).lock()
    # A registration may have been under way since ``instance`` was read.
    rows = VerigatorUser.objects.filter(pk=instance.pk)
    for verigator_id, id_in_service in rows.values_list("verigator_id", "id_in_service"):
        RemoteDeletion.objects.schedule(verigator_id, id_in_service)
    for change in PhoneChange.objects.filter(user_id=instance.user_id):
        RemoteDeletion.objects.schedule(change.verigator_id, change.id_in_service)


def logged_in(sender: type, request: Any, user: AbstractBaseUser, **kwargs: Any) -> None:
    """Have the guard check a new login; without the middleware, end the proof of the login before it."""
    session = getattr(request, "session", None)
    if session is None:
        return
    if hasattr(request, "verigator"):
        request.verigator.note_login(session, user)
    else:
        drop_old_proof(session, user)


def logged_out(sender: type, request: Any, **kwargs: Any) -> None:
    """End the trust of the guard, and the pending login."""
    if hasattr(request, "verigator"):
        request.verigator.allowed_pk = None
        login.cancel(request)


def connect() -> None:
    """Connect the receivers; more than once has no effect."""
    pre_save.connect(user_saves, dispatch_uid="django_verigator.user_saves")
    post_save.connect(user_saved, dispatch_uid="django_verigator.user_saved")
    pre_delete.connect(link_deleted, sender=VerigatorUser, dispatch_uid="django_verigator.link_deleted")
    user_logged_in.connect(logged_in, dispatch_uid="django_verigator.logged_in")
    user_logged_out.connect(logged_out, dispatch_uid="django_verigator.logged_out")
