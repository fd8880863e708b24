"""What support does for a user, and what ``verigator_prune`` deletes."""

from __future__ import annotations

import logging
from datetime import timedelta
from typing import Any

from django.contrib.auth.base_user import AbstractBaseUser
from django.utils import timezone

from .. import conf, db, events, shown
from ..models import Challenge, Counter, PhoneChange, RecoveryCode, TrustedBrowser, VerigatorUser, new_trust_version
from . import limits, notices, recovery
from .notices import send_notice

PERMISSION = "django_verigator.reset_second_factor"


def may_help(helper: Any, user: AbstractBaseUser) -> bool:
    """Whether a member of staff may reset or unlock this user: only a superuser may help a superuser."""
    return bool(getattr(helper, "is_superuser", False) or not getattr(user, "is_superuser", False))


def may_issue_code(helper: Any, user: AbstractBaseUser) -> bool:
    """Whether a member of staff may issue a recovery code for this user, which is never oneself."""
    return helper.pk != user.pk and may_help(helper, user)


def reset(user: AbstractBaseUser, *, by: str) -> None:
    """Remove a user's second factor: phone, recovery codes, trusted browsers, and the sessions that they proved.

    At the next login the phone that the site supplies is in force, as an unconfirmed one.

    Args:
        by: who does it, for the log: a username, or "command".
    """
    with db.atomic():
        link = VerigatorUser.objects.select_for_update().filter(user_id=user.pk).first()
        if link is not None:
            link.forget_registration(
                {
                    "phone_number": "",
                    "state": VerigatorUser.State.NO_PHONE,
                    "confirmed_at": None,
                    "site_phone_digest": "",
                    "trust_version": new_trust_version(),
                }
            )
        PhoneChange.objects.filter(user_id=user.pk).discard()
        RecoveryCode.objects.filter(user_id=user.pk).delete()
        TrustedBrowser.objects.filter(user_id=user.pk).delete()
        now = timezone.now()
        Challenge.objects.filter(user_id=user.pk, consumed_at=None).update(
            consumed_at=now, outcome=Challenge.Outcome.CANCELLED
        )
        _clear_failures(user)
    events.record("reset", user, level=logging.WARNING, by=shown.name(by))
    send_notice(user, notices.Notice.RESET)


def unlock(user: AbstractBaseUser, *, by: str) -> None:
    """End a user's lockout.

    Args:
        by: who does it, for the log: a username, or "command".
    """
    with db.atomic():
        _clear_failures(user)
    events.record("unlocked", user, level=logging.WARNING, by=shown.name(by))


def _clear_failures(user: AbstractBaseUser) -> None:
    VerigatorUser.objects.filter(user_id=user.pk).update(
        consecutive_failures=0, failures_auth_hash="", locked_until=None
    )
    Counter.objects.filter(pk__in=[limit.digest for limit in limits.user_try_limits(user.pk)]).delete()


def issue_code(user: AbstractBaseUser, *, by: str) -> str:
    """Return a recovery code for a user whom support has identified, valid once and for SUPPORT_MINUTES.

    Args:
        by: who does it, for the log: a username, or "command".
    """
    code = recovery.issue_one(user)
    events.record("recovery_code_issued", user, level=logging.WARNING, by=shown.name(by))
    return code


def prune() -> dict[str, int]:
    """Delete rows that are older than PRUNE_DAYS or have expired; return the number of rows by kind."""
    now = timezone.now()
    prune_before = now - timedelta(days=conf.current().PRUNE_DAYS)
    PhoneChange.objects.filter(expires_at__lt=now).discard()
    # The URL of an abandoned login may hold a one-time token.
    pending_since = now - timedelta(seconds=conf.current().LIMITS.PENDING_SECONDS)
    Challenge.objects.filter(started_at__lt=pending_since).exclude(next_url="").update(next_url="")
    return {
        "challenges": Challenge.objects.filter(created_at__lt=prune_before).delete()[0],
        "counters": Counter.objects.filter(expires_at__lt=now).delete()[0],
        "trusted browsers": TrustedBrowser.objects.filter(expires_at__lt=now).delete()[0],
        "recovery codes": RecoveryCode.objects.filter(used_at__lt=prune_before).delete()[0]
        + RecoveryCode.objects.filter(expires_at__lt=prune_before).delete()[0],
    }
