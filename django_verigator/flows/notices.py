"""Emails to a user about changes of the second factor and about lockouts."""

from __future__ import annotations

import enum
import logging
from functools import partial
from typing import Any

from django.apps import apps
from django.conf import settings
from django.contrib.auth.base_user import AbstractBaseUser
from django.contrib.sites.shortcuts import get_current_site
from django.core.mail import send_mail
from django.db import transaction
from django.template.loader import render_to_string
from django.utils import timezone
from django.utils.translation import get_language, override

from .. import conf, db, events, shown

logger = logging.getLogger("django_verigator")


class Notice(enum.Enum):
    """What a user is notified of. The template is ``django_verigator/email/<value>.txt``; line one is the subject."""

    PHONE_ADDED = "phone_added"
    PHONE_CHANGED = "phone_changed"
    RESET = "reset"
    RECOVERY_CODES_RENEWED = "recovery_codes_renewed"
    RECOVERY_CODE_USED = "recovery_code_used"
    LOCKED = "locked"
    SENDS_USED_UP = "sends_used_up"


_CAUSED_WITHOUT_PROOF = (Notice.LOCKED, Notice.SENDS_USED_UP)
"""Anybody with the password can cause these, so the language of the request may not be the user's."""


def send_notice(user: AbstractBaseUser, notice: Notice, **context: Any) -> None:
    """Send a notice after commit, if NOTIFY is on and the user has an email address; a failure is only logged.

    Args:
        context: what the template shows beside ``user``, ``time`` and ``site``.
    """
    if not conf.current().NOTIFY or not _email_address(user):
        return
    send = partial(_send, user, notice, {"user": user, "time": timezone.now(), **context})
    transaction.on_commit(send, using=db.alias(), robust=True)


def _site_name() -> str:
    # Not from the request, whose Host header the client chooses.
    if not apps.is_installed("django.contrib.sites") or not getattr(settings, "SITE_ID", None):
        return ""
    return str(get_current_site(None).name)


def _send(user: AbstractBaseUser, notice: Notice, context: dict[str, Any]) -> None:
    try:
        language = settings.LANGUAGE_CODE if notice in _CAUSED_WITHOUT_PROOF else get_language()
        with override(language):
            text = render_to_string(f"django_verigator/email/{notice.value}.txt", {"site": _site_name(), **context})
        subject, _, body = text.strip().partition("\n")
        _send_mail(user, subject.strip(), body.strip())
    except Exception as error:  # a failure of the mail server must stop no login
        values = (shown.key(user), notice.value, events.describe(error))
        logger.error("notice_failed user=%s notice=%s error=%s", *values, exc_info=events.traceback_alone(error))


def _email_address(user: AbstractBaseUser) -> str:
    return getattr(user, user.get_email_field_name(), "") or ""


def _send_mail(user: AbstractBaseUser, subject: str, body: str) -> None:
    if hasattr(user, "email_user"):  # AbstractUser has it, or the site its own
        user.email_user(subject, body)
    else:
        send_mail(subject, body, None, [_email_address(user)])
