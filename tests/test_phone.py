from __future__ import annotations

import runpy
import sys
import types

import pytest

from django_verigator import phone


@pytest.mark.parametrize(
    "text",
    ["+37255500067", " +372 5550 0067 ", "00372 5550-0067", "+372 (5550) 00.67", "+372\u00a05550\u00a00067"],
)
def test_normalise__gives_one_form_of_what_is_typed(text):
    assert phone.normalise(text) == "+37255500067"


@pytest.mark.fault("P02", "P06")
@pytest.mark.parametrize(
    "text",
    ["+37255500067\n", "\u202a+372 5550 0067\u202c", "+372 5550\u20110067", "+372\u20135550\u22120067",
     "tel:+372-5550-0067", "TEL: +372 5550 0067", "＋３７２　５５５０－００６７", "+٣٧٢٥٥٥٠٠٠٦٧", "٠٠٣٧٢٥٥٥٠٠٠٦٧",
     "+372\t5550\r\n0067", "\ufeff+37255500067",
     "+372\u200b5550\u200d0067", "+372\u202f5550\u20090067", "+372 5550\u00ad0067", "\u2066+37255500067\u2069",
     "+372（5550）0067"],
)  # fmt: skip
def test_normalise__gives_one_form(text):
    assert phone.normalise(text) == "+37255500067"


@pytest.mark.parametrize(
    "text",
    ["", "55500067", "+", "+0", "+37255500067x1", "+372 55500067, +372 55500068", "+³⁷²⁵⁵⁵⁰⁰⁰⁶⁷", "+372\x0055500067",
     "+3725550006712345", "tel:", "tel:55500067", None, 37255500067, "+" + "3" * 100],
)  # fmt: skip
def test_normalise__refuses_without_repeating_the_input(text):
    with pytest.raises(phone.InvalidPhoneError) as caught:
        phone.normalise(text)
    assert "5550" not in str(caught.value)


def test_mask__shows_two_digits():
    assert phone.mask("+37255500067") == "••• 67"
    assert phone.mask("") == ""


@pytest.mark.fault("X12")
@pytest.mark.parametrize("left", [None, types.ModuleType("phonenumbers")])
def test_module_that_another_package_took_along__is_told_with_the_remedy(monkeypatch, left):
    monkeypatch.setitem(sys.modules, "phonenumbers", left)
    with pytest.raises(ImportError, match="pip install --force-reinstall phonenumberslite"):
        runpy.run_path(phone.__file__, {"__package__": "django_verigator"})
