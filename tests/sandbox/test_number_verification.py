"""Test the Number Verification API: parameters, answers and the order of checks."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Callable
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

from django_verigator.sandbox import Sandbox
from django_verigator.sandbox.store import APPLICATION_ID, SCHEMAS, VERSION

from .http_client import PASSWORD, PHONE, USERNAME, Response, send
from .test_authentication import wrong

CREDENTIALS = {"username": USERNAME, "password": PASSWORD}
FORM = "application/x-www-form-urlencoded"


class Caller:
    def __init__(self, sandbox: Sandbox) -> None:
        self.sandbox = sandbox

    def send(self, path: str, **values: str) -> str:
        body = urlencode({**CREDENTIALS, **values}).encode()
        return text_of(send(self.sandbox.url, "POST", path, headers={"Content-Type": FORM}, raw=body))

    def start(self, **values: str) -> str:
        return self.send("/verify/start/", **{"to": PHONE, **values})

    def started(self, **values: str) -> str:
        """Start a verification and return its id."""
        response = self.start(**values)
        match = re.fullmatch(r"OK (\S+)", response)
        assert match, response
        return match[1]

    def pin(self, verification_id: str, pin: str, **values: str) -> str:
        return self.send("/verify/pin/", verification_id=verification_id, pin=pin, **values)


def text_of(response: Response) -> str:
    assert (response.status, response.headers["Content-Type"]) == (HTTPStatus.OK, "text/plain")
    return response.body.decode()


@pytest.fixture
def caller(sandbox: Sandbox) -> Caller:
    return Caller(sandbox)


def test_start__sends_one_message_and_answers_its_id_without_a_line_end(caller: Caller, sandbox: Sandbox) -> None:
    assert re.fullmatch(r"OK [0-9a-f]{32}\Z", caller.start())

    (message,) = sandbox.messages()
    assert re.fullmatch("[0-9]{4}", message["pin"])
    assert message["text"] == f"Your Verification PIN code is {message['pin']}"
    assert message["to"] == PHONE


def test_pin__is_right_once(caller: Caller, sandbox: Sandbox) -> None:
    verification_id = caller.started()
    pin = sandbox.last_pin(PHONE)

    assert caller.pin(verification_id, wrong(pin)) == "INVALID"
    assert caller.pin(verification_id, pin) == "VERIFIED"
    assert caller.pin(verification_id, pin) == "ERROR 110"
    assert [call["verified"] for call in sandbox.calls(operation="verify.pin")] == [False, True, None]


def test_pin__is_throttled_after_five_wrong_ones_even_if_it_is_right(caller: Caller, sandbox: Sandbox) -> None:
    verification_id = caller.started()
    pin = sandbox.last_pin(PHONE)

    assert [caller.pin(verification_id, wrong(pin)) for _ in range(5)] == ["INVALID"] * 5
    assert caller.pin(verification_id, pin) == "THROTTLED"


@pytest.mark.parametrize(("asked", "seconds"), [({}, 300), ({"validity": "60"}, 60), ({"validity": "1800"}, 1800)])
def test_pin__expires(caller: Caller, sandbox: Sandbox, asked: dict[str, str], seconds: int) -> None:
    pins = {}
    for name in ("early", "late"):
        verification_id = caller.started(**asked)
        pins[name] = verification_id, sandbox.last_pin(PHONE)
    sandbox.advance(seconds - 2)
    assert caller.pin(*pins["early"]) == "VERIFIED"
    sandbox.advance(3)
    assert caller.pin(*pins["late"]) == "EXPIRED"


def test_two_verifications_of_one_phone__are_independent(caller: Caller, sandbox: Sandbox) -> None:
    first, first_pin = caller.started(pin_length="12"), sandbox.last_pin(PHONE)
    second, second_pin = caller.started(pin_length="12"), sandbox.last_pin(PHONE)

    assert caller.pin(second, first_pin) == "INVALID"
    assert caller.pin(first, first_pin) == "VERIFIED"
    assert caller.pin(second, second_pin) == "VERIFIED"


def test_message__is_sent_again_by_the_server(caller: Caller, sandbox: Sandbox) -> None:
    verification_id = caller.started(max_tries="3", retry_delay="40")

    counts = []
    for seconds in (0, 39, 2, 40, 200):
        sandbox.advance(seconds)
        counts.append(len(sandbox.messages(PHONE)))

    assert counts == [1, 1, 2, 3, 3]
    assert len({message["pin"] for message in sandbox.messages()}) == 1
    assert caller.pin(verification_id, sandbox.last_pin(PHONE)) == "VERIFIED"


def test_message__is_not_sent_again_for_a_used_or_expired_pin(caller: Caller, sandbox: Sandbox) -> None:
    verification_id = caller.started()
    caller.pin(verification_id, sandbox.last_pin(PHONE))
    caller.started(retry_delay="100", validity="99")

    sandbox.advance(3600)

    assert len(sandbox.messages()) == 2


def test_message__is_sent_twice_by_default(caller: Caller, sandbox: Sandbox) -> None:
    caller.started()
    sandbox.advance(200)
    assert len(sandbox.messages()) == 2


def test_pins__have_the_length_asked_for_and_are_never_zeros(caller: Caller, sandbox: Sandbox) -> None:
    for length in ("4", "16"):
        caller.started(pin_length=length, template="Code <PIN>, or <PIN>")
        pin = sandbox.last_pin(PHONE)
        assert len(pin) == int(length)
        assert set(pin) != {"0"}
        assert sandbox.messages()[-1]["text"] == f"Code {pin}, or {pin}"


@pytest.mark.parametrize(
    ("values", "response"),
    [
        ({"password": "wrong"}, "ERROR 101"),
        ({"password": "wrong", "to": "", "template": "x"}, "ERROR 101"),
        ({"username": ""}, "ERROR 101"),
        ({"to": ""}, "ERROR 102"),
        ({"to": "abc"}, "ERROR 102"),
        ({"to": "", "template": "no placeholder"}, "ERROR 102"),
        ({"pin_length": "3"}, "ERROR 102"),
        ({"pin_length": "17"}, "ERROR 102"),
        ({"pin_length": "٤"}, "ERROR 102"),
        ({"max_tries": "0"}, "ERROR 102"),
        ({"retry_delay": "soon"}, "ERROR 102"),
        ({"validity": "1801"}, "ERROR 102"),
        ({"template": "x" * 256}, "ERROR 102"),
        ({"template": "Your <pin>"}, "ERROR 109"),
        ({"template": "Your code", "from": "Nobody"}, "ERROR 109"),
        ({"from": "Nobody"}, "ERROR 111"),
    ],
)
def test_start__answers_errors_and_sends_nothing(
    start_sandbox: Callable[..., Sandbox], values: dict[str, str], response: str
) -> None:
    sandbox = start_sandbox(senders=["Shop"])
    assert Caller(sandbox).start(**{"from": "Shop", **values}) == response
    assert sandbox.messages() == []


def test_pin__answers_errors(caller: Caller) -> None:
    verification_id = caller.started()

    assert caller.pin(verification_id, "1234", password="wrong") == "ERROR 101"
    assert caller.pin("", "1234") == "ERROR 102"
    assert caller.pin(verification_id, "") == "ERROR 102"
    assert caller.pin("unknown", "1234") == "ERROR 110"


def test_pin__of_another_account_is_unknown(start_sandbox: Callable[..., Sandbox]) -> None:
    sandbox = start_sandbox(accounts={"other": "secret"})
    caller = Caller(sandbox)
    verification_id = caller.started()

    assert caller.pin(verification_id, sandbox.last_pin(PHONE), username="other", password="secret") == "ERROR 110"


def test_cookie__of_a_right_pin_replaces_the_next_pin(caller: Caller, sandbox: Sandbox) -> None:
    verification_id = caller.started()
    caller.pin(verification_id, sandbox.last_pin(PHONE), cookie="browser", ip="192.0.2.1")
    before = len(sandbox.messages())

    assert caller.start(cookie="browser") == "VERIFIED"
    assert caller.start(cookie="browser", ip="192.0.2.1") == "VERIFIED"
    assert len(sandbox.messages()) == before
    for other in ({"cookie": "another"}, {"cookie": "browser", "ip": "198.51.100.1"}, {}):
        assert caller.start(**other).startswith("OK ")
    assert caller.start(cookie="browser", to="+3725555556").startswith("OK ")


# How each of Messente's clients sends its parameters.

FORMS: dict[str, Callable[[dict[str, str]], dict[str, Any]]] = {
    "generated: POST, query, empty body": lambda values: {"method": "POST", "query": values},
    "messente-python: GET": lambda values: {"method": "GET", "query": values},
    "java-sdk: POST, form and query": lambda values: {"method": "POST", "query": values, "form": values},
    "java-sdk with GET": lambda values: {"method": "GET", "query": values},
    "form alone": lambda values: {"method": "POST", "form": values},
}


@pytest.mark.parametrize("slash", ["", "/"])
@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
@pytest.mark.parametrize("to", [PHONE, PHONE[1:]])
def test_client_forms__are_all_accepted(
    sandbox: Sandbox, form: Callable[[dict[str, str]], dict[str, Any]], slash: str, to: str
) -> None:
    def call(path: str, values: dict[str, str]) -> str:
        sent = form({**CREDENTIALS, **values})
        query = f"?{urlencode(sent['query'])}" if "query" in sent else ""
        body = urlencode(sent["form"]).encode() if "form" in sent else b""
        headers = {"Content-Type": FORM, "X-Service-Auth": ""} if body else {"X-Service-Auth": ""}
        return text_of(send(sandbox.url, sent["method"], path + slash + query, headers=headers, raw=body))

    optional = {"template": "", "pin_length": "", "from": "", "max_tries": "", "cookie": "", "browser": "x/1.0"}
    response = call("/verify/start", {"to": to, **optional})
    verification_id = response.removeprefix("OK ")
    assert verification_id != response
    # messente-python sends an empty "to" along with the PIN.
    assert (
        call("/verify/pin", {"to": "", "verification_id": verification_id, "pin": sandbox.last_pin(PHONE)})
        == "VERIFIED"
    )


def test_other_methods__are_refused(sandbox: Sandbox) -> None:
    query = urlencode({**CREDENTIALS, "to": PHONE})
    for method in ("PUT", "DELETE", "HEAD"):
        response = send(sandbox.url, method, f"/verify/start?{query}")
        assert (response.status, response.headers["Allow"]) == (HTTPStatus.METHOD_NOT_ALLOWED, "GET, POST, OPTIONS")
    assert send(sandbox.url, "OPTIONS", "/verify/start").status == HTTPStatus.OK
    assert sandbox.messages() == []


def test_call_log__has_neither_credentials_nor_pin(caller: Caller, sandbox: Sandbox) -> None:
    verification_id = caller.started()
    pin = sandbox.last_pin(PHONE)
    query = urlencode({**CREDENTIALS, "verification_id": verification_id, "pin": pin})
    send(sandbox.url, "GET", f"/verify/pin?{query}")

    calls = sandbox.calls()

    assert [call["operation"] for call in calls] == ["verify.start", "verify.pin"]
    assert [call["path"] for call in calls] == ["/verify/start/", "/verify/pin"]
    logged = str([{**call, "id": 0, "time": "", "duration": 0} for call in calls])
    assert not [secret for secret in (PASSWORD, pin, verification_id, PHONE[1:]) if secret in logged]


def test_faults__apply_to_these_calls_too(caller: Caller, sandbox: Sandbox) -> None:
    sandbox.add_fault("status", status=200, body="FAILED 209", content_type="text/plain", operation="verify.start")

    assert caller.start() == "FAILED 209"
    assert sandbox.messages() == []
    assert caller.pin("unknown", "1234") == "ERROR 110"


def test_path_prefix__serves_this_api_too(start_sandbox: Callable[..., Sandbox]) -> None:
    sandbox = start_sandbox(path_prefix="/messente")
    assert Caller(sandbox).send("/messente/verify/start", to=PHONE).startswith("OK ")


@pytest.mark.parametrize("version", range(1, VERSION))
def test_file_of_an_earlier_version__is_upgraded(
    start_sandbox: Callable[..., Sandbox], tmp_path: Path, version: int
) -> None:
    path = tmp_path / "old.sqlite3"
    connection = sqlite3.connect(path)
    connection.executescript(" ".join(SCHEMAS[:version]))
    connection.executescript(f"PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {version};")
    connection.close()

    for _ in range(2):
        sandbox = start_sandbox(db=str(path))
        assert Caller(sandbox).start().startswith("OK ")
        sandbox.stop()


def test_reset__forgets_verifications_and_cookies(caller: Caller, sandbox: Sandbox) -> None:
    verification_id = caller.started()
    pin = sandbox.last_pin(PHONE)
    caller.pin(verification_id, pin, cookie="browser")
    open_verification = caller.started()

    sandbox.reset()

    assert caller.pin(open_verification, "1234") == "ERROR 110"
    assert caller.start(cookie="browser").startswith("OK ")
