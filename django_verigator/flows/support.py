"""TODO"""

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
    """Whether a member of staff may weaken this user's second factor: superusers are helped by superusers alone."""
    return bool(getattr(helper, "is_superuser", False) or not getattr(user, "is_superuser", False))


def may_issue_code(helper: Any, user: AbstractBaseUser) -> bool:
    """Whether a member of staff may see a code of this user: never an own one, which would be a proof for nothing."""
    return helper.pk != user.pk and may_help(helper, user)


def reset(user: AbstractBaseUser, *, by: str) -> None:
    """Take a user's second factor back: phone, codes, browsers and every session that was trusted because of them.

    A phone that the site supplies is in force again at the next login, as one that nobody has confirmed.

    Args:
        by: who did it, for the log (a username, or "command").
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
    """Let a locked user try again at once."""
    with db.atomic():
        _clear_failures(user)
    events.record("unlocked", user, level=logging.WARNING, by=shown.name(by))


def _clear_failures(user: AbstractBaseUser) -> None:
    VerigatorUser.objects.filter(user_id=user.pk).update(
        consecutive_failures=0, failures_auth_hash="", locked_until=None
    )
    Counter.objects.filter(pk__in=[limit.digest for limit in limits.user_try_limits(user.pk)]).delete()


def issue_code(user: AbstractBaseUser, *, by: str) -> str:
    """Return a recovery code for a user whom support has identified; valid once, for SUPPORT_MINUTES."""
    code = recovery.issue_one(user)
    events.record("recovery_code_issued", user, level=logging.WARNING, by=shown.name(by))
    return code


def prune() -> dict[str, int]:
    """Delete what is older than PRUNE_DAYS and what has ended; return the number of rows by kind."""
    now = timezone.now()
    old = now - timedelta(days=conf.current().PRUNE_DAYS)
    PhoneChange.objects.filter(expires_at__lt=now).discard()
    # Logins that nobody has ended: where they led to may hold a one-time token.
    over = now - timedelta(seconds=conf.current().LIMITS.PENDING_SECONDS)
    Challenge.objects.filter(started_at__lt=over).exclude(next_url="").update(next_url="")
    return {
        "challenges": Challenge.objects.filter(created_at__lt=old).delete()[0],
        "counters": Counter.objects.filter(expires_at__lt=now).delete()[0],
        "trusted browsers": TrustedBrowser.objects.filter(expires_at__lt=now).delete()[0],
        "recovery codes": RecoveryCode.objects.filter(used_at__lt=old).delete()[0]
        + RecoveryCode.objects.filter(expires_at__lt=old).delete()[0],
    }
