"""What is typed is read in one form, and whatever comes in breaks nothing."""

from __future__ import annotations

import random
import re
import string
import sys

import phonenumbers
import pytest

from django_verigator import phone
from django_verigator.cleaning import plain_text
from django_verigator.flows import recovery
from django_verigator.forms import PhoneField, PinForm

KEYBOARDS = ["0123456789", "٠١٢٣٤٥٦٧٨٩", "۰۱۲۳۴۵۶۷۸۹", "०१२३४५६७८९", "０１２３４５６７８９"]
MARKS = (
    "\u200e\u200f\u202a\u202c\u2066\u2069\ufeff\u00ad\u200b"
    + " \u00a0\u202f\u3000\t\n\r-\u2010\u2011\u2013\u2212()./+＋"
)
OTHERS = ["+00", "+372", "372", "tel:", "ext", ";", "ABCDEFGHJKMNPQRSTVWXYZ", "ＡＢＣ", "²①½Ⅷ"]
PIECES = [*KEYBOARDS, MARKS, string.printable, *OTHERS]
FUZZ = 20_000


def strings(seed: int):
    rng = random.Random(seed)
    for number in range(FUZZ):
        length = rng.randrange(0, 20)
        if number % 4 == 0:  # a number or PIN as people would type it
            digits = rng.choice(["+372 555", "00372-555", "＋３７２５５５", "+44 (0)20 ", "", ""]) + "".join(
                rng.choice(string.digits) for _ in range(length)
            )
            keyboard = str.maketrans(string.digits, rng.choice(KEYBOARDS))
            yield "".join(c + (rng.choice(MARKS) if rng.random() < 0.2 else "") for c in digits.translate(keyboard))
        elif number % 4 == 1:  # anything that Unicode has
            yield "".join(chr(rng.randrange(sys.maxunicode + 1)) for _ in range(length))
        else:
            yield "".join(rng.choice(rng.choice(PIECES)) for _ in range(length))


@pytest.fixture
def seed() -> int:
    return random.SystemRandom().randrange(2**32)


def reads_as_possible(plain: str) -> str:
    """What the numbers library makes of cleaned text that holds a sign, digits and what stands between them."""
    if not re.fullmatch(r"(\+|00)[0-9 \-().+/]*", plain) or plain.count("+") > plain.startswith("+"):
        return ""
    try:
        number = phonenumbers.parse(re.sub("[^0-9+]", "", re.sub("^00", "+", plain)), None)
    except phonenumbers.NumberParseException:
        return ""
    if not phonenumbers.is_possible_number(number):
        return ""
    found = phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)
    return found if 6 <= len(found) <= 16 else ""  # a sign and 5 to 15 digits are stored


@pytest.mark.fault("P02", "P06")
def test_fuzz__what_comes_in_is_read_as_one_thing_or_refused(seed):
    field = PhoneField()
    taken = {"phone": 0, "pin": 0}
    for text in strings(seed):
        told = f"seed {seed}: {text!r}"
        form = PinForm({"pin": text})
        if form.is_valid():
            taken["pin"] += 1
            pin = form.cleaned_data["pin"]
            assert re.fullmatch("[0-9]{4,16}", pin, re.ASCII), told
            assert pin == re.sub("[ .-]", "", plain_text(text)), told
        assert re.fullmatch("[0-9A-Z]{16}|", recovery.normalise(text), re.ASCII), told
        try:
            number = phone.normalise(text)
        except phone.InvalidPhoneError:
            number = ""
        assert re.fullmatch(r"\+[1-9][0-9]{4,14}|", number, re.ASCII), told
        if expected := reads_as_possible(plain_text(text)):
            assert number == expected, told
            taken["phone"] += 1
        if not number:
            with pytest.raises(Exception, match=r"Type the number|This field is required|[Nn]ull characters|at most"):
                field.clean(text)
    assert min(taken.values()) > 100, "the fuzz is of things that are taken, too"


@pytest.mark.parametrize(
    ("typed", "plain"),
    [
        ("٤٢", "42"),
        ("４２", "42"),
        ("\u202a42\u202c\n", "42"),
        ("4\u22122", "4-2"),
        ("4\u00a02", "4 2"),
        ("²", "²"),
        ("4\x002", "4\x002"),
        ("ＡＢ", "AB"),
        ("äß", "äß"),
    ],
)
def test_plain_text__is_what_was_meant(typed, plain):
    assert plain_text(typed) == plain
