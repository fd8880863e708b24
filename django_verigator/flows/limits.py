"""Which rate limits there are for a login."""

from __future__ import annotations

from .. import addresses, conf, phone, rate_limits
from ..exceptions import Reason
from ..rate_limits import DAY, HOUR, RateLimit


def user_try_limits(user_pk: object) -> list[RateLimit]:
    """What bounds guessing. They belong to the user: a new code, session or address brings no new tries."""
    limits = conf.current().LIMITS
    user = str(user_pk)
    return [
        RateLimit("tries/user/hour", user, limits.TRIES_PER_USER_HOUR, HOUR, Reason.LOCKED),
        RateLimit("tries/user/day", user, limits.TRIES_PER_USER_DAY, DAY, Reason.LOCKED),
    ]


def try_limits(user_pk: object, address: str | None) -> list[RateLimit]:
    """The user's caps, and that of an address from which one guess is made on each of many accounts."""
    limits = conf.current().LIMITS
    counted = addresses.rate_limit_key(address)
    per_address = RateLimit("tries/address/hour", counted, limits.TRIES_PER_ADDRESS_HOUR, HOUR, Reason.LOCKED)
    return [*user_try_limits(user_pk), *([per_address] if counted else [])]


def send_limits(
    user_pk: object, phone_number: str, address: str | None, *, confirmed: bool, confirmed_by_another: bool = False
) -> list[RateLimit]:
    """What bounds sending: by user, number and address; for numbers nobody has confirmed also by block and in all.

    Args:
        confirmed: this user has confirmed the number.
        confirmed_by_another: another user has; of the number's sends a share is left to that one.

    An attacker who is paid for texts needs many numbers, and has confirmed none; users who have confirmed theirs are
    not kept out by what such an attacker uses up.
    """
    limits = conf.current().LIMITS
    counted = addresses.rate_limit_key(address)
    per_phone, per_day = limits.SENDS_PER_PHONE_10_MINUTES, limits.SENDS_PER_PHONE_DAY
    if confirmed_by_another:
        per_phone = _half(per_phone)
    if not confirmed:  # nobody knows whose phone it is
        per_day = _half(per_day)
    caps = [
        RateLimit("sends/user/hour", str(user_pk), limits.SENDS_PER_USER_HOUR, HOUR, Reason.SEND_LIMIT),
        RateLimit("sends/phone/10min", phone_number, per_phone, 600, Reason.SEND_LIMIT),
        RateLimit("sends/phone/day", phone_number, per_day, DAY, Reason.SEND_LIMIT),
    ]
    if counted:
        caps.append(RateLimit("sends/address/hour", counted, limits.SENDS_PER_ADDRESS_HOUR, HOUR, Reason.SEND_LIMIT))
    if not confirmed:
        prefix = phone.prefix(phone_number)
        caps += [
            RateLimit("sends/prefix/hour", prefix, limits.SENDS_PER_PREFIX_HOUR, HOUR, Reason.SEND_LIMIT),
            RateLimit("sends/site/hour", "", limits.SENDS_PER_SITE_HOUR, HOUR, Reason.SITE_BUDGET),
            RateLimit("sends/site/day", "", limits.SENDS_PER_SITE_DAY, DAY, Reason.SITE_BUDGET),
        ]
    return caps


def start_limits(user_pk: object, address: str | None, *, again: bool) -> list[RateLimit]:
    """What bounds the calls that somebody can cause, whatever comes of them: given back only if nobody was asked.

    Args:
        again: for another code of the same login; such ones leave enough for a login that begins.
    """
    limits = conf.current().LIMITS
    counted = addresses.rate_limit_key(address)
    per_user = _half(limits.STARTS_PER_USER_HOUR) if again else limits.STARTS_PER_USER_HOUR
    caps = [RateLimit("starts/user/hour", str(user_pk), per_user, HOUR, Reason.SEND_LIMIT)]
    if counted:
        caps.append(RateLimit("starts/address/hour", counted, limits.STARTS_PER_ADDRESS_HOUR, HOUR, Reason.SEND_LIMIT))
    return caps


def notice_limits(user_pk: object) -> list[RateLimit]:
    """What bounds the mails about limits that somebody keeps running into."""
    return [RateLimit("told/user/hour", str(user_pk), 1, HOUR, Reason.SEND_LIMIT)]


def _half(limit: int) -> int:
    return max(1, limit // 2)


def password_limits(user_pk: object) -> list[RateLimit]:
    """What bounds guessing the password from a session that was left open."""
    limit = conf.current().LIMITS.TRIES_PER_USER_HOUR
    return [RateLimit("passwords/user/hour", str(user_pk), limit, HOUR, Reason.WRONG_PASSWORDS)]


def require_first_post(form: str) -> None:
    """Refuse a form that was posted before, as a reload does.

    Args:
        form: of ``pending.form_of``; one that is not known again is always a first one.

    Raises:
        Refused: REPEATED.
    """
    if form:
        rate_limits.reserve(lambda: rate_limits.consume([RateLimit("posts/form/day", form, 1, DAY, Reason.REPEATED)]))


def phone_change_limits(user_pk: object) -> list[RateLimit]:
    """What bounds the numbers that one user may propose."""
    limits = conf.current().LIMITS
    return [
        RateLimit("changes/user/minute", str(user_pk), 1, 60, Reason.CHANGE_LIMIT),
        RateLimit("changes/user/day", str(user_pk), limits.PHONE_CHANGES_PER_USER_DAY, DAY, Reason.CHANGE_LIMIT),
    ]
