"""Test time-based one-time passwords."""

from __future__ import annotations

import base64
from urllib.parse import parse_qs, unquote, urlsplit

import pytest

from django_verigator.sandbox import totp

RFC_SECRET = base64.b32encode(b"12345678901234567890").decode()


@pytest.mark.parametrize(
    ("moment", "code"),
    [
        (59, "94287082"),
        (1111111109, "07081804"),
        (1111111111, "14050471"),
        (1234567890, "89005924"),
        (2000000000, "69279037"),
        (20000000000, "65353130"),
    ],
)
def test_code__equals_the_test_vectors_of_rfc_6238(moment: int, code: str) -> None:
    assert totp.code_for(RFC_SECRET, totp.step_at(moment), digits=8) == code
    assert totp.code_for(RFC_SECRET, totp.step_at(moment)) == code[2:]


@pytest.mark.parametrize(("drift", "accepted"), [(-2, False), (-1, True), (0, True), (1, True), (2, False)])
def test_matching_step__allows_one_step_of_drift(drift: int, accepted: bool) -> None:
    token = totp.code_for(RFC_SECRET, 1000 + drift)

    step = totp.matching_step(RFC_SECRET, token, 1000 * totp.PERIOD, after=0)

    assert step == (1000 + drift if accepted else None)


def test_matching_step__refuses_a_used_step() -> None:
    token = totp.code_for(RFC_SECRET, 1000)

    assert totp.matching_step(RFC_SECRET, token, 1000 * totp.PERIOD, after=1000) is None


def test_otpauth_url__holds_what_an_app_needs() -> None:
    url = urlsplit(totp.otpauth_url(RFC_SECRET, issuer="Café & Co", account="john"))

    assert (url.scheme, url.netloc, unquote(url.path)) == ("otpauth", "totp", "/Café & Co:john")
    assert parse_qs(url.query)["secret"] == [RFC_SECRET]
    assert parse_qs(url.query)["issuer"] == ["Café & Co"]
