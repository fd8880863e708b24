"""The phone number that the site has for a user: ``PHONE``, and a number that differs from the confirmed one."""

from __future__ import annotations

from typing import Any

from django.contrib.auth import get_user_model
from django.contrib.auth.base_user import AbstractBaseUser
from django.core.exceptions import FieldDoesNotExist

from .. import conf, events, phone
from ..digests import digest, digests
from ..exceptions import Reason, Refused
from ..models import VerigatorUser


def require_allowed(number: str) -> None:
    """Refuse a number in a country or of a kind that the site sends nothing to; costs no call.

    Raises:
        Refused: NUMBER_REFUSED.
    """
    config = conf.current()
    if config.COUNTRIES and phone.region(number) not in config.COUNTRIES:
        raise Refused(Reason.NUMBER_REFUSED)
    if phone.kind(number) in config.REFUSED_NUMBER_TYPES:
        raise Refused(Reason.NUMBER_REFUSED)


def phone_of(user: AbstractBaseUser) -> str | None:
    """Return the number the site has for this user, as the site wrote it; "" if it has none, None if PHONE fails.

    Whatever PHONE raises is logged, and does not leave this function. A missing attribute on its path (no profile yet)
    means no phone.
    """
    source = conf.current().PHONE
    if source is None:
        return ""
    try:
        if callable(source):
            value = source(user)
        elif ":" in source:
            value = conf.resolve(source)(user)
        else:
            value = _follow(user, source)
        return phone.as_text(value)
    except Exception as error:  # noqa: BLE001 - the site's code may raise anything, and saving a user must go on
        events.site_failed("phone_failed", user, error)
        return None


def _follow(user: AbstractBaseUser, path: str) -> Any:
    value: Any = user
    for name in path.split("."):
        # A missing reverse one-to-one raises RelatedObjectDoesNotExist, which is an AttributeError too.
        value = getattr(value, name, None)
        if value is None:
            return None
    return value


def as_e164(raw: str | None) -> str:
    """Return a value of ``phone_of`` in E.164 form; "" if it is no number."""
    try:
        return phone.normalise(raw) if raw else ""
    except phone.InvalidPhoneError:
        return ""


def phone_relations() -> list[str]:
    """Return the relations on the path PHONE, for ``select_related`` to save its queries; [] for a function."""
    source = conf.current().PHONE
    if source is None or callable(source) or ":" in source:
        return []
    model: Any = get_user_model()
    names: list[str] = []
    for name in source.split(".")[:-1]:
        try:
            field: Any = model._meta.get_field(name)
        except FieldDoesNotExist:
            break
        if not (field.one_to_one or field.many_to_one):
            break
        names.append(name)
        model = field.related_model
    return ["__".join(names)] if names else []


_KIND = "site_phone"


def changed_number(user: AbstractBaseUser, link: VerigatorUser | None) -> str:
    """Return the number (E.164) that the site has now in place of the user's confirmed one, or "".

    An unconfirmed phone follows the site's, and a number that the user dismissed does not count.
    """
    if link is None or link.confirmed_at is None:
        return ""
    raw = phone_of(user)
    if not raw or raw == link.phone_number:  # the usual case, without the numbering plan
        return ""
    number = as_e164(raw)
    if number in ("", link.phone_number) or link.site_phone_digest in digests(_KIND, number):
        return ""
    return number


def dismiss_change(user: AbstractBaseUser) -> None:
    """Store that the user has decided about the site's number; only another one is a proposal again."""
    number = as_e164(phone_of(user))
    decided = digest(_KIND, number) if number else ""
    VerigatorUser.objects.filter(user_id=user.pk).update(site_phone_digest=decided)
