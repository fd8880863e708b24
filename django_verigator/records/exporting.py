"""What is stored about one user, as data."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.contrib.auth.base_user import AbstractBaseUser

from .. import events
from ..models import Challenge, PhoneChange, RecoveryCode, RemoteDeletion, TrustedBrowser, VerigatorUser
from . import links, site_phones
from .provider import record_backend

_LINK = (
    "phone_number",
    "state",
    "id_in_service",
    "verigator_id",
    "created_at",
    "registered_at",
    "seen_at",
    "confirmed_at",
    "last_error",
    "last_error_at",
    "consecutive_failures",
    "locked_until",
)

_CHANGE = ("phone_number", "replaces", "id_in_service", "verigator_id", "created_at", "expires_at")

_CHALLENGE = (
    "purpose",
    "outcome",
    "refusal",
    "backend",
    "method",
    "masked_phone",
    "verigator_id",
    "ip",
    "started_at",
    "created_at",
    "sent_at",
    "expires_at",
    "delivery",
    "delivery_channel",
    "delivery_error",
    "consumed_at",
    "tries",
)

_CODE = ("created_at", "expires_at", "used_at")

_BROWSER = ("label", "created_at", "expires_at", "last_used_at", "last_ip")


def data_of(user: AbstractBaseUser) -> dict[str, Any]:
    """Return everything that is stored about a user, the phone in full, as plain values.

    Digests of PINs, codes, cookies and sessions are left out: they only check secrets.
    """
    link = links.find(user)
    events.record("exported", user)
    return {
        "user": {"id": str(user.pk), "username": user.get_username()},
        "link": _plain(link, _LINK) if link else None,
        "number_proposed_by_the_site": site_phones.changed_number(user, link) or None,
        "phone_changes": [_plain(row, _CHANGE) for row in PhoneChange.objects.filter(user_id=user.pk)],
        "challenges": _rows(Challenge, user, _CHALLENGE),
        "recovery_codes": _rows(RecoveryCode, user, _CODE),
        "trusted_browsers": _rows(TrustedBrowser, user, _BROWSER),
    }


def _rows(model: Any, user: AbstractBaseUser, names: tuple[str, ...]) -> list[dict[str, Any]]:
    return [_plain(row, names) for row in model.objects.filter(user_id=user.pk).order_by("created_at")]


def _plain(row: Any, names: tuple[str, ...]) -> dict[str, Any]:
    values = {name: getattr(row, name) for name in names}
    return {name: value.isoformat() if isinstance(value, datetime) else value for name, value in values.items()}


def left_of(verigator_id: str) -> dict[str, Any]:
    """Return what is left of a deleted user's record: rows here by kind, and whether the provider still has it.

    Args:
        verigator_id: the UserID, from the user's export or from ``record_deleted`` in the log.

    Raises:
        VerigatorError: the provider could not be asked.
    """
    kinds: dict[str, Any] = {
        "links": VerigatorUser,
        "phone_changes": PhoneChange,
        "challenges": Challenge,
        "deletions_waiting": RemoteDeletion,
    }
    backend = record_backend()
    return {
        "verigator_id": verigator_id,
        "here": {name: model.objects.filter(verigator_id=verigator_id).count() for name, model in kinds.items()},
        "at_the_provider": backend is not None and backend.exists(verigator_id),
    }
