"""The link between a user and the provider's record of the user's phone, and a phone number on its way in."""

from __future__ import annotations

import secrets
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.db import models
from django.db.models import F, Q
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from .. import db, phone
from .base import NumberField, PrimaryManager, QuerySet, Transitions
from .deletion import RemoteDeletion

NO_REGISTRATION: dict[str, Any] = {
    "id_in_service": None,
    "verigator_id": None,
    "registered_at": None,
    "seen_at": None,
    "attempts": 0,
    "next_attempt_at": None,
    "leased_until": None,
    "last_error": "",
    "last_error_at": None,
}
"""What a link says of a number that the provider has not seen yet."""


def new_trust_version() -> str:
    """Return a fresh value for VerigatorUser.trust_version; every session that carries the old one loses its trust."""
    return secrets.token_hex(16)


class LinkQuerySet(QuerySet["VerigatorUser"]):
    def waiting(self) -> LinkQuerySet:
        """Those that are to be registered, for the first time or again."""
        return self.filter(state__in=VerigatorUser.WAITING)

    def registered(self) -> LinkQuerySet:
        return self.filter(state=VerigatorUser.State.REGISTERED)

    def due(self, now: datetime) -> LinkQuerySet:
        return self.filter(Q(next_attempt_at=None) | Q(next_attempt_at__lte=now))

    def unleased(self, now: datetime) -> LinkQuerySet:
        """Those whose registration no worker has in hand."""
        return self.filter(Q(leased_until=None) | Q(leased_until__lte=now))

    def leasable(self, now: datetime, *, due_only: bool) -> LinkQuerySet:
        rows = self.waiting().unleased(now)
        return rows.due(now) if due_only else rows

    def without_usable_number(self) -> LinkQuerySet:
        """Those whose users must use two-factor authentication under "enrolled", and have no number for a PIN."""
        unknown = Q(state=VerigatorUser.State.NO_PHONE, last_error=VerigatorUser.PHONE_UNKNOWN)
        return self.filter(Q(state=VerigatorUser.State.FAILED) | unknown, confirmed_at=None)

    def confirmed_with(self, number: str) -> LinkQuerySet:
        return self.filter(phone_number=number, confirmed_at__isnull=False)

    def lock(self) -> int:
        """Have the rest of this transaction wait for what another one does with the same users.

        By a write: SQLite takes no lock for a read, and refuses a write that follows one.
        """
        return self.update(attempts=F("attempts"))


_LinkManager = PrimaryManager.from_queryset(LinkQuerySet)


class VerigatorUser(Transitions, models.Model):
    """The link between a user and the provider's record of the user's phone."""

    class State(models.TextChoices):
        NO_PHONE = "no_phone", _("no phone")
        PENDING = "pending", _("waiting to be registered")
        REGISTERED = "registered", _("registered")
        REPAIR = "repair", _("to be registered again")
        FAILED = "failed", _("number refused")

    WAITING = (State.PENDING, State.REPAIR)

    PHONE_UNKNOWN = "phone_unknown"
    """A ``last_error``: the site's PHONE failed, so it is not known whether the user has a phone."""
    UNREADABLE = "invalid_phone"
    """A ``last_error``: what the site has for the user is no phone number."""

    user = models.OneToOneField(
        settings.AUTH_USER_MODEL, models.CASCADE, related_name="verigator", verbose_name=_("user")
    )
    phone_number = NumberField(_("phone number"), max_length=16, blank=True, default="", db_index=True)
    # Chosen and saved before any call that carries the number; never used again for another one.
    id_in_service = models.CharField(_("id in the service"), max_length=64, unique=True, null=True, editable=False)
    verigator_id = models.CharField(
        _("UserID at the provider"), max_length=128, unique=True, null=True, blank=True, editable=False
    )
    state = models.CharField(_("state"), max_length=12, choices=State.choices, default=State.NO_PHONE)
    attempts = models.PositiveSmallIntegerField(_("failed attempts"), default=0, editable=False)
    next_attempt_at = models.DateTimeField(_("next attempt"), null=True, editable=False)
    # Until then one worker has this row's registration in hand.
    leased_until = models.DateTimeField(null=True, editable=False)
    last_error = models.CharField(_("last error"), max_length=32, blank=True, default="", editable=False)
    last_error_at = models.DateTimeField(_("last error at"), null=True, editable=False)
    # When the provider's list was last seen to hold this record.
    seen_at = models.DateTimeField(_("last seen at the provider"), null=True, editable=False)
    registered_at = models.DateTimeField(_("registered at"), null=True, editable=False)
    confirmed_at = models.DateTimeField(_("phone confirmed at"), null=True, editable=False)
    consecutive_failures = models.PositiveSmallIntegerField(_("wrong PINs in a row"), default=0, editable=False)
    locked_until = models.DateTimeField(_("locked until"), null=True, editable=False)
    # The password (as its session hash) at the last wrong PIN: another one since then was set by a completed reset.
    failures_auth_hash = models.CharField(max_length=128, blank=True, default="", editable=False)
    # The column has its first name, which code from before 0.1.0 writes.
    trust_version = models.CharField(db_column="epoch", max_length=32, default=new_trust_version, editable=False)
    # Of the keyed HMACs of the PINs accepted last, newest first, eight digits each: none is accepted twice.
    last_pin = models.CharField(max_length=64, blank=True, default="", editable=False)
    last_pin_at = models.DateTimeField(null=True, editable=False)
    # Keyed digest of the number the site had when the user settled on another one: that is no proposal any more.
    # With a default in the database, so that code from before this column can still insert.
    site_phone_digest = models.CharField(max_length=64, blank=True, default="", db_default="", editable=False)
    created_at = models.DateTimeField(_("created"), default=timezone.now, editable=False)

    objects = _LinkManager()

    class Meta:
        base_manager_name = "objects"
        verbose_name = _("phone link")
        verbose_name_plural = _("phone links")
        indexes = [
            models.Index(fields=["state", "next_attempt_at"], name="verigator_due"),
            # What the admin counts at a glance.
            models.Index(fields=["state", "last_error"], name="verigator_glance"),
        ]
        permissions = [("reset_second_factor", _("Can reset a user's second factor, unlock it and issue a code"))]

    def __str__(self) -> str:
        return f"{self.user_id}: {self.get_state_display()}"

    def __repr__(self) -> str:
        return f"<VerigatorUser user={self.user_id} state={self.state}>"

    @property
    def masked_phone(self) -> str:
        return phone.mask(self.phone_number)

    @property
    def has_usable_phone(self) -> bool:
        """A number that the provider refused from the first can receive nothing; one that it ever took can."""
        was_refused = self.state == self.State.FAILED and self.confirmed_at is None and self.registered_at is None
        return bool(self.phone_number) and not was_refused

    @property
    def phone_in_force(self) -> str:
        return self.phone_number if self.has_usable_phone else ""

    def reload(self) -> bool:
        """Show what is stored; False if the user has been deleted meanwhile."""
        try:
            self.refresh_from_db()
        except VerigatorUser.DoesNotExist:
            return False
        return True

    def lease(self, seconds: int, id_in_service: str, *, due_only: bool) -> bool:
        """Take the registration in hand for some seconds, under this id if there is none yet.

        The number and the id are conditions: neither may change while a reply to them can still come.
        """
        now = timezone.now()
        values = {"leased_until": now + timedelta(seconds=seconds), "id_in_service": id_in_service}
        rows = VerigatorUser.objects.leasable(now, due_only=due_only).filter(pk=self.pk)
        if not rows.filter(phone_number=self.phone_number, id_in_service=self.id_in_service).update(**values):
            return False
        self.show(values)
        return True

    def replace_id(self, fresh: str) -> None:
        """Give up the id in the service, under which the provider may have a record, for a fresh one."""
        used = self.id_in_service  # read before a first try that is rolled back

        def replace() -> None:
            with db.atomic():
                if self.transition({"id_in_service": fresh}, id_in_service=used):
                    RemoteDeletion.objects.schedule(None, used)

        db.retry_on_deadlock(replace)
        self.id_in_service = fresh

    def mark_registered(self, user_id: str) -> bool:
        """Store the provider's UserID; False if the user is gone, or has another phone by now.

        Raises:
            IntegrityError: another link has this UserID.
        """

        def mark() -> bool:
            with db.atomic():
                return self.transition(self.registered_values(user_id), id_in_service=self.id_in_service)

        return db.retry_on_deadlock(mark)

    @classmethod
    def registered_values(cls, user_id: Any) -> dict[str, Any]:
        """Return what a link says once the provider has given it this UserID (a string, or an expression)."""
        return {
            "verigator_id": user_id,
            "state": cls.State.REGISTERED,
            "registered_at": timezone.now(),
            "attempts": 0,
            "next_attempt_at": None,
            "leased_until": None,
            "last_error": "",
        }

    def mark_lost(self) -> bool:
        """Note that the provider has lost the record: it is made again, under a fresh id, for the phone in force."""
        lost: dict[str, Any] = {"state": self.State.REPAIR, "verigator_id": None, "id_in_service": None}
        lost |= {"next_attempt_at": None, "attempts": 0}
        return self.transition(lost, verigator_id=self.verigator_id, state=self.State.REGISTERED)

    def forget_registration(self, values: dict[str, Any], **lookups: Any) -> bool:
        """Write ``values``, say that nothing is registered, and schedule the provider's record for deletion.

        Args:
            lookups: what must still be stored, or nothing is written.
        """
        old = (self.verigator_id, self.id_in_service)  # read before a first try that is rolled back

        def forget() -> bool:
            with db.atomic():
                changed = self.transition({**NO_REGISTRATION, **values}, **lookups)
                if changed:
                    RemoteDeletion.objects.schedule(*old)
                return changed

        return db.retry_on_deadlock(forget)


class PhoneChangeQuerySet(QuerySet["PhoneChange"]):
    def discard(self) -> None:
        """Delete phones that are on their way in, and schedule the records that the provider may have of them."""
        for change in self:
            change.discard()


_PhoneChangeManager = PrimaryManager.from_queryset(PhoneChangeQuerySet)


class PhoneChange(Transitions, models.Model):
    """A phone number on its way in; it counts only after a PIN sent to it came back."""

    user = models.OneToOneField(settings.AUTH_USER_MODEL, models.CASCADE, related_name="+")
    phone_number = NumberField(max_length=16)
    # The number that was in force when this one was proposed; another one by now has not agreed to be replaced.
    replaces = NumberField(max_length=16, blank=True, default="")
    id_in_service = models.CharField(max_length=64, unique=True)
    verigator_id = models.CharField(max_length=128, unique=True, null=True)
    created_at = models.DateTimeField(default=timezone.now)
    expires_at = models.DateTimeField()

    objects = _PhoneChangeManager()

    class Meta:
        base_manager_name = "objects"
        verbose_name = _("change of phone")
        verbose_name_plural = _("changes of phone")

    def __str__(self) -> str:
        return f"{self.user_id}: {phone.mask(self.phone_number)}"

    def __repr__(self) -> str:
        return f"<PhoneChange user={self.user_id}>"

    def discard(self) -> None:
        RemoteDeletion.objects.schedule(self.verigator_id, self.id_in_service)
        self.delete()
