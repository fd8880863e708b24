"""Test the older HTTP SMS API: what it takes, what it answers, and what arrives on the phone."""

from __future__ import annotations

import re
from http import HTTPStatus
from typing import Any
from urllib.parse import urlencode

import pytest

from django_verigator.sandbox import Sandbox
from django_verigator.sandbox.phones import pin_in

from .http_client import PASSWORD, PHONE, USERNAME, send
from .test_number_verification import FORM, text_of

MESSAGE = {"username": USERNAME, "password": PASSWORD, "to": PHONE, "text": "Your code for the shop: 004242"}


def ask(sandbox: Sandbox, path: str = "/send_sms", method: str = "GET", *, form: bool = False, **values: str) -> str:
    parameters = urlencode({name: value for name, value in {**MESSAGE, **values}.items() if value})
    if form:
        return text_of(send(sandbox.url, method, path, headers={"Content-Type": FORM}, raw=parameters.encode()))
    return text_of(send(sandbox.url, method, f"{path}?{parameters}"))


@pytest.mark.parametrize(("method", "form"), [("GET", False), ("POST", False), ("POST", True)])
@pytest.mark.parametrize("path", ["/send_sms", "/send_sms/", "/compat200/send_sms"])
def test_send__brings_the_text_to_the_phone(sandbox: Sandbox, method: str, form: bool, path: str) -> None:
    assert re.fullmatch(r"OK [0-9a-f]{40}\Z", ask(sandbox, path, method, form=form))
    (message,) = sandbox.messages(PHONE)
    assert (message["text"], message["pin"], message["channel"]) == (MESSAGE["text"], "004242", "sms")
    assert sandbox.last_pin(PHONE) == "004242"
    (call,) = sandbox.calls(operation="sms.send")
    assert "004242" not in str({**call, "duration": 0, "time": ""})


def test_send__takes_a_number_as_messente_python_sends_it(sandbox: Sandbox) -> None:
    assert ask(sandbox, to=PHONE[1:]).startswith("OK ")
    assert len(sandbox.messages(PHONE)) == 1


@pytest.mark.parametrize(
    ("values", "answer"),
    [
        ({"password": "wrong"}, "ERROR 101"),
        ({"password": "wrong", "to": ""}, "ERROR 101"),
        ({"username": ""}, "ERROR 101"),
        ({"to": ""}, "ERROR 102"),
        ({"text": ""}, "ERROR 102"),
        ({"text": "x" * 1601}, "ERROR 102"),
        ({"to": "12345"}, "ERROR 105"),
        ({"to": "shop"}, "ERROR 105"),
    ],
)
def test_error__is_a_line_of_text_and_sends_nothing(sandbox: Sandbox, values: dict[str, str], answer: str) -> None:
    assert ask(sandbox, **values) == answer
    assert sandbox.messages() == []


def test_sender__must_be_one_that_the_account_has() -> None:
    with Sandbox(username=USERNAME, password=PASSWORD, senders=("Shop",)) as sandbox:
        assert ask(sandbox, **{"from": "Other"}) == "ERROR 111"
        assert ask(sandbox, **{"from": "Shop"}).startswith("OK ")
        assert ask(sandbox).startswith("OK ")


def test_path__may_have_the_prefix_of_a_proxy() -> None:
    with Sandbox(username=USERNAME, password=PASSWORD, path_prefix="/messente") as sandbox:
        assert ask(sandbox, "/messente/send_sms").startswith("OK ")
        assert ask(sandbox).startswith("OK ")


def test_long_text__is_taken(sandbox: Sandbox) -> None:
    assert ask(sandbox, text="äge " * 400, form=True, method="POST").startswith("OK ")


def test_fault__can_be_ordered(sandbox: Sandbox) -> None:
    sandbox.add_fault("status", status=200, body="FAILED 209", content_type="text/plain", operation="sms.send", times=1)
    assert ask(sandbox) == "FAILED 209"
    assert ask(sandbox).startswith("OK ")


def test_other_method__is_not_allowed(sandbox: Sandbox) -> None:
    response = send(sandbox.url, "PUT", "/send_sms")
    assert (response.status, response.headers["Allow"]) == (HTTPStatus.METHOD_NOT_ALLOWED, "GET, POST, OPTIONS")
    assert send(sandbox.url, "OPTIONS", "/send_sms").status == HTTPStatus.OK


@pytest.mark.parametrize(
    ("text", "pin"),
    [
        ("Your code: 0042", "0042"),
        ("123 then 12345678901234567 then 004242.", "004242"),
        ("Code 1234567890123456\n\n@shop.example #1234567890123456", "1234567890123456"),
        ("123456 is your verification code", "123456"),
        ("１２３４", ""),
        ("Call us: 123", ""),
        ("", ""),
    ],
)
def test_pin__is_the_first_run_of_four_to_sixteen_digits(text: str, pin: Any) -> None:
    assert pin_in(text) == pin
