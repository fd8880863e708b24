"""The link between a user and the provider's record of the user's phone, and the change of that phone."""

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
from .base import AttemptsQuerySet, NumberField, PrimaryManager, QuerySet, Transitions
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
"""The values of a link whose number the provider has no record of."""


def new_trust_version() -> str:
    """Return a random value for VerigatorUser.trust_version; a proof that carries an older one is void."""
    return secrets.token_hex(16)


class LinkQuerySet(AttemptsQuerySet["VerigatorUser"]):
    def waiting(self) -> LinkQuerySet:
        """Select those to be registered, for the first time or again."""
        return self.filter(state__in=VerigatorUser.WAITING)

    def registered(self) -> LinkQuerySet:
        return self.filter(state=VerigatorUser.State.REGISTERED)

    def unleased(self, now: datetime) -> LinkQuerySet:
        """Select those whose registration no worker holds a lease on."""
        return self.filter(Q(leased_until=None) | Q(leased_until__lte=now))

    def leasable(self, now: datetime, *, due_only: bool) -> LinkQuerySet:
        rows = self.waiting().unleased(now)
        return rows.due(now) if due_only else rows

    def without_usable_number(self) -> LinkQuerySet:
        """Select those whose users must use two-factor authentication under "enrolled" but have no usable number."""
        unknown = Q(state=VerigatorUser.State.NO_PHONE, last_error=VerigatorUser.PHONE_UNKNOWN)
        return self.filter(Q(state=VerigatorUser.State.FAILED) | unknown, confirmed_at=None)

    def confirmed_with(self, number: str) -> LinkQuerySet:
        return self.filter(phone_number=number, confirmed_at__isnull=False)

    def lock(self) -> int:
        """Lock the rows until the end of the transaction.

        By a write: SQLite takes no lock for a read, and may refuse a write that follows one.
        """
        return self.update(attempts=F("attempts"))

    lock.alters_data = True  # type: ignore[attr-defined]


_LinkManager = PrimaryManager.from_queryset(LinkQuerySet)


class VerigatorUser(Transitions, models.Model):
    """The link between a user and the provider's record of the user's phone; also the state of the second factor."""

    class State(models.TextChoices):
        NO_PHONE = "no_phone", _("no phone")
        PENDING = "pending", _("waiting to be registered")
        REGISTERED = "registered", _("registered")
        REPAIR = "repair", _("to be registered again")
        FAILED = "failed", _("number refused")

    WAITING = (State.PENDING, State.REPAIR)

    PHONE_UNKNOWN = "phone_unknown"
    """A ``last_error``: the site's PHONE failed, so whether the user has a phone is not known."""
    UNREADABLE = "invalid_phone"
    """A ``last_error``: the site's value for the user is no phone number."""

    user = models.OneToOneField(
        settings.AUTH_USER_MODEL, models.CASCADE, related_name="verigator", verbose_name=_("user")
    )
    phone_number = NumberField(_("phone number"), max_length=16, blank=True, default="", db_index=True)
    # Saved before any call that carries the number, and never used for another number.
    id_in_service = models.CharField(_("id in the service"), max_length=64, unique=True, null=True, editable=False)
    verigator_id = models.CharField(
        _("UserID at the provider"), max_length=128, unique=True, null=True, blank=True, editable=False
    )
    state = models.CharField(_("state"), max_length=12, choices=State.choices, default=State.NO_PHONE)
    attempts = models.PositiveSmallIntegerField(_("failed attempts"), default=0, editable=False)
    next_attempt_at = models.DateTimeField(_("next attempt"), null=True, editable=False)
    # Until then one worker alone may register this user.
    leased_until = models.DateTimeField(null=True, editable=False)
    last_error = models.CharField(_("last error"), max_length=32, blank=True, default="", editable=False)
    last_error_at = models.DateTimeField(_("last error at"), null=True, editable=False)
    # When the provider's list last contained the record.
    seen_at = models.DateTimeField(_("last seen at the provider"), null=True, editable=False)
    registered_at = models.DateTimeField(_("registered at"), null=True, editable=False)
    confirmed_at = models.DateTimeField(_("phone confirmed at"), null=True, editable=False)
    consecutive_failures = models.PositiveSmallIntegerField(_("wrong PINs in a row"), default=0, editable=False)
    locked_until = models.DateTimeField(_("locked until"), null=True, editable=False)
    # The session auth hash at the last wrong PIN: a new password ends the lockout for wrong PINs in a row.
    failures_auth_hash = models.CharField(max_length=128, blank=True, default="", editable=False)
    # Code from before 0.1.0 writes the column under its first name.
    trust_version = models.CharField(db_column="epoch", max_length=32, default=new_trust_version, editable=False)
    # Eight hex digits of the keyed digest of each PIN accepted last, newest first: none is accepted twice.
    last_pin = models.CharField(max_length=64, blank=True, default="", editable=False)
    last_pin_at = models.DateTimeField(null=True, editable=False)
    # Keyed digest of the site's number that the user declined, so that it is not proposed again.
    # The database has the default, so that code from before this column can insert rows.
    site_phone_digest = models.CharField(max_length=64, blank=True, default="", db_default="", editable=False)
    created_at = models.DateTimeField(_("created"), default=timezone.now, editable=False)

    objects = _LinkManager()

    class Meta:
        base_manager_name = "objects"
        verbose_name = _("phone link")
        verbose_name_plural = _("phone links")
        indexes = [
            models.Index(fields=["state", "next_attempt_at"], name="verigator_due"),
            # For the counts in the admin.
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
        """Whether a code can be sent to the number: the provider did not refuse it from the start."""
        was_refused = self.state == self.State.FAILED and self.confirmed_at is None and self.registered_at is None
        return bool(self.phone_number) and not was_refused

    @property
    def phone_in_force(self) -> str:
        """Return the number that codes go to, or ""."""
        return self.phone_number if self.has_usable_phone else ""

    def reload(self) -> bool:
        """Read the row again; return False if the user was deleted meanwhile."""
        try:
            self.refresh_from_db()
        except VerigatorUser.DoesNotExist:
            return False
        return True

    def lease(self, seconds: int, id_in_service: str, *, due_only: bool) -> bool:
        """Take a lease on the registration: until it ends, no other worker registers this user.

        Args:
            seconds: how long the lease lasts.
            id_in_service: the id to register under; the same as stored, unless none is.
            due_only: only if the next attempt is due.

        Returns:
            False if another worker holds a lease, or the number or the id has changed: the reply must belong to both.
        """
        now = timezone.now()
        values = {"leased_until": now + timedelta(seconds=seconds), "id_in_service": id_in_service}
        rows = VerigatorUser.objects.leasable(now, due_only=due_only).filter(pk=self.pk)
        if not rows.filter(phone_number=self.phone_number, id_in_service=self.id_in_service).update(**values):
            return False
        self.show(values)
        return True

    def replace_id(self, fresh: str) -> None:
        """Replace the id in service by a fresh one, and schedule the record under the old one for deletion."""

        def store_fresh_id() -> None:
            with db.atomic():
                if self._row(id_in_service=self.id_in_service).update(id_in_service=fresh):
                    RemoteDeletion.objects.schedule(None, self.id_in_service)

        db.retry_on_deadlock(store_fresh_id)
        self.id_in_service = fresh

    def mark_registered(self, user_id: str) -> bool:
        """Store the provider's UserID; return False if the user is gone, or now has another phone.

        Raises:
            IntegrityError: another link has this UserID.
        """

        values = self.registered_values(user_id)

        def store_user_id() -> int:
            with db.atomic():
                return self._row(id_in_service=self.id_in_service).update(**values)

        return self._show_if(db.retry_on_deadlock(store_user_id), values)

    @classmethod
    def registered_values(cls, user_id: Any) -> dict[str, Any]:
        """Return the values of a registered link.

        Args:
            user_id: the provider's UserID, or an expression for it.
        """
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
        """Mark the link to be registered again under a fresh id, since the provider has lost the record.

        Returns:
            False if the link is no longer registered under this UserID.
        """
        lost: dict[str, Any] = {"state": self.State.REPAIR, "verigator_id": None, "id_in_service": None}
        lost |= {"next_attempt_at": None, "attempts": 0}
        return self.transition(lost, verigator_id=self.verigator_id, state=self.State.REGISTERED)

    mark_lost.alters_data = True  # type: ignore[attr-defined]

    def forget_registration(self, values: dict[str, Any], **lookups: Any) -> bool:
        """Write ``values`` with NO_REGISTRATION, and schedule the provider's record for deletion.

        Args:
            lookups: what the stored row must match, or nothing is written.

        Returns:
            Whether it matched.
        """
        values = {**NO_REGISTRATION, **values}

        def clear_registration() -> int:
            with db.atomic():
                changed = self._row(**lookups).update(**values)
                if changed:
                    RemoteDeletion.objects.schedule(self.verigator_id, self.id_in_service)
                return changed

        return self._show_if(db.retry_on_deadlock(clear_registration), values)


class PhoneChangeQuerySet(QuerySet["PhoneChange"]):
    def discard(self) -> None:
        """Delete phone changes, and schedule the deletion of their records at the provider."""
        for change in self:
            change.discard()

    discard.alters_data = True  # type: ignore[attr-defined]


_PhoneChangeManager = PrimaryManager.from_queryset(PhoneChangeQuerySet)


class PhoneChange(Transitions, models.Model):
    """A new phone number, which replaces the one in force once a PIN sent to it is confirmed."""

    user = models.OneToOneField(settings.AUTH_USER_MODEL, models.CASCADE, related_name="+")
    phone_number = NumberField(max_length=16)
    # The number in force when the change began; the change may replace no other one.
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
        """Delete the change, and schedule the deletion of its record at the provider."""
        RemoteDeletion.objects.schedule(self.verigator_id, self.id_in_service)
        self.delete()

    discard.alters_data = True  # type: ignore[attr-defined]
