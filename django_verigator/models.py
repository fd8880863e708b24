"""What is stored: the link to the provider, each challenge and its checking, the counters, and what to delete there.

A PIN is never stored, a phone number in full only on the link and on a change of it that is under way.
"""

from __future__ import annotations

import secrets
import uuid
from datetime import datetime
from typing import Any, TypeVar

from django.conf import settings
from django.db import models, router
from django.utils import timezone
from django.utils.encoding import iri_to_uri
from django.utils.translation import gettext_lazy as _

from . import phone
from .hidden import HiddenText

_M = TypeVar("_M", bound=models.Model)


def new_epoch() -> str:
    """Return a fresh value for VerigatorUser.epoch; every session that carries the old one loses its trust."""
    return secrets.token_hex(16)


class PrimaryManager(models.Manager[_M]):
    """Reads from the database that is written to: a replica that lags must not show an old try or an old lock.

    Named as ``base_manager_name`` as well, for ``refresh_from_db()`` and ``user.verigator``.
    """

    def get_queryset(self) -> models.QuerySet[_M]:
        return super().get_queryset().using(self._db or router.db_for_write(self.model))


class _NumberField(models.CharField):  # type: ignore[type-arg]
    """A phone number, read as one that does not show itself; for migrations and databases a CharField."""

    def from_db_value(self, value: str | None, *args: Any) -> str | None:
        return HiddenText(value) if value else value

    def deconstruct(self) -> Any:
        name, _path, args, kwargs = super().deconstruct()
        return name, "django.db.models.CharField", args, kwargs


class VerigatorUser(models.Model):
    """The link between a user and the provider's record of the user's phone."""

    class State(models.TextChoices):
        NO_PHONE = "no_phone", _("no phone")
        PENDING = "pending", _("waiting to be registered")
        REGISTERED = "registered", _("registered")
        REPAIR = "repair", _("to be registered again")
        FAILED = "failed", _("number refused")

    user = models.OneToOneField(
        settings.AUTH_USER_MODEL, models.CASCADE, related_name="verigator", verbose_name=_("user")
    )
    phone_number = _NumberField(_("phone number"), max_length=16, blank=True, default="", db_index=True)
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
    epoch = models.CharField(max_length=32, default=new_epoch, editable=False)
    # Of the keyed HMACs of the PINs accepted last, newest first, eight digits each: none is accepted twice.
    last_pin = models.CharField(max_length=64, blank=True, default="", editable=False)
    last_pin_at = models.DateTimeField(null=True, editable=False)
    # Keyed digest of the number the site had when the user settled on another one: that is no proposal any more.
    # With a default in the database, so that code from before this column can still insert.
    site_phone_digest = models.CharField(max_length=64, blank=True, default="", db_default="", editable=False)
    created_at = models.DateTimeField(_("created"), default=timezone.now, editable=False)

    objects = PrimaryManager()

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


class PhoneChange(models.Model):
    """A phone number on its way in; it counts only after a PIN sent to it came back."""

    user = models.OneToOneField(settings.AUTH_USER_MODEL, models.CASCADE, related_name="+")
    phone_number = _NumberField(max_length=16)
    # The number that was in force when this one was proposed; another one by now has not agreed to be replaced.
    replaces = _NumberField(max_length=16, blank=True, default="")
    id_in_service = models.CharField(max_length=64, unique=True)
    verigator_id = models.CharField(max_length=128, unique=True, null=True)
    created_at = models.DateTimeField(default=timezone.now)
    expires_at = models.DateTimeField()

    objects = PrimaryManager()

    class Meta:
        base_manager_name = "objects"
        verbose_name = _("change of phone")
        verbose_name_plural = _("changes of phone")

    def __str__(self) -> str:
        return f"{self.user_id}: {phone.mask(self.phone_number)}"

    def __repr__(self) -> str:
        return f"<PhoneChange user={self.user_id}>"


class _UrlField(models.TextField):  # type: ignore[type-arg]
    """A URL in ASCII, percent-encoded: not every database takes every character that can be typed into one."""

    def get_prep_value(self, value: Any) -> Any:
        return super().get_prep_value(iri_to_uri(value))

    def deconstruct(self) -> Any:
        name, _path, args, kwargs = super().deconstruct()
        return name, "django.db.models.TextField", args, kwargs


class Challenge(models.Model):
    """One start and its checking: to whom, how, tried how often, with what outcome. Also the audit log.

    The challenges of one pending login share a nonce, which the browser holds in a cookie; the one with the highest
    step is in force. A row without ``sent_at`` waits for its user to ask for a PIN.
    """

    class Purpose(models.TextChoices):
        LOGIN = "login", _("login")
        PHONE = "phone", _("confirm a phone")
        STEP_UP = "step_up", _("prove again")

    class Outcome(models.TextChoices):
        WAITING = "waiting", _("nothing sent yet")
        SENDING = "sending", _("being sent")
        SENT = "sent", _("sent")
        UNCLEAR = "unclear", _("perhaps sent")
        UNAVAILABLE = "unavailable", _("provider not available")
        REFUSED = "refused", _("not sent")
        VERIFIED = "verified", _("verified")
        CANCELLED = "cancelled", _("cancelled")
        EXPIRED = "expired", _("expired")
        THROTTLED = "throttled", _("too many tries")

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    user = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE, related_name="+", verbose_name=_("user"))
    purpose = models.CharField(_("purpose"), max_length=8, choices=Purpose.choices, default=Purpose.LOGIN)
    outcome = models.CharField(_("outcome"), max_length=12, choices=Outcome.choices, default=Outcome.WAITING)
    # Why a limit or a rule has let nothing be sent, in a word of flows/refusals.py.
    refusal = models.CharField(
        _("not sent because"), max_length=24, blank=True, default="", db_default="", editable=False
    )

    # The pending login this challenge belongs to; carried over to the next step.
    nonce_digest = models.CharField(max_length=64, editable=False)
    step = models.PositiveSmallIntegerField(default=1, editable=False)
    # Codes that were sent for this login before this one.
    sends = models.PositiveSmallIntegerField(default=0, editable=False)
    # The authentication backend that took the password; "" if completing this logs nobody in.
    auth_backend = models.CharField(max_length=255, blank=True, default="", editable=False)
    auth_hash = models.CharField(max_length=128, blank=True, editable=False)
    epoch = models.CharField(max_length=32, editable=False)
    next_url: models.TextField[str, str] = _UrlField(blank=True, default="", editable=False)
    password_given = models.BooleanField(default=False, editable=False)
    started_at = models.DateTimeField(_("login began"), default=timezone.now, editable=False)

    # The start at the provider.
    backend = models.CharField(_("provider"), max_length=64, blank=True, default="", editable=False)
    verigator_id = models.CharField(max_length=128, blank=True, default="", editable=False)
    requested_method = models.CharField(max_length=8, blank=True, default="", editable=False)
    method = models.CharField(_("method"), max_length=8, blank=True, default="", editable=False)
    reference = models.CharField(max_length=255, blank=True, default="", editable=False)
    # Keyed digest of provider and reference, so that no two users wait for the PIN of one; NULL where there is none.
    reference_digest = models.CharField(max_length=64, unique=True, null=True, editable=False)
    phone_digest = models.CharField(max_length=64, blank=True, default="", editable=False)
    masked_phone = models.CharField(_("phone"), max_length=16, blank=True, default="", editable=False)
    phone_change = models.ForeignKey(PhoneChange, models.SET_NULL, null=True, related_name="+", editable=False)
    ip = models.GenericIPAddressField(_("address"), null=True, editable=False)
    created_at = models.DateTimeField(_("created"), default=timezone.now, editable=False, db_index=True)
    sent_at = models.DateTimeField(_("sent"), null=True, editable=False)
    expires_at = models.DateTimeField(_("expires"), null=True, editable=False)
    resend_at = models.DateTimeField(null=True, editable=False)

    # Its checking.
    tries = models.PositiveSmallIntegerField(_("tries"), default=0, editable=False)
    # Keyed digest of the form that was posted last: loaded again it costs no other try.
    last_form = models.CharField(max_length=64, blank=True, default="", db_default="", editable=False)
    superseded_at = models.DateTimeField(_("replaced by a newer one"), null=True, editable=False)
    consumed_at = models.DateTimeField(_("ended"), null=True, editable=False)

    objects = PrimaryManager()

    class Meta:
        base_manager_name = "objects"
        verbose_name = _("challenge")
        verbose_name_plural = _("challenges")
        constraints = [
            # Of parallel resends only one can insert the next step, so only one is sent.
            models.UniqueConstraint(fields=["nonce_digest", "step"], name="verigator_one_next_step")
        ]

    def __str__(self) -> str:
        return f"{self.get_purpose_display()}: {self.get_outcome_display()}"

    def __repr__(self) -> str:
        return f"<Challenge {self.pk} user={self.user_id} {self.outcome}>"

    @property
    def is_open(self) -> bool:
        return self.consumed_at is None and self.superseded_at is None

    def is_running(self, now: datetime) -> bool:
        """Whether a PIN for it can still be tried: sent, not expired, not ended."""
        return self.is_open and self.sent_at is not None and self.expires_at is not None and self.expires_at > now


class Counter(models.Model):
    """How often something happened in a window of time that began with its first event."""

    # Keyed digest over scope and value: no phone number or address can be read from the table.
    digest = models.CharField(max_length=64, primary_key=True)
    scope = models.CharField(_("what is counted"), max_length=32)
    count = models.PositiveIntegerField(_("count"), default=0)
    expires_at = models.DateTimeField(_("window ends"), db_index=True)

    objects = PrimaryManager()

    class Meta:
        base_manager_name = "objects"
        verbose_name = _("counter")
        verbose_name_plural = _("counters")

    def __str__(self) -> str:
        return f"{self.scope}: {self.count}"


class RecoveryCode(models.Model):
    """A code that stands in for the phone, once. Only its keyed digest is stored."""

    user = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE, related_name="+", verbose_name=_("user"))
    digest = models.CharField(max_length=64, unique=True, editable=False)
    created_at = models.DateTimeField(_("created"), default=timezone.now)
    # Codes that support gives out are valid for minutes; a user's own set has no end.
    expires_at = models.DateTimeField(_("expires"), null=True)
    used_at = models.DateTimeField(_("used"), null=True)

    objects = PrimaryManager()

    class Meta:
        base_manager_name = "objects"
        verbose_name = _("recovery code")
        verbose_name_plural = _("recovery codes")

    def __str__(self) -> str:
        return f"{self.user_id}: {self.created_at:%Y-%m-%d}"


class TrustedBrowser(models.Model):
    """A browser whose user need not prove the phone at each login. Only the keyed digest of its cookie is stored."""

    user = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE, related_name="+", verbose_name=_("user"))
    digest = models.CharField(max_length=64, unique=True, editable=False)
    # What the trust was given for; another password or epoch ends it.
    epoch = models.CharField(max_length=32, editable=False)
    auth_hash = models.CharField(max_length=128, editable=False)
    label = models.CharField(_("browser"), max_length=80, blank=True, default="")
    created_at = models.DateTimeField(_("created"), default=timezone.now)
    expires_at = models.DateTimeField(_("expires"), db_index=True)
    last_used_at = models.DateTimeField(_("last used"), default=timezone.now)
    last_ip = models.GenericIPAddressField(_("last address"), null=True)

    objects = PrimaryManager()

    class Meta:
        base_manager_name = "objects"
        verbose_name = _("trusted browser")
        verbose_name_plural = _("trusted browsers")

    def __str__(self) -> str:
        return self.label


class RemoteDeletion(models.Model):
    """A record that must go at the provider: by its UserID, or by id_in_service where a reply was lost."""

    verigator_id = models.CharField(max_length=128, blank=True, default="")
    id_in_service = models.CharField(max_length=64, blank=True, default="")
    attempts = models.PositiveSmallIntegerField(default=0)
    next_attempt_at = models.DateTimeField(null=True, db_index=True)
    last_error = models.CharField(max_length=32, blank=True, default="")
    created_at = models.DateTimeField(default=timezone.now)

    objects = PrimaryManager()

    class Meta:
        base_manager_name = "objects"
        verbose_name = _("deletion at the provider")
        verbose_name_plural = _("deletions at the provider")
        indexes = [
            # Sync looks both up for each page of the provider's list.
            models.Index(fields=["verigator_id"], name="verigator_deletion_id"),
            models.Index(fields=["id_in_service"], name="verigator_deletion_name"),
        ]

    def __str__(self) -> str:
        return self.verigator_id or self.id_in_service


class SyncRun(models.Model):
    """One run of ``verigator_sync``. While it goes on it holds the slot, so that there is no second one."""

    class Phase(models.TextChoices):
        LINKS = "links", _("writing missing links")
        COMPARE = "compare", _("comparing with the provider's list")
        LOST = "lost", _("looking after lost records")
        REGISTER = "register", _("registering")
        WAIT = "wait", _("waiting for other registrations")
        DELETE = "delete", _("deleting at the provider")

    class Outcome(models.TextChoices):
        RUNNING = "running", _("running")
        COMPLETE = "complete", _("nothing left to do")
        LEFT = "left", _("something left to do")
        STOPPED = "stopped", _("stopped")
        PROVIDER_DOWN = "provider_down", _("provider not available")
        BROKEN = "broken", _("ended by an error")
        KILLED = "killed", _("killed")

    # The one place there is for a run under way; NULL when it is over.
    slot = models.CharField(max_length=8, unique=True, null=True, editable=False)
    outcome = models.CharField(_("outcome"), max_length=16, choices=Outcome.choices, default=Outcome.RUNNING)
    phase = models.CharField(_("phase"), max_length=8, choices=Phase.choices, default=Phase.LINKS)
    due_only = models.BooleanField(_("only what was due"), default=False)
    # Of the phase; total is 0 where it is not known.
    done = models.PositiveIntegerField(_("done"), default=0)
    total = models.PositiveIntegerField(_("of"), default=0)
    # What the report will say, so far.
    counts = models.JSONField(_("counts"), default=dict)
    error = models.CharField(_("error"), max_length=32, blank=True, default="")
    started_at = models.DateTimeField(_("started"), default=timezone.now)
    # Put forward every few seconds; once it has passed, whoever held the slot is dead.
    lease_until = models.DateTimeField(_("alive until"))
    finished_at = models.DateTimeField(_("finished"), null=True)

    objects = PrimaryManager()

    class Meta:
        base_manager_name = "objects"
        verbose_name = _("sync run")
        verbose_name_plural = _("sync runs")

    def __str__(self) -> str:
        return f"{self.started_at:%Y-%m-%d %H:%M}: {self.get_outcome_display()}"

    @property
    def is_alive(self) -> bool:
        return self.slot is not None and self.lease_until > timezone.now()

    @property
    def shown_outcome(self) -> str:
        """The outcome in words; a run that was killed has not written one."""
        return str(self.Outcome.KILLED.label if self.slot else self.get_outcome_display())
