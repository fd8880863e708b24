"""Test the sandbox's side of Twilio Verify: answers, limits, accounts and faults."""

from __future__ import annotations

import base64
from collections.abc import Callable
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

from django_verigator.sandbox import Sandbox

from .http_client import PASSWORD, PHONE, USERNAME, Response, send
from .test_authentication import wrong

SERVICE = f"/v2/Services/VA{'0a' * 16}"
OTHER_SERVICE = f"/v2/Services/VA{'1b' * 16}"
FORM = "application/x-www-form-urlencoded"


class Caller:
    def __init__(self, sandbox: Sandbox, username: str = USERNAME, password: str = PASSWORD) -> None:
        self.sandbox = sandbox
        self.authorization = "Basic " + base64.b64encode(f"{username}:{password}".encode()).decode()

    def send(self, method: str, path: str, **values: str) -> Response:
        headers = {"Content-Type": FORM, "Authorization": self.authorization}
        return send(self.sandbox.url, method, path, headers=headers, raw=urlencode(values).encode())

    def start(self, channel: str = "sms", service: str = SERVICE) -> dict[str, Any]:
        response = self.send("POST", f"{service}/Verifications", To=PHONE, Channel=channel)
        assert response.status == HTTPStatus.CREATED, response.body
        data: dict[str, Any] = response.json()
        return data

    def check(self, sid: str, code: str, service: str = SERVICE) -> Response:
        return self.send("POST", f"{service}/VerificationCheck", VerificationSid=sid, Code=code)


def code_of(response: Response) -> tuple[int, int]:
    data = response.json()
    assert set(data) == {"code", "message", "more_info", "status"}
    assert data["status"] == response.status
    return response.status, data["code"]


@pytest.fixture
def caller(sandbox: Sandbox) -> Caller:
    return Caller(sandbox)


@pytest.mark.parametrize("channel", ["sms", "call", "whatsapp"])
def test_start__sends_by_the_channel(caller: Caller, sandbox: Sandbox, channel: str) -> None:
    data = caller.start(channel)
    assert (data["to"], data["channel"], data["status"], data["valid"]) == (PHONE, channel, "pending", False)
    (message,) = sandbox.messages()
    assert message["channel"] == channel
    assert message["text"].startswith("Press any key") == (channel == "call")
    assert message["text"].endswith(f": {message['pin']}")  # where the phone page shows it
    assert message["pin"] not in str(data)


def test_check__is_logged_with_its_verdict(caller: Caller, sandbox: Sandbox) -> None:
    sid = caller.start()["sid"]
    pin = sandbox.last_pin(PHONE)
    assert caller.check(sid, wrong(pin)).json()["status"] == "pending"
    assert caller.check(sid, pin).json()["status"] == "approved"
    assert code_of(caller.check(sid, pin)) == (404, 20404)
    assert [call["verified"] for call in sandbox.calls(operation="twilio.check")] == [False, True, None]


def test_verification__belongs_to_its_service_and_account(start_sandbox: Callable[..., Sandbox]) -> None:
    sandbox = start_sandbox(accounts={"other": "secret"})
    caller, other = Caller(sandbox), Caller(sandbox, "other", "secret")
    sid = caller.start()["sid"]
    pin = sandbox.last_pin(PHONE)
    assert code_of(caller.check(sid, pin, OTHER_SERVICE)) == (404, 20404)
    assert code_of(other.check(sid, pin)) == (404, 20404)
    assert len({sid, caller.start(service=OTHER_SERVICE)["sid"], other.start()["sid"]}) == 3
    assert caller.check(sid, pin).json()["valid"] is True


def test_resend__does_not_extend_the_life(caller: Caller, sandbox: Sandbox) -> None:
    sid = caller.start()["sid"]
    sandbox.advance(590)
    assert caller.start()["sid"] == sid
    sandbox.advance(11)
    assert code_of(caller.check(sid, sandbox.last_pin(PHONE))) == (404, 20404)


def test_resend__gives_no_new_tries(caller: Caller, sandbox: Sandbox) -> None:
    sid = caller.start()["sid"]
    pin = sandbox.last_pin(PHONE)
    for _ in range(5):
        caller.check(sid, wrong(pin))
    caller.start()
    assert code_of(caller.check(sid, pin)) == (429, 60202)


def test_update__ends_it(caller: Caller) -> None:
    for status, valid in (("approved", True), ("canceled", False)):
        path = f"{SERVICE}/Verifications/{caller.start()['sid']}"
        assert code_of(caller.send("POST", path, Status="pending")) == (400, 60200)
        assert caller.send("GET", path).json()["status"] == "pending"
        ended = caller.send("POST", path, Status=status).json()
        assert (ended["status"], ended["valid"]) == (status, valid)
        assert code_of(caller.send("GET", path)) == (404, 20404)


def test_state__outlives_a_restart(start_sandbox: Callable[..., Sandbox], tmp_path: Path) -> None:
    with Sandbox(username=USERNAME, password=PASSWORD, db=str(tmp_path / "db")) as sandbox:
        sid = Caller(sandbox).start()["sid"]
    sandbox = start_sandbox(db=str(tmp_path / "db"))
    assert Caller(sandbox).check(sid, sandbox.last_pin(PHONE)).json()["valid"] is True


def test_errors__come_in_this_order(caller: Caller, sandbox: Sandbox) -> None:
    stranger = Caller(sandbox, password="wrong")
    assert code_of(stranger.send("PUT", "/v2/Services/x/Verifications")) == (401, 20003)
    assert code_of(caller.send("PUT", "/v2/Services/x/Verifications")) == (404, 20404)
    assert code_of(caller.send("POST", f"{SERVICE}/Factors")) == (404, 20404)
    assert code_of(caller.send("PUT", f"{SERVICE}/Verifications")) == (405, 20004)
    assert code_of(caller.send("POST", f"{SERVICE}/Verifications", Channel="sms")) == (400, 60200)
    assert code_of(caller.send("POST", f"{SERVICE}/Verifications", To=PHONE, Channel="email")) == (400, 60200)
    assert code_of(caller.send("POST", f"{SERVICE}/VerificationCheck", To=PHONE, Code="123")) == (400, 60200)
    assert sandbox.messages() == []


@pytest.mark.parametrize("operation", ["twilio.start", "twilio.check", "twilio.fetch", "twilio.update"])
def test_faults__know_the_operation(caller: Caller, sandbox: Sandbox, operation: str) -> None:
    sid = caller.start()["sid"]
    sandbox.add_fault("status", status=503, operation=operation)
    path = f"{SERVICE}/Verifications"
    statuses = {
        "twilio.start": caller.send("POST", path, To=PHONE, Channel="sms").status,
        "twilio.check": caller.check(sid, "0000").status,
        "twilio.fetch": caller.send("GET", f"{path}/{sid}").status,
        "twilio.update": caller.send("POST", f"{path}/{sid}", Status="canceled").status,
    }
    assert [name for name, status in statuses.items() if status == 503] == [operation]
