"""TODO"""

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
    """The value names the template: ``django_verigator/email/<value>.txt``, whose first line is the subject."""

    PHONE_ADDED = "phone_added"
    PHONE_CHANGED = "phone_changed"
    RESET = "reset"
    RECOVERY_CODES_RENEWED = "recovery_codes_renewed"
    RECOVERY_CODE_USED = "recovery_code_used"
    LOCKED = "locked"
    SENDS_USED_UP = "sends_used_up"


_UNPROVED = (Notice.LOCKED, Notice.SENDS_USED_UP)
"""Brought about by whoever knows the password; the language of that browser is not the user's."""


def send_notice(user: AbstractBaseUser, notice: Notice, **context: Any) -> None:
    """Send a notice after commit, if the site wants that and the user has an address; a failure is logged only."""
    if not conf.current().NOTIFY or not _address(user):
        return
    send = partial(_send, user, notice, {"user": user, "time": timezone.now(), **context})
    transaction.on_commit(send, using=db.alias(), robust=True)


def _site_name() -> str:
    # Never by the request: its Host is what somebody's browser has sent.
    if not apps.is_installed("django.contrib.sites") or not getattr(settings, "SITE_ID", None):
        return ""
    return str(get_current_site(None).name)


def _send(user: AbstractBaseUser, notice: Notice, context: dict[str, Any]) -> None:
    try:
        language = settings.LANGUAGE_CODE if notice in _UNPROVED else get_language()
        with override(language):
            text = render_to_string(f"django_verigator/email/{notice.value}.txt", {"site": _site_name(), **context})
        subject, _, body = text.strip().partition("\n")
        _mail(user, subject.strip(), body.strip())
    except Exception as error:  # the mail server's failure is not the user's
        told = (shown.key(user), notice.value, events.describe(error))
        logger.error("notice_failed user=%s notice=%s error=%s", *told, exc_info=events.traceback_alone(error))


def _address(user: AbstractBaseUser) -> str:
    return getattr(user, user.get_email_field_name(), "") or ""


def _mail(user: AbstractBaseUser, subject: str, body: str) -> None:
    if hasattr(user, "email_user"):  # AbstractUser's, or the site's own way
        user.email_user(subject, body)
    else:
        send_mail(subject, body, None, [_address(user)])
