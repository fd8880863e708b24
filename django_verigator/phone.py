"""Phone numbers: one stored form (E.164), one masked form, and what the numbering plan says of them."""

from __future__ import annotations

import re

try:
    import phonenumbers
    from phonenumbers import PhoneNumberType
except ImportError as error:
    # Two packages of the index install this one module: whoever removes one of them takes the files of the other along.
    raise ImportError(
        "The module phonenumbers is not there, or not whole: pip install --force-reinstall phonenumberslite"
    ) from error

from .cleaning import plain_text
from .hidden import HiddenText

# What people type between the digits. Anything else that is no digit makes the input no phone number.
_SEPARATORS = re.compile(r"[ \-()./]")
_SCHEME = re.compile(r"tel:", re.IGNORECASE)
_INTERNATIONAL = re.compile(r"\+[0-9]+\Z")
_E164 = re.compile(r"\+[1-9][0-9]{4,14}\Z")
MAX_INPUT = 64
_TYPES = {
    PhoneNumberType.PREMIUM_RATE: "premium_rate",
    PhoneNumberType.SHARED_COST: "shared_cost",
    PhoneNumberType.TOLL_FREE: "toll_free",
    PhoneNumberType.VOIP: "voip",
    PhoneNumberType.PAGER: "pager",
    PhoneNumberType.UAN: "uan",
    PhoneNumberType.VOICEMAIL: "voicemail",
    PhoneNumberType.PERSONAL_NUMBER: "personal_number",
    PhoneNumberType.FIXED_LINE: "fixed_line",
}
TYPES = (*_TYPES.values(), "satellite")
# Satellite networks and other numbers of no country: +870, +878, +881, +882, +883, +888, +979.
_NO_COUNTRY = "001"
_SERVICES = ("premium_rate", "shared_cost", "toll_free")
_SUFFIX_DIGITS = 3


class InvalidPhoneError(ValueError):
    """The text is no phone number in international form. The message never repeats the input."""


def normalise(text: object) -> str:
    """Return the number in E.164 form (``+`` and up to 15 digits).

    ``tel:`` in front is dropped, ``00`` counts as ``+``; blanks, dashes, dots, slashes and brackets are ignored, and
    what ``plain_text`` makes plain is read so. Whether the number is possible (country, length) comes from Google's
    numbering plan; whether it is assigned only the provider can tell.

    Raises:
        InvalidPhoneError: for anything else, also extensions and letters.
    """
    if not isinstance(text, str) or len(text) > MAX_INPUT:
        raise InvalidPhoneError("not a phone number")
    plain = HiddenText(plain_text(text))
    scheme = _SCHEME.match(plain)
    digits = HiddenText(_SEPARATORS.sub("", plain[scheme.end() :] if scheme else plain))
    if digits.startswith("00"):
        digits = HiddenText(f"+{digits[2:]}")
    if not _INTERNATIONAL.match(digits):
        raise InvalidPhoneError("not a phone number in international form")
    try:
        number = phonenumbers.parse(digits, None)
    except phonenumbers.NumberParseException:
        raise InvalidPhoneError("not a phone number in international form") from None
    found = HiddenText(phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164))
    if not phonenumbers.is_possible_number(number) or not _E164.match(found):
        raise InvalidPhoneError("not a possible phone number")
    return found


def as_text(value: object) -> str:
    """Return what a site keeps as a phone number as text, in E.164 form where the value knows its own; "" for nothing.

    A number of the phonenumbers library (django-phonenumber-field's too) prints as its site likes, often without the
    country.
    """
    if isinstance(value, phonenumbers.PhoneNumber) and value.country_code and value.national_number:
        return HiddenText(phonenumbers.format_number(value, phonenumbers.PhoneNumberFormat.E164))
    international = getattr(value, "as_e164", None)
    text = HiddenText(international if isinstance(international, str) else value or "")
    return text if plain_text(text) else ""


def region(number: str) -> str:
    """Return the region of an E.164 number as two capital letters; "001" for numbers of no country, "" if unknown."""
    return phonenumbers.region_code_for_number(phonenumbers.parse(number, None)) or ""


def kind(number: str) -> str:
    """Return what the numbering plan says of an E.164 number, one of TYPES, or "" for an ordinary one."""
    parsed = phonenumbers.parse(number, None)
    if phonenumbers.region_code_for_country_code(parsed.country_code or 0) == _NO_COUNTRY:
        # Services of no country are told apart; what is left are satellite networks, some of which the plan calls VoIP.
        kind = _TYPES.get(phonenumbers.number_type(parsed), "")
        return kind if kind in _SERVICES else "satellite"
    return _TYPES.get(phonenumbers.number_type(parsed), "")


def prefix(number: str) -> str:
    """Return a number without its last three digits: what a block of numbers bought together has in common."""
    return number[:-_SUFFIX_DIGITS]


def mask(number: str) -> str:
    """Return what may be shown and logged of a number: dots and its last two digits."""
    return f"••• {number[-2:]}" if number else ""
