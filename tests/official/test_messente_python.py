"""messente-python, Messente's older client: Number Verification, texts, and the signature of the widget."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qsl

import pytest
from messente.api.sms import Messente
from messente.api.sms.api import config
from messente.api.sms.api.error import InvalidMessageError

from django_verigator.backends import Recipient
from django_verigator.sandbox import Sandbox
from django_verigator.sandbox.http_messages import Request
from tests.contract.messente_sms import MessenteSmsBackend

from .conftest import PASSWORD, PHONE, USERNAME, wrong


@pytest.fixture
def api(sandbox: Sandbox) -> Iterator[Messente]:
    before = {name: dict(config.configuration.items(name)) for name in config.configuration.sections()}
    # It takes no password from its arguments that belongs to the first of its APIs alone: each call gets both anew.
    config.configuration.set("api", "username", USERNAME)
    config.configuration.set("api", "password", PASSWORD)
    yield Messente(urls=[sandbox.url])
    config.configuration.clear()
    config.configuration.read_dict(before)


def start(api: Messente, **data: Any) -> Any:
    return api.number_verification.send_pin({"to": PHONE, **data})


def check(api: Messente, verification_id: str, pin: str) -> Any:
    return api.number_verification.verify_pin({"verification_id": verification_id, "pin": pin})


# --- Number Verification ----------------------------------------------------------------------------------------------


def test_pin__is_right_once(api: Messente, sandbox: Sandbox) -> None:
    started = start(api)
    assert started.is_ok()
    pin = sandbox.last_pin(PHONE)
    if int(wrong(pin)):  # It sends no PIN of zeros alone.
        assert check(api, started.get_verification_id(), wrong(pin)).is_invalid()
    assert check(api, started.get_verification_id(), pin).is_verified()
    again = check(api, started.get_verification_id(), pin)
    assert (again.is_ok(), again.status, again.error_code) == (False, "ERROR", 110)


def test_pin__expires_and_is_throttled(api: Messente, sandbox: Sandbox) -> None:
    late = start(
        api, validity=60, pin_length=6, template="Code: <PIN>", max_tries=1, retry_delay=30
    ).get_verification_id()
    late_pin = sandbox.last_pin(PHONE)
    assert len(late_pin) == 6
    sandbox.advance(61)
    assert check(api, late, late_pin).is_expired()
    guessed = start(api, pin_length=12).get_verification_id()
    answers = [check(api, guessed, "271828182845") for _ in range(6)]
    assert [answer.is_invalid() for answer in answers] == [True] * 5 + [False]
    assert answers[-1].is_throttled()


def test_errors(api: Messente, sandbox: Sandbox) -> None:
    assert check(api, "unknown", "1234").error_code == 110
    sandbox.add_fault("status", status=200, body="FAILED 209", content_type="text/plain", operation="verify.start")
    failed = start(api)
    assert (failed.is_ok(), failed.status, failed.error_code) == (False, "FAILED", 209)
    config.configuration.set("api", "password", "wrong")
    assert check(api, "unknown", "1234").error_code == 101


# --- texts ------------------------------------------------------------------------------------------------------------


def send(api: Messente, **data: Any) -> Any:
    return api.sms.send({"to": PHONE, "text": "Your code: 004242", **data})


def test_text__arrives(api: Messente, sandbox: Sandbox) -> None:
    sent = send(api, **{"validity": 5, "autoconvert": "on", "text-store": "nostore"})
    assert sent.is_ok()
    assert len(sent.get_sms_id()) == 40
    (message,) = sandbox.messages(PHONE)
    assert (message["text"], message["pin"]) == ("Your code: 004242", "004242")


def test_text__that_is_refused(api: Messente, sandbox: Sandbox) -> None:
    with pytest.raises(InvalidMessageError):
        send(api, to="12")
    assert api.sms.send({"to": "12", "text": "x"}, validate=False).error_code == 105
    sandbox.add_fault("status", status=200, body="FAILED 209", content_type="text/plain", operation="sms.send", times=1)
    assert send(api).error_code == 209
    config.configuration.set("api", "password", "wrong")
    refused = send(api)
    assert (refused.is_ok(), refused.get_sms_id(), refused.error_code) == (False, None, 101)
    assert sandbox.messages() == []


def test_text__is_the_request_of_our_gateway(api: Messente, sandbox: Sandbox, requests: list[Request]) -> None:
    """Method, path, parameters and body are equal; of the headers, only those that name the client differ."""
    gateway = MessenteSmsBackend("default", username=USERNAME, password=PASSWORD, endpoint=sandbox.url)
    gateway.start(Recipient("", PHONE), "sms")
    send(api, text=sandbox.messages(PHONE)[0]["text"])
    ours, theirs = requests
    assert (ours.method, ours.path, ours.body) == (theirs.method, theirs.path, theirs.body) == ("GET", "/send_sms", b"")
    assert dict(parse_qsl(ours.query)) == dict(parse_qsl(theirs.query))
    assert dict(parse_qsl(ours.query))["to"] == PHONE[1:]
    gateway.close()


# --- the Verification Widget ------------------------------------------------------------------------------------------

# protocol: Messente's documents, whose own example lacks the last digit.
WIDGET = {
    "user": "039u230pifj23pg9ih23pgi23",
    "pass": "iejfp23oigh230p9gh32pgh2",
    "version": "1",
    "callback_url": "http://mydemo.com/verification/",
}


@pytest.mark.parametrize(
    ("more", "signature"),
    [
        ({}, "75024ad39fc4cee828cd103b88b3df40"),
        ({"phone": "+372512345678"}, "409f1397aed978f2d64044d8ca11b218"),
    ],
)
def test_widget__is_signed_as_documented(api: Messente, more: dict[str, str], signature: str) -> None:
    assert api.verification_widget.calculate_signature({**WIDGET, **more}) == signature
    assert api.verification_widget.verify_signature(signature, {**WIDGET, **more})
