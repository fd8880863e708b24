"""PINs that the app makes and checks itself, for a gateway that only sends texts."""

from __future__ import annotations

import hashlib
import logging
import re
import time
import traceback

import pytest
from django.core.checks import run_checks

from django_verigator import checks
from django_verigator.backends import Checked, Recipient
from django_verigator.backends.texts import TextBackend
from django_verigator.client import SecretText
from django_verigator.exceptions import (
    ConnectionFailedError,
    NoSuchResourceError,
    RequestTimeoutError,
    VerigatorError,
)
from django_verigator.sandbox import Sandbox

from .contract.messente_sms import MessenteSmsBackend
from .test_frames import watched

ALICE = "+37255500067"
TO = Recipient("", ALICE)
NAME = f"{__name__}.Gateway"


class Gateway(TextBackend):
    """Keeps what it is to send, or raises."""

    def __init__(self, alias="default", *, error=None, message_id=None, **options):
        super().__init__(alias, **options)
        self.error, self.message_id, self.sent, self.seconds = error, message_id, [], []

    def send_text(self, phone_number, text, *, timeout):
        self.seconds.append(timeout)
        self.sent.append((phone_number, text))
        if self.error is not None:
            raise self.error
        return self.message_id

    @property
    def pin(self):
        return re.search("[0-9]{4,}", self.sent[-1][1])[0]


def check(gateway, reference, pin=None):
    return gateway.check(Recipient(""), pin or gateway.pin, reference)


# --- the PIN and the text ---------------------------------------------------------------------------------------------


def test_pin__is_made_with_secrets(monkeypatch):
    asked = []
    monkeypatch.setattr("secrets.randbelow", lambda number: asked.append(number) or 42)
    gateway = Gateway(pin_length=6)
    started = gateway.start(TO, "sms")
    assert (asked, gateway.pin, started.method) == ([10**6], "000042", "sms")


@pytest.mark.parametrize("length", [4, 6, 16])
def test_pin__is_as_long_as_asked_for(length):
    gateway = Gateway(pin_length=length)
    assert check(gateway, gateway.start(TO, "sms").reference) == Checked(True)
    assert re.fullmatch(f"[0-9]{{{length}}}", gateway.pin)


def test_pin__is_as_long_as_the_site_says(settings):
    settings.VERIGATOR = {**settings.VERIGATOR, "PIN_LENGTH": 8}
    gateway = Gateway()
    gateway.start(TO, "sms")
    assert len(gateway.pin) == 8


def test_text__is_the_template_with_the_pin_in_it():
    for template, expected in ((None, "Your Verification PIN code is {}"), ("<PIN>: <PIN>, äge", "{0}: {0}, äge")):
        gateway = Gateway(template=template, pin_length=6)
        gateway.start(TO, "sms")
        assert gateway.sent == [(ALICE, expected.format(gateway.pin))]


def test_text__ends_with_the_line_that_binds_it_to_the_site():
    """WICG, "Origin-bound one-time codes delivered via SMS": the last line is "@", the host, a blank, "#", the code."""
    gateway = Gateway(domain="shop.example", template="Your code for the shop: <PIN>", pin_length=6)
    gateway.start(TO, "sms")
    lines = gateway.sent[0][1].split("\n")
    assert lines == [f"Your code for the shop: {gateway.pin}", "", f"@shop.example #{gateway.pin}"]


@pytest.mark.parametrize(
    "domain", ["Shop.example", "https://shop.example", "shop", "shop.example/", "a.b\n", " a.b", 5, None]
)
def test_domain__that_is_none_is_refused(domain):
    with pytest.raises(ValueError, match="domain must be a host name"):
        Gateway(domain=domain)


@pytest.mark.parametrize(
    ("options", "found"),
    [
        ({}, []),
        ({"validity": 600, "pin_length": 6, "template": "<PIN>", "domain": "shop.example", "total_timeout": 5}, []),
        ({"validity": 60}, ["verigator.E020"]),
        ({"template": "Your code"}, ["verigator.E002"]),
        ({"pin_length": 3}, ["verigator.E002"]),
        ({"validity": 1801}, ["verigator.E002"]),
        ({"total_timeout": 0}, ["verigator.E002"]),
        ({"pin_lenght": 6}, ["verigator.E002"]),
    ],
)
def test_checks__of_its_options(settings, options, found):
    settings.VERIGATOR = {"BACKENDS": {"default": {"BACKEND": NAME, "OPTIONS": options}}}
    assert [message.id for message in run_checks(tags=[checks.TAG])] == found


def test_gateway__is_given_the_seconds_that_are_left():
    gateway = Gateway(total_timeout=7)
    gateway.start(TO, "sms")
    gateway.start(TO, "sms", timeout=2.5)
    assert gateway.seconds == [7, 2.5]


def test_message_id__is_the_gateway_s():
    assert Gateway(message_id="abc").start(TO, "sms").message_id == "abc"
    assert Gateway().start(TO, "sms").message_id == ""


# --- the reference ----------------------------------------------------------------------------------------------------


def test_reference__holds_no_pin_and_says_nothing_without_the_key():
    gateway = Gateway(pin_length=16)
    reference = gateway.start(TO, "sms").reference
    assert gateway.pin not in reference
    assert len(reference) <= 255
    random, expires, digest = reference.split(".")
    guesses = (gateway.pin, f"{random}.{expires}.{gateway.pin}", f"{random}{gateway.pin}", f"own_pin{gateway.pin}")
    assert digest not in [hashlib.sha256(guess.encode()).hexdigest() for guess in guesses]


def test_reference__of_an_equal_pin_is_another(monkeypatch):
    monkeypatch.setattr("secrets.randbelow", lambda number: 1234)
    gateway = Gateway()
    first, second = (gateway.start(TO, "sms").reference for _ in range(2))
    assert set(first.split(".")[::2]).isdisjoint(second.split(".")[::2])
    assert check(gateway, first).verified is check(gateway, second).verified is True


@pytest.mark.parametrize(("fallbacks", "verified"), [(["old" * 20], True), ([], False), (["another" * 9], False)])
def test_reference__outlives_a_rotation_of_the_key(settings, fallbacks, verified):
    settings.SECRET_KEY = "old" * 20
    gateway = Gateway(pin_length=16)
    reference = gateway.start(TO, "sms").reference
    settings.SECRET_KEY, settings.SECRET_KEY_FALLBACKS = "new" * 20, fallbacks
    assert check(gateway, reference) == Checked(verified)
    assert check(gateway, reference, "0" * 16) == Checked(False)


def test_reference__of_another_challenge_is_refused():
    gateway = Gateway(pin_length=16)
    first, first_pin = gateway.start(TO, "sms").reference, gateway.pin
    second, second_pin = gateway.start(TO, "sms").reference, gateway.pin
    assert check(gateway, first, second_pin) == check(gateway, second, first_pin) == Checked(False)
    assert check(gateway, first, first_pin) == check(gateway, second, second_pin) == Checked(True)


def mixed(gateway):
    """References made of the parts of two, both of which are in force."""
    gateway.start(TO, "sms")
    random, expires, digest = gateway.start(TO, "sms").reference.split(".")
    other_random, _, other_digest = gateway.start(TO, "sms").reference.split(".")
    later = str(int(expires) + 1)
    parts = [(other_random, expires, other_digest[::-1]), (random, later, other_digest), (random, expires, "0" * 64)]
    return [".".join(each) for each in parts], f"{random}.{expires}.{digest}"


def test_reference__that_is_forged_is_wrong():
    gateway = Gateway(pin_length=16)
    forged, _ = mixed(gateway)
    assert [check(gateway, reference) for reference in forged] == [Checked(False)] * 3


def test_reference__cannot_be_made_to_last_longer(monkeypatch):
    gateway = Gateway()
    random, expires, digest = gateway.start(TO, "sms").reference.split(".")
    monkeypatch.setattr(time, "time", lambda: int(expires) + 1)
    assert check(gateway, f"{random}.{int(expires) + 10}.{digest}") == Checked(False)


@pytest.mark.parametrize(
    "garble",
    [
        lambda reference: "",
        lambda reference: "no-such-reference",
        lambda reference: reference[:-1],
        lambda reference: reference[1:],
        lambda reference: reference + "0",
        lambda reference: reference + "\n",
        lambda reference: " " + reference,
        lambda reference: reference.upper(),
        lambda reference: reference.replace(".", ":"),
        lambda reference: re.sub(r"\.[0-9]+\.", "..", reference),
        lambda reference: re.sub(r"\.[0-9]+\.", ".-1.", reference),
        lambda reference: re.sub(r"\.[0-9]+\.", ".9999999999999.", reference),
        lambda reference: re.sub(r"\.[0-9]+\.", ".١٢٣.", reference),
        lambda reference: reference * 100_000,
        lambda reference: "0" * 10_000_000,
    ],
)
def test_reference__that_is_garbled_is_none(garble):
    gateway = Gateway()
    garbled = garble(gateway.start(TO, "sms").reference)
    with pytest.raises(NoSuchResourceError) as caught:
        check(gateway, garbled)
    assert caught.value.sent is False
    assert len(str(caught.value)) < 100


def test_pin__expires(monkeypatch):
    gateway = Gateway(validity=300)
    began = int(time.time())
    monkeypatch.setattr(time, "time", lambda: began)
    reference = gateway.start(TO, "sms").reference
    for seconds, verdict in ((299.9, Checked(True)), (300, Checked(False, expired=True))):
        monkeypatch.setattr(time, "time", lambda seconds=seconds: began + seconds)
        assert check(gateway, reference) == verdict
    assert check(gateway, reference, "wrong") == Checked(False, expired=True)


@pytest.mark.parametrize("pin", ["", "x", "１２３４", "-1", "0" * 10_000, "%s", "1234 "])
def test_pin__that_is_none_is_wrong(pin):
    gateway = Gateway()
    reference = gateway.start(TO, "sms").reference
    assert gateway.check(Recipient(""), pin, reference) == Checked(False)


def test_check__asks_nobody():
    gateway = Gateway()
    reference = gateway.start(TO, "sms").reference
    gateway.error = RuntimeError("down")
    assert check(gateway, reference).verified is True
    assert len(gateway.sent) == 1


# --- a gateway that fails ---------------------------------------------------------------------------------------------


def failure(gateway):
    with pytest.raises(VerigatorError) as caught:
        gateway.start(TO, "sms")
    return caught.value


def everything_of(error):
    """What logs, pages and trackers can show of it: its words, its attributes, each frame with its variables."""
    shown = traceback.TracebackException(type(error), error, error.__traceback__, capture_locals=True)
    return f"{error!r} {error!s} {error.__dict__} {''.join(shown.format())}"


class Talkative(Gateway):
    """Its library puts what it was given into its errors, one made from another."""

    def send_text(self, phone_number, text, *, timeout):
        super().send_text(phone_number, text, timeout=timeout)
        try:
            raise KeyError(str(text))
        except KeyError as error:
            raise self.error_of(f"cannot send {text} to {phone_number}") from error

    error_of = RuntimeError


class Careless(Talkative):
    """It knows our exceptions, and still leaves behind them what it has caught."""

    def error_of(self, text):
        return RequestTimeoutError("no answer")


@pytest.mark.fault("X14")
def test_unexpected_exception__becomes_ours_without_the_text(caplog):
    caplog.set_level(logging.DEBUG)
    gateway = Talkative(pin_length=16)
    error = failure(gateway)
    assert type(error) is ConnectionFailedError
    assert (error.sent, error.__cause__, error.__context__) == (True, None, None)
    # The test's own frames have the recipient.
    for secret in (gateway.pin, "55500067"):
        assert secret not in everything_of(error).replace(f"{ALICE!r}", "")
        assert secret not in caplog.text
    assert re.search(
        r"send_text_failed error=RuntimeError where=test_own_pins.py, line \d+$", caplog.text, re.MULTILINE
    )
    assert "send_text raised RuntimeError in test_own_pins.py, line" in str(error)


@pytest.mark.fault("X14")
def test_exception_of_ours__leaves_behind_what_it_was_made_of():
    gateway = Careless(pin_length=16)
    error = failure(gateway)
    assert type(error) is RequestTimeoutError
    assert (error.__cause__, error.__context__) == (None, None)
    assert gateway.pin not in "".join(traceback.format_exception(error))


def test_lost_answer__leaves_something_to_check_the_pin_against():
    for problem in (RuntimeError("boom"), RequestTimeoutError("late"), OSError(5, "x")):
        gateway = Gateway(error=problem)
        error = failure(gateway)
        assert error.sent is True
        assert check(gateway, error.reference) == Checked(True)


def test_text_that_never_left__leaves_nothing():
    error = failure(Gateway(error=ConnectionFailedError("refused", sent=False)))
    assert (error.sent, error.reference) == (False, "")


def test_interrupt__is_no_failure():
    with pytest.raises(KeyboardInterrupt):
        Gateway(error=KeyboardInterrupt()).start(TO, "sms")


@pytest.mark.fault("X14")
@pytest.mark.parametrize("operation", ["sms.send", ""])
def test_frames_of_a_text__show_neither_pin_nor_number(db, monkeypatch, operation):
    monkeypatch.setattr("secrets.randbelow", lambda number: 271828182845)
    number, credential = SecretText(ALICE), SecretText("canary-password")
    with Sandbox(username="canary-user", password=str(credential)) as sandbox:
        gateway = MessenteSmsBackend(
            "default", username="canary-user", password=credential, endpoint=sandbox.url, pin_length=16
        )
        if operation:
            sandbox.add_fault("close", operation=operation)
        with watched("271828182845", "2718281828459999", ALICE[1:], "canary-password") as found:
            try:
                reference = gateway.start(Recipient("", number), "sms").reference
            except VerigatorError as error:
                reference = error.reference
            gateway.check(Recipient(""), SecretText("2718281828459999"), reference)
        assert len(sandbox.calls()) == 1
    assert found == set()
