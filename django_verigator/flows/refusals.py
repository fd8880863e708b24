"""Why a flow said no, in a form that a page, a command or an API can explain."""

from __future__ import annotations

import enum
from datetime import datetime


class Reason(enum.Enum):
    """The value is the word that is logged and sent with signals."""

    WRONG = "wrong"  # the provider says the PIN is not right
    UNCLEAR = "unclear"  # the provider was asked, its verdict did not arrive or made no sense
    UNAVAILABLE = "unavailable"  # the provider could not be asked
    EXPIRED = "expired"  # the code is too old, or the provider knows of none
    USED = "used"  # this code has logged in somebody already
    SUPERSEDED = "superseded"  # a newer code was sent
    TOO_MANY_TRIES = "too_many_tries"  # for this code: only a new one helps
    LOCKED = "locked"  # for this user, for some time
    NOTHING_SENT = "nothing_sent"  # there is no code yet
    LOST = "lost"  # the provider's answer was, and with it what a PIN could be checked against
    PAUSE = "pause"  # a code went out a moment ago
    SEND_LIMIT = "send_limit"  # too many codes for this user, number or address
    SITE_BUDGET = "site_budget"  # the site's budget of codes is used up
    WRONG_PASSWORDS = "wrong_passwords"  # too many wrong passwords where it is asked for once more
    SAME_PHONE = "same_phone"  # the new number is the one in force
    CHANGE_LIMIT = "change_limit"  # too many new numbers
    STOPPED = "stopped"  # too many wrong PINs in a row: only support or a new password helps
    NUMBER_REFUSED = "number_refused"  # a country or kind of number that no code is sent to
    WRONG_CODE = "wrong_code"  # a recovery code that is none, or was used
    SMS_FORBIDDEN = "sms_forbidden"  # only the app is allowed, and it is not linked
    NO_PHONE = "no_phone"  # there is no number to send to
    BUSY = "busy"  # the user is just being registered by somebody else
    REPEATED = "repeated"  # this very form was posted before
    ENDED = "ended"  # the pending login is over: back to the password


class Refused(Exception):  # noqa: N818 - the field's word; nothing went wrong
    """A flow refuses. Carries no PIN, number or provider text.

    Attributes:
        reason: why.
        until: when trying again makes sense, or None.
        tries_left: for a wrong PIN, how many more may be tried against this code.
        scope: for a limit, which one.
    """

    def __init__(
        self,
        reason: Reason,
        *,
        until: datetime | None = None,
        tries_left: int | None = None,
        scope: str = "",
    ) -> None:
        super().__init__(reason.value)
        self.reason = reason
        self.until = until
        self.tries_left = tries_left
        self.scope = scope
