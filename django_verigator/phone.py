"""Phone numbers: the stored form (E.164), the masked form, and what the numbering plan says about a number."""

from __future__ import annotations

import re

try:
    import phonenumbers
    from phonenumbers import PhoneNumberType
except ImportError as error:
    # Both phonenumbers and phonenumberslite install this module; uninstalling one removes the files of the other.
    raise ImportError(
        "The module phonenumbers is not there, or not whole: pip install --force-reinstall phonenumberslite"
    ) from error

from .cleaning import plain_text
from .hidden import HiddenText

# Allowed between the digits; any other character makes the input invalid.
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
# The library's region for numbers without a country: +870, +878, +881, +882, +883, +888, +979.
_NO_COUNTRY = "001"
_SERVICES = ("premium_rate", "shared_cost", "toll_free")
_SUFFIX_DIGITS = 3


class InvalidPhoneError(ValueError):
    """A text that is no phone number in international form. The message never repeats it."""


def normalise(text: object) -> str:
    """Return the number in E.164 form (``+`` and up to 15 digits).

    After ``plain_text`` a leading ``tel:`` is dropped, ``00`` becomes ``+``, and blanks, dashes, dots, slashes and
    brackets are ignored. Google's numbering plan decides whether the number is possible (country, length); only the
    provider knows whether it is assigned.

    Raises:
        InvalidPhoneError: for anything else, such as extensions and letters.
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
    """Return the text of a site's value for a phone number, in E.164 form if the value has one; "" if it is empty.

    The ``str()`` of a number of the phonenumbers library (and of django-phonenumber-field) often lacks the country.
    """
    if isinstance(value, phonenumbers.PhoneNumber) and value.country_code and value.national_number:
        return HiddenText(phonenumbers.format_number(value, phonenumbers.PhoneNumberFormat.E164))
    international = getattr(value, "as_e164", None)
    text = HiddenText(international if isinstance(international, str) else value or "")
    return text if plain_text(text) else ""


def region(number: str) -> str:
    """Return the region of an E.164 number in two capital letters; "001" without a country, "" if unknown."""
    return phonenumbers.region_code_for_number(phonenumbers.parse(number, None)) or ""


def kind(number: str) -> str:
    """Return the type of an E.164 number by the numbering plan, one of TYPES; "" for an ordinary number."""
    parsed = phonenumbers.parse(number, None)
    if phonenumbers.region_code_for_country_code(parsed.country_code or 0) == _NO_COUNTRY:
        # Apart from the services these are satellite networks, though the plan calls some of them VoIP.
        kind = _TYPES.get(phonenumbers.number_type(parsed), "")
        return kind if kind in _SERVICES else "satellite"
    return _TYPES.get(phonenumbers.number_type(parsed), "")


def prefix(number: str) -> str:
    """Return the number without its last three digits: the part that a block of numbers bought together shares."""
    return number[:-_SUFFIX_DIGITS]


def mask(number: str) -> str:
    """Return dots and the last two digits, which is all that may be shown or logged; "" for no number."""
    return f"••• {number[-2:]}" if number else ""
