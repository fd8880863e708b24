"""One row of an import, and its verdict."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum

from .. import phone, shown
from ..exceptions import Refused
from . import site_phones

ID_LENGTH = 64


class Verdict(Enum):
    """What becomes of a row; the value is what the command prints."""

    NEW = "new"
    CHANGED = "changed"
    UNCHANGED = "in already"

    COLUMNS = "it has more or fewer columns than the first line"
    MALFORMED = "it cannot be read as CSV (a quote that does not end?)"
    ENCODING = "it has bytes that are not of the file's encoding, or characters that no name has"
    UNKNOWN_USER = "there is no such user"
    USER_TWICE = "the user stands in the file more than once"
    USER_ID_TWICE = "the UserID, or the id in the service, stands in the file more than once"
    BAD_PHONE = "the phone is no number in international form"
    NUMBER_REFUSED = "nothing is sent to such a number (COUNTRIES, REFUSED_NUMBER_TYPES)"
    BAD_USER_ID = "that is no UserID"
    BAD_ID_IN_SERVICE = "that is no id in the service, or it has no UserID with it"
    NO_RECORDS = "no provider in BACKENDS keeps user records, so there are no UserIDs"
    UNKNOWN_USER_ID = "the provider does not know the UserID"
    USER_ID_TAKEN = "the UserID, or the id in the service, belongs to another user here"
    USER_ID_DELETED = "the UserID, or the id in the service, is to be deleted at the provider"
    OTHER_PHONE_ON_SITE = "the site has another number for the user, and the phone is not given as confirmed"
    OTHER_PHONE_CONFIRMED = "the user has confirmed another phone"
    OTHER_PHONE_REGISTERED = "the user is registered with another phone"
    OTHER_USER_ID = "the user is linked to another UserID"
    BUSY = "the user is just being registered; try again in a minute"

    @property
    def is_refusal(self) -> bool:
        """Whether the row is not written."""
        return self not in (Verdict.NEW, Verdict.CHANGED, Verdict.UNCHANGED)


@dataclass(frozen=True, slots=True)
class Row:
    """One row of the file, as written there.

    Attributes:
        line: the number of its first line.
        problem: why it cannot be read, or None.
    """

    line: int
    username: str = ""
    phone: str = ""
    user_id: str = ""
    id_in_service: str = ""
    problem: Verdict | None = None

    def __repr__(self) -> str:
        return f"<Row {self.line}>"

    @property
    def shown_name(self) -> str:
        """The username as a report may show it: where columns are mixed up, it is a phone number."""
        return shown.name(self.username)


def keys(row: Row) -> list[tuple[str, str]]:
    """Return what only one row of a file may have, as kind and value: nothing for a row that cannot be read."""
    found = [("user", row.username), ("id", row.user_id), ("name", row.id_in_service)]
    return [] if row.problem else [key for key in found if key[1]]


def cleaned(row: Row) -> Row:
    """Return the row without blanks around its values, and with a problem if no database can store them."""
    row = replace(
        row, username=row.username.strip(), user_id=row.user_id.strip(), id_in_service=row.id_in_service.strip()
    )
    # Databases store neither NUL nor a lone surrogate.
    if not row.problem and not (row.username + row.user_id + row.id_in_service).isprintable():
        row = replace(row, problem=Verdict.ENCODING)
    return row


def is_id(text: str, longest: int) -> bool:
    """Whether a text can be a UserID or an id in the service."""
    return 0 < len(text) <= longest and " " not in text


def number(row: Row) -> tuple[str, Verdict | None]:
    """Return the row's phone in E.164 form and None, or "" and why it is refused."""
    try:
        number = phone.normalise(row.phone)
        site_phones.require_allowed(number)
    except phone.InvalidPhoneError:
        return "", Verdict.BAD_PHONE
    except Refused:
        return "", Verdict.NUMBER_REFUSED
    return number, None
