"""The rate limits of a login."""

from __future__ import annotations

from .. import addresses, conf, phone, rate_limits
from ..exceptions import Reason
from ..rate_limits import DAY, HOUR, RateLimit


def user_try_limits(user_pk: object) -> list[RateLimit]:
    """Return the rate limits of a user's tries, PINs and recovery codes together, whatever the code or address."""
    limits = conf.current().LIMITS
    user = str(user_pk)
    return [
        RateLimit("tries/user/hour", user, limits.TRIES_PER_USER_HOUR, HOUR, Reason.LOCKED),
        RateLimit("tries/user/day", user, limits.TRIES_PER_USER_DAY, DAY, Reason.LOCKED),
    ]


def try_limits(user_pk: object, address: str | None) -> list[RateLimit]:
    """Return ``user_try_limits`` and that of the client's address, which bounds guesses for many users."""
    limits = conf.current().LIMITS
    network = addresses.rate_limit_key(address)
    per_address = RateLimit("tries/address/hour", network, limits.TRIES_PER_ADDRESS_HOUR, HOUR, Reason.LOCKED)
    return [*user_try_limits(user_pk), *([per_address] if network else [])]


def send_limits(
    user_pk: object, phone_number: str, address: str | None, *, confirmed: bool, confirmed_by_another: bool = False
) -> list[RateLimit]:
    """Return the rate limits of a send: by user, number and address; for unconfirmed numbers also by prefix and site.

    SMS pumping needs many numbers and confirms none. So what it uses up keeps no user out whose number is confirmed.

    Args:
        phone_number: E.164.
        address: the client's IP address.
        confirmed: this user has confirmed the number.
        confirmed_by_another: another user has, and keeps a share of the number's sends.
    """
    limits = conf.current().LIMITS
    network = addresses.rate_limit_key(address)
    per_phone, per_day = limits.SENDS_PER_PHONE_10_MINUTES, limits.SENDS_PER_PHONE_DAY
    if confirmed_by_another:
        per_phone = _half(per_phone)
    if not confirmed:
        per_day = _half(per_day)
    caps = [
        RateLimit("sends/user/hour", str(user_pk), limits.SENDS_PER_USER_HOUR, HOUR, Reason.SEND_LIMIT),
        RateLimit("sends/phone/10min", phone_number, per_phone, 600, Reason.SEND_LIMIT),
        RateLimit("sends/phone/day", phone_number, per_day, DAY, Reason.SEND_LIMIT),
    ]
    if network:
        caps.append(RateLimit("sends/address/hour", network, limits.SENDS_PER_ADDRESS_HOUR, HOUR, Reason.SEND_LIMIT))
    if not confirmed:
        prefix = phone.prefix(phone_number)
        caps += [
            RateLimit("sends/prefix/hour", prefix, limits.SENDS_PER_PREFIX_HOUR, HOUR, Reason.SEND_LIMIT),
            RateLimit("sends/site/hour", "", limits.SENDS_PER_SITE_HOUR, HOUR, Reason.SITE_BUDGET),
            RateLimit("sends/site/day", "", limits.SENDS_PER_SITE_DAY, DAY, Reason.SITE_BUDGET),
        ]
    return caps


def start_limits(user_pk: object, address: str | None, *, again: bool) -> list[RateLimit]:
    """Return the rate limits of calls that start a code; refunded only if no provider was asked.

    Args:
        address: the client's IP address.
        again: for another code of the same login, which leaves half of the user's calls to new logins.
    """
    limits = conf.current().LIMITS
    network = addresses.rate_limit_key(address)
    per_user = _half(limits.STARTS_PER_USER_HOUR) if again else limits.STARTS_PER_USER_HOUR
    caps = [RateLimit("starts/user/hour", str(user_pk), per_user, HOUR, Reason.SEND_LIMIT)]
    if network:
        caps.append(RateLimit("starts/address/hour", network, limits.STARTS_PER_ADDRESS_HOUR, HOUR, Reason.SEND_LIMIT))
    return caps


def notice_limits(user_pk: object) -> list[RateLimit]:
    """Return the rate limit of emails about used-up sends."""
    return [RateLimit("told/user/hour", str(user_pk), 1, HOUR, Reason.SEND_LIMIT)]


def _half(limit: int) -> int:
    return max(1, limit // 2)


def password_limits(user_pk: object) -> list[RateLimit]:
    """Return the rate limit of wrong passwords, which bounds guessing in a session that was left open."""
    limit = conf.current().LIMITS.TRIES_PER_USER_HOUR
    return [RateLimit("passwords/user/hour", str(user_pk), limit, HOUR, Reason.WRONG_PASSWORDS)]


def require_first_post(form: str) -> None:
    """Refuse a form that was posted before, by a double click or a reload.

    Args:
        form: as ``cookies.form_digest`` returns it; "" is never refused.

    Raises:
        Refused: REPEATED.
    """
    if form:
        rate_limits.reserve(lambda: rate_limits.consume([RateLimit("posts/form/day", form, 1, DAY, Reason.REPEATED)]))


def phone_change_limits(user_pk: object) -> list[RateLimit]:
    """Return the rate limits of a user's phone changes."""
    limits = conf.current().LIMITS
    return [
        RateLimit("changes/user/minute", str(user_pk), 1, 60, Reason.CHANGE_LIMIT),
        RateLimit("changes/user/day", str(user_pk), limits.PHONE_CHANGES_PER_USER_DAY, DAY, Reason.CHANGE_LIMIT),
    ]
