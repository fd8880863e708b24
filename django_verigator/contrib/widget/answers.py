"""What comes back from the widget: checked without a cookie, and carried to the page that has one.

The phone number goes no further than here. What goes on, in an address that servers log, is its keyed digest.
"""

from __future__ import annotations

from dataclasses import astuple, dataclass

from django.core import signing
from django.http import QueryDict

from ... import phone
from ...client import widget
from ...digests import digest
from . import options

CARRY_SECONDS = 60
"""How long the browser may take from one page to the next."""

CANCELLED = "cancelled"
_KEYS = ("user", "version", "status", "phone", "sig")
_MAX_VALUE = 255
_SALT = "django_verigator.widget"


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer whose signature was checked.

    Attributes:
        state: the one-time value of the address that it came to.
        problem: why it confirms nothing, in a word; "" if it is right.
        number: keyed digest of the number that it is about, or "".
    """

    state: str
    problem: str = ""
    number: str = ""


def read(state: str, given: QueryDict) -> Answer:
    """Return what an answer says; only what is exactly the documented one is right.

    Args:
        given: the parameters as they came.
    """
    if len(state) > _MAX_VALUE:
        return Answer("", "malformed")
    # A key that comes twice is read one way by one reader and another way by another.
    if any(len(given.getlist(key)) > 1 or len(given.get(key, "")) > _MAX_VALUE for key in _KEYS):
        return Answer(state, "malformed")
    values = {key: str(given[key]) for key in _KEYS if key in given}
    account = options.current()
    if not widget.verify(values, account.password):
        return Answer(state, "signature")
    if values.get("user") != account.username:
        return Answer(state, "user")
    if values.get("version") != widget.VERSION:
        return Answer(state, "version")
    if values.get("status") == widget.CANCELLED:
        return Answer(state, CANCELLED)
    if values.get("status") != widget.VERIFIED:
        return Answer(state, "status")
    try:
        return Answer(state, number=digest("phone", phone.normalise(values.get("phone"))))
    except phone.InvalidPhoneError:
        return Answer(state, "number")


def seal(answer: Answer) -> str:
    """Return the answer signed by us, for the address of the next page."""
    return signing.dumps(astuple(answer), salt=_SALT)


def unseal(text: str) -> Answer | None:
    """Return the answer that ``seal`` signed, or None if it is none, or too old."""
    try:
        return Answer(*signing.loads(text, salt=_SALT, max_age=CARRY_SECONDS))
    except signing.BadSignature:
        return None
