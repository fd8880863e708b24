"""One start of a code and its checking; also the audit log."""

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

from .. import conf
from ..constants import METHOD_TOTP
from ..exceptions import Reason
from .base import PrimaryManager, QuerySet, Transitions, UrlField
from .link import PhoneChange


class ChallengeQuerySet(QuerySet["Challenge"]):
    def open(self) -> ChallengeQuerySet:
        """Those that have not ended, and that no newer one has replaced."""
        return self.filter(consumed_at=None, superseded_at=None)

    def unproved(self) -> ChallengeQuerySet:
        """Those that have ended at most because their code has: the login still waits."""
        return self.filter(Q(consumed_at=None) | Q(outcome__in=Challenge.CODE_ENDED))

    def triable(self, now: datetime) -> ChallengeQuerySet:
        """Those that a PIN may be tried against, by the same rules as ``Challenge.closed_reason``."""
        return self.open().filter(
            sent_at__isnull=False, expires_at__gt=now, tries__lt=conf.current().LIMITS.TRIES_PER_CHALLENGE
        )

    def other_than(self, form: str) -> ChallengeQuerySet:
        """Those whose last form was another one; an unknown form ("") is another one each time."""
        return self.exclude(last_form=form) if form else self

    def supersede(self, challenge: Challenge) -> int:
        """Replace the user's open challenges by this one: the provider keeps one running authentication a user.

        The app shows one code for all logins, so that a code from the app ends only its own login's earlier steps.
        """
        others = self.open().filter(user_id=challenge.user_id)
        if challenge.requested_method == METHOD_TOTP:
            others = others.exclude(~Q(nonce_digest=challenge.nonce_digest), method=METHOD_TOTP)
        return others.update(superseded_at=challenge.created_at)


_ChallengeManager = PrimaryManager.from_queryset(ChallengeQuerySet)


class Challenge(Transitions, models.Model):
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

    CODE_ENDED = (Outcome.EXPIRED, Outcome.THROTTLED)
    """Outcomes after which the login waits for another code."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    user = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE, related_name="+", verbose_name=_("user"))
    purpose = models.CharField(_("purpose"), max_length=8, choices=Purpose.choices, default=Purpose.LOGIN)
    outcome = models.CharField(_("outcome"), max_length=12, choices=Outcome.choices, default=Outcome.WAITING)
    # Why a limit or a rule has let nothing be sent, as a value of exceptions.Reason.
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
    # The column has its first name, which code from before 0.1.0 writes.
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

    objects = _ChallengeManager()

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

    def closed_reason(self) -> Reason | None:
        """Return why no PIN can be tried now; None if one can."""
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
    def tries_left(self) -> int:
        return max(conf.current().LIMITS.TRIES_PER_CHALLENGE - self.tries, 0)

    def count_try(self, form: str) -> bool:
        """Take a try in one UPDATE; False if none can be taken, or this form was the last one posted.

        Args:
            form: keyed digest of the posted form, or "".
        """
        rows = Challenge.objects.triable(timezone.now()).other_than(form).filter(pk=self.pk)
        return bool(rows.update(tries=F("tries") + 1, last_form=form))

    def note_form(self, form: str) -> bool:
        """Remember a posted form; False if it was the last one posted."""
        return bool(Challenge.objects.other_than(form).filter(pk=self.pk).update(last_form=form))

    def return_try(self) -> None:
        Challenge.objects.filter(pk=self.pk, tries__gt=0).update(tries=F("tries") - 1)
        self.tries -= 1

    def record(self, values: Mapping[str, Any]) -> None:
        """Write what became of a call to the provider, whatever else has happened to the row."""
        Challenge.objects.filter(pk=self.pk).update(**values)
        self.show(values)

    def consume(self, rows: ChallengeQuerySet, values: Mapping[str, Any]) -> bool:
        """End the challenge with a proof, once; False if another request was faster or the row is not among ``rows``.

        The URL goes: it may hold a one-time token, and the caller has it on the instance.
        """
        ended = {"consumed_at": timezone.now(), "outcome": self.Outcome.VERIFIED, "next_url": "", **values}
        return bool(rows.unproved().filter(pk=self.pk).update(**ended))

    def close(self, outcome: str) -> None:
        """End the challenge without a proof."""
        now = timezone.now()
        # The URL may hold a one-time token; only a login that goes on needs it.
        ended = {"next_url": ""} if outcome == self.Outcome.CANCELLED else {}
        Challenge.objects.unproved().filter(pk=self.pk).update(consumed_at=now, outcome=outcome, **ended)
        self.consumed_at, self.outcome = now, outcome
