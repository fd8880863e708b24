"""twilio, Twilio's own client: Verify against the sandbox, and beside our own.

The package's documents name a custom HTTP client as the way to send its requests elsewhere.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest

pytest.importorskip("twilio")

from twilio.base.exceptions import TwilioRestException
from twilio.http.http_client import TwilioHttpClient
from twilio.rest import Client

from django_verigator.client import TwilioVerify
from django_verigator.sandbox import Sandbox
from django_verigator.sandbox.application import Application
from django_verigator.sandbox.connection import ClientConnection
from django_verigator.sandbox.http_messages import Request

ACCOUNT_SID, AUTH_TOKEN = f"AC{'0c' * 16}", "official&token"
SERVICE_SID = f"VA{'0a' * 16}"
PHONE = "+37255500067"


class SandboxHttpClient(TwilioHttpClient):
    """Sends everything to the sandbox."""

    def __init__(self, url: str) -> None:
        super().__init__()
        self._url = url

    def request(self, method: str, url: str, *args: Any, **options: Any) -> Any:
        return super().request(method, f"{self._url}{urlsplit(url).path}", *args, **options)


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(username=ACCOUNT_SID, password=AUTH_TOKEN, pin_length=6) as sandbox:
        yield sandbox


@pytest.fixture
def requests(monkeypatch: pytest.MonkeyPatch) -> list[Request]:
    """Every request that comes to the sandbox, whole."""
    seen: list[Request] = []
    real = Application.handle

    def handle(self: Application, request: Request, client: ClientConnection) -> None:
        seen.append(request)
        real(self, request, client)

    monkeypatch.setattr(Application, "handle", handle)
    return seen


@pytest.fixture
def service(sandbox: Sandbox) -> Any:
    return service_of(sandbox)


def service_of(sandbox: Sandbox, token: str = AUTH_TOKEN, service_sid: str = SERVICE_SID) -> Any:
    client = Client(ACCOUNT_SID, token, http_client=SandboxHttpClient(sandbox.url))
    return client.verify.v2.services(service_sid)


def wrong(pin: str) -> str:
    return pin[:-1] + str((int(pin[-1]) + 1) % 10)


def refusal(call: Any, *args: Any, **options: Any) -> tuple[int, int]:
    with pytest.raises(TwilioRestException) as caught:
        call(*args, **options)
    assert caught.value.code is not None
    return caught.value.status, caught.value.code


def test_code__is_right_once(service: Any, sandbox: Sandbox) -> None:
    started = service.verifications.create(to=PHONE, channel="sms")
    assert (started.to, started.channel, started.status, started.valid) == (PHONE, "sms", "pending", False)
    assert (started.account_sid, started.service_sid) == (ACCOUNT_SID, SERVICE_SID)
    pin = sandbox.last_pin(PHONE)
    check = service.verification_checks.create
    no = check(verification_sid=started.sid, code=wrong(pin))
    assert (no.sid, no.status, no.valid) == (started.sid, "pending", False)
    yes = check(to=PHONE, code=pin)
    assert (yes.sid, yes.status, yes.valid) == (started.sid, "approved", True)
    assert refusal(check, verification_sid=started.sid, code=pin) == (404, 20404)


def test_second_start__sends_the_same_code_another_way(service: Any, sandbox: Sandbox) -> None:
    started = [service.verifications.create(to=PHONE, channel=channel) for channel in ("sms", "call", "whatsapp")]
    assert len({each.sid for each in started}) == 1
    assert [attempt["channel"] for attempt in started[-1].send_code_attempts] == ["sms", "call", "whatsapp"]
    assert [message["channel"] for message in sandbox.messages(PHONE)] == ["sms", "call", "whatsapp"]
    assert len({message["pin"] for message in sandbox.messages(PHONE)}) == 1


def test_verification__is_fetched_and_canceled(service: Any) -> None:
    sid = service.verifications.create(to=PHONE, channel="sms").sid
    assert service.verifications(sid).fetch().status == "pending"
    assert service.verifications(sid).update(status="canceled").status == "canceled"
    assert refusal(service.verifications(sid).fetch) == (404, 20404)


def test_limits__are_five_checks_five_sends_and_ten_minutes(service: Any, sandbox: Sandbox) -> None:
    sid = service.verifications.create(to=PHONE, channel="sms").sid
    pin = sandbox.last_pin(PHONE)
    check = service.verification_checks.create
    assert [check(verification_sid=sid, code=wrong(pin)).status for _ in range(5)] == ["pending"] * 5
    assert refusal(check, verification_sid=sid, code=pin) == (429, 60202)
    for _ in range(4):
        service.verifications.create(to=PHONE, channel="sms")
    assert refusal(service.verifications.create, to=PHONE, channel="sms") == (429, 60203)
    sandbox.advance(600)
    assert refusal(check, verification_sid=sid, code=pin) == (404, 20404)
    assert service.verifications.create(to=PHONE, channel="sms").sid != sid


def test_errors__have_their_codes(service: Any, sandbox: Sandbox) -> None:
    assert refusal(service_of(sandbox, token="wrong").verifications.create, to=PHONE, channel="sms") == (401, 20003)
    assert refusal(service_of(sandbox, service_sid="VA1").verifications.create, to=PHONE, channel="sms") == (404, 20404)
    assert refusal(service.verifications.create, to="nobody", channel="sms") == (400, 60200)
    assert refusal(service.verifications.create, to=PHONE, channel="pigeon") == (400, 60200)
    assert sandbox.messages() == []


def parts_of(request: Request) -> tuple[Any, ...]:
    """What of a request means anything to the service."""
    headers = [request.headers[name] for name in ("Authorization", "Content-Type", "Accept")]
    return request.method, request.path, request.query, sorted(parse_qsl(request.body.decode())), headers


def test_our_requests__say_the_same_as_theirs(service: Any, sandbox: Sandbox, requests: list[Request]) -> None:
    ours = TwilioVerify(ACCOUNT_SID, AUTH_TOKEN, SERVICE_SID, sandbox.url)
    for channel, locale in (("sms", "et"), ("call", None), ("whatsapp", None)):
        options = {"locale": locale} if locale else {}
        service.verifications.create(to=PHONE, channel=channel, **options)
        sid = ours.start(PHONE, channel, locale=locale).sid
        service.verification_checks.create(verification_sid=sid, code="00+ 0")
        ours.check(sid, "00+ 0")
        service.verifications(sid).update(status="canceled")
        theirs_start, our_start, theirs_check, our_check, _ = map(parts_of, requests[-5:])
        assert our_start == theirs_start
        assert our_check == theirs_check
    ours.close()
