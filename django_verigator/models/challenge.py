"""The challenge: a code that is sent and checked."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from django.conf import settings
from django.db import models
from django.db.models import F, Q
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from .. import conf, db
from ..compiled import Write
from ..constants import METHOD_CALL, METHOD_RECOVERY, METHOD_SMS, METHOD_TOTP, METHOD_WHATSAPP
from ..exceptions import Reason
from . import statements
from .base import PrimaryManager, QuerySet, Transitions, UrlField
from .link import PhoneChange


class ChallengeQuerySet(QuerySet["Challenge"]):
    def open(self) -> ChallengeQuerySet:
        """Select those that have not ended, and that no newer one has superseded."""
        return self.filter(consumed_at=None, superseded_at=None)

    def unproved(self) -> ChallengeQuerySet:
        """Select those whose login still waits: not ended, or only because the code has."""
        return self.filter(Q(consumed_at=None) | Q(outcome__in=Challenge.CODE_ENDED))


_ChallengeManager = PrimaryManager.from_queryset(ChallengeQuerySet)


_CHANNELS = {
    METHOD_SMS: _("SMS"),
    METHOD_TOTP: _("Verigator app"),
    METHOD_CALL: _("call"),
    METHOD_WHATSAPP: "WhatsApp",
    METHOD_RECOVERY: _("recovery code"),
    "viber": "Viber",
    "rcs": "RCS",
}
_REPORTED = ("message_id", "delivery", "delivery_channel", "delivery_error", "price", "report_asked_at")


class Challenge(Transitions, models.Model):
    """A code: to whom and how it is sent, how often it is tried, with what outcome. Also the audit log.

    The challenges of one pending login share a nonce, which the browser holds in a cookie; the one with the highest
    step is in force. A row without ``sent_at`` waits until its user asks for a PIN.
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

    CODE_ENDED = (Outcome.EXPIRED, Outcome.THROTTLED)
    """Outcomes after which the login waits for another code."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    user = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE, related_name="+", verbose_name=_("user"))
    purpose = models.CharField(_("purpose"), max_length=8, choices=Purpose.choices, default=Purpose.LOGIN)
    outcome = models.CharField(_("outcome"), max_length=12, choices=Outcome.choices, default=Outcome.WAITING)
    # Why nothing was sent: a value of exceptions.Reason.
    refusal = models.CharField(
        _("not sent because"), max_length=24, blank=True, default="", db_default="", editable=False
    )

    # The pending login; carried over to the next step.
    nonce_digest = models.CharField(max_length=64, editable=False)
    step = models.PositiveSmallIntegerField(default=1, editable=False)
    # How many codes this login was sent before.
    sends = models.PositiveSmallIntegerField(default=0, editable=False)
    # The authentication backend that accepted the password; "" where the user is logged in already.
    auth_backend = models.CharField(max_length=255, blank=True, default="", editable=False)
    auth_hash = models.CharField(max_length=128, blank=True, editable=False)
    # Code from before 0.1.0 writes the column under its first name.
    trust_version = models.CharField(db_column="epoch", max_length=32, editable=False)
    next_url: models.TextField[str, str] = UrlField(blank=True, default="", editable=False)
    password_given = models.BooleanField(default=False, editable=False)
    started_at = models.DateTimeField(_("login began"), default=timezone.now, editable=False)

    # The start at the provider.
    backend = models.CharField(_("provider"), max_length=64, blank=True, default="", editable=False)
    verigator_id = models.CharField(max_length=128, blank=True, default="", editable=False)
    requested_method = models.CharField(max_length=8, blank=True, default="", editable=False)
    method = models.CharField(_("method"), max_length=8, blank=True, default="", editable=False)
    reference = models.CharField(max_length=255, blank=True, default="", editable=False)
    # Keyed digest of provider and reference: unique, so that one PIN never serves two users; NULL without a reference.
    reference_digest = models.CharField(max_length=64, unique=True, null=True, editable=False)
    phone_digest = models.CharField(max_length=64, blank=True, default="", editable=False)
    masked_phone = models.CharField(_("phone"), max_length=16, blank=True, default="", editable=False)
    phone_change = models.ForeignKey(PhoneChange, models.SET_NULL, null=True, related_name="+", editable=False)
    ip = models.GenericIPAddressField(_("address"), null=True, editable=False)
    created_at = models.DateTimeField(_("created"), default=timezone.now, editable=False, db_index=True)
    sent_at = models.DateTimeField(_("sent"), null=True, editable=False)
    expires_at = models.DateTimeField(_("expires"), null=True, editable=False)
    resend_at = models.DateTimeField(null=True, editable=False)

    # What became of the message, where the provider reports that: one of backends.DeliveryStatus, or "".
    message_id = models.CharField(max_length=128, blank=True, default="", db_default="", editable=False)
    delivery = models.CharField(_("delivery"), max_length=12, blank=True, default="", db_default="", editable=False)
    delivery_channel = models.CharField(
        _("delivered by"), max_length=12, blank=True, default="", db_default="", editable=False
    )
    delivery_error = models.CharField(
        _("not delivered because"), max_length=32, blank=True, default="", db_default="", editable=False
    )
    # In the currency of the account at the provider.
    price = models.DecimalField(_("price"), max_digits=10, decimal_places=5, null=True, editable=False)
    report_asked_at = models.DateTimeField(null=True, editable=False)

    # The checking.
    tries = models.PositiveSmallIntegerField(_("tries"), default=0, editable=False)
    # Keyed digest of the last form posted, so that the same form posted again costs no second try.
    last_form = models.CharField(max_length=64, blank=True, default="", db_default="", editable=False)
    superseded_at = models.DateTimeField(_("replaced by a newer one"), null=True, editable=False)
    consumed_at = models.DateTimeField(_("ended"), null=True, editable=False)

    objects = _ChallengeManager()

    class Meta:
        base_manager_name = "objects"
        verbose_name = _("challenge")
        verbose_name_plural = _("challenges")
        constraints = [
            # Of parallel resends only one inserts the next step, so only one is sent.
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
        """Whether its code is still valid: sent, not expired, not ended."""
        return self.is_open and self.sent_at is not None and self.expires_at is not None and self.expires_at > now

    def closed_reason(self) -> Reason | None:
        """Return why no PIN can be tried now, or None if one can."""
        if self.consumed_at is not None:
            return {
                self.Outcome.EXPIRED.value: Reason.EXPIRED,
                self.Outcome.THROTTLED.value: Reason.TOO_MANY_TRIES,
            }.get(self.outcome, Reason.ENDED)
        if self.superseded_at is not None:
            return Reason.SUPERSEDED
        if self.sent_at is None or self.expires_at is None:
            return Reason.NOTHING_SENT
        if self.outcome == self.Outcome.UNCLEAR and not (self.verigator_id or self.reference):
            return Reason.LOST
        if self.expires_at <= timezone.now():
            return Reason.EXPIRED
        return None if self.tries_left else Reason.TOO_MANY_TRIES

    @property
    def sent_by(self) -> str:
        """By what the code went, as far as that is known, in the user's language."""
        channel = self.delivery_channel
        return str(_CHANNELS.get(channel, channel) if channel else _CHANNELS.get(self.method, _("SMS")))

    @property
    def tries_left(self) -> int:
        return max(conf.current().LIMITS.TRIES_PER_CHALLENGE - self.tries, 0)

    def supersede_others(self) -> Write:
        """Return the write that has this challenge supersede the user's open ones.

        Verigator keeps one running authentication for each user. The app shows one code for all logins, so a code from
        the app supersedes only the earlier steps of its own login.
        """
        values = {"user_id": self.user_id, "created_at": self.created_at}
        if self.requested_method == METHOD_TOTP:
            values |= {"own_nonce": self.nonce_digest, "app_method": METHOD_TOTP}
        return statements.supersede(**values)

    def insert(self) -> Write:
        """Return the write that stores a new challenge; without Django's signals, as ``update()`` has none.

        The instance is taken for stored from here on, as by ``save()``; whoever rolls the write back drops it, or
        stores it with ``force_insert``.
        """
        # Nothing can be known about delivery yet, and the database has the defaults.
        names = [field.attname for field in self._meta.concrete_fields if field.name not in _REPORTED]
        self._state.adding, self._state.db = False, db.alias()
        return statements.insert_challenge(**{name: getattr(self, name) for name in names})

    def count_try(self, form: str) -> Write:
        """Return the write that consumes a try; it matches the row by the rules of ``closed_reason``.

        Args:
            form: keyed digest of the posted form, which must not be the last one posted; "" never is.
        """
        maximum = conf.current().LIMITS.TRIES_PER_CHALLENGE
        # No digest is "-", and "" is the last form before the first.
        return statements.count_try(id=self.pk, now=timezone.now(), maximum=maximum, form=form, last=form or "-")

    def note_form(self, form: str) -> bool:
        """Store the digest of a posted form; return False if it was the last one posted."""
        return bool(Challenge.objects.exclude(last_form=form).filter(pk=self.pk).update(last_form=form))

    def return_try(self) -> None:
        """Refund a try."""
        Challenge.objects.filter(pk=self.pk, tries__gt=0).update(tries=F("tries") - 1)
        self.tries -= 1

    return_try.alters_data = True  # type: ignore[attr-defined]

    def record(self, values: Mapping[str, Any]) -> None:
        """Write the outcome of a call to the provider, unconditionally: it happened, whatever else did."""
        statements.write_challenge(id=self.pk, **values).run()
        self.show(values)

    def consume(self, **values: Any) -> Write:
        """Return the write that ends the challenge with a proof, once.

        The row loses ``next_url``; the instance keeps it.

        Args:
            values: further values of the row; or ``valid_at``, when its code must still be the newest, and valid.
        """
        return statements.consume_challenge(id=self.pk, now=timezone.now(), **values)

    def close(self, outcome: str) -> None:
        """End the challenge without a proof."""
        now = timezone.now()
        # The URL may hold a one-time token, and only a login that still waits needs it.
        ended = {"next_url": ""} if outcome == self.Outcome.CANCELLED else {}
        Challenge.objects.unproved().filter(pk=self.pk).update(consumed_at=now, outcome=outcome, **ended)
        self.consumed_at, self.outcome = now, outcome
