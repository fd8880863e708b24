"""The client of Twilio Verify: what it sends, what it believes, and what an error's code means."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import parse_qsl

import pytest
import responses

from django_verigator.client import StartedVerification, TwilioVerify
from django_verigator.exceptions import (
    InternalError,
    InvalidDataError,
    InvalidResponseError,
    NoSuchResourceError,
    ResourceForbiddenError,
    ThrottledError,
    VerigatorError,
    WrongCredentialsError,
)

USERNAME, PASSWORD = "canary-sid", "canary:token"
SERVICE_SID, SID = f"VA{'0a' * 16}", f"VE{'0b' * 16}"
NUMBER, CODE = "+37251234567", "004242"
SECRETS = ["canary", CODE, NUMBER[4:], "Y2FuYXJ5"]
ADDRESS = f"https://verify.twilio.com/v2/Services/{SERVICE_SID}"
STARTS, CHECKS = f"{ADDRESS}/Verifications", f"{ADDRESS}/VerificationCheck"
STARTED = {"sid": SID, "service_sid": SERVICE_SID, "to": NUMBER, "channel": "sms", "status": "pending", "valid": False}


@pytest.fixture
def api() -> Iterator[TwilioVerify]:
    client = TwilioVerify(USERNAME, PASSWORD, SERVICE_SID)
    yield client
    client.close()


@pytest.fixture
def mock() -> Iterator[responses.RequestsMock]:
    with responses.RequestsMock() as mock:
        yield mock


def start(api: TwilioVerify) -> object:
    return api.start(NUMBER)


def check(api: TwilioVerify) -> object:
    return api.check(SID, CODE)


each_call = pytest.mark.parametrize("call", [start, check])


def failure(mock: responses.RequestsMock, api: TwilioVerify, call: Callable[..., object], **answer: Any) -> Any:
    mock.post(STARTS if call is start else CHECKS, **answer)
    with pytest.raises(VerigatorError) as caught:
        call(api)
    assert caught.value.__context__ is None
    shown = f"{caught.value!s}{caught.value!r}{caught.value.__dict__}"
    assert [secret for secret in [*SECRETS, "Denied"] if secret in shown] == []
    return caught.value


def error_body(code: object, status: int) -> dict[str, Any]:
    return {"code": code, "message": f"Denied to {NUMBER}", "more_info": "https://twilio.example", "status": status}


def problem_body(code: object, status: int) -> dict[str, Any]:
    return {"type": "about:blank", "title": "Denied", "status": status, "code": code, "detail": NUMBER, "errors": []}


def test_start__names_number_channel_and_locale(mock: responses.RequestsMock, api: TwilioVerify) -> None:
    mock.post(STARTS, json={**STARTED, "channel": "whatsapp"}, status=201)
    assert api.start(NUMBER, "whatsapp", locale="et") == StartedVerification(SID, "whatsapp")
    request = mock.calls[0].request
    assert dict(parse_qsl(request.body.decode())) == {"To": NUMBER, "Channel": "whatsapp", "Locale": "et"}
    assert request.headers["Content-Type"] == "application/x-www-form-urlencoded"
    assert request.headers["Authorization"] == "Basic Y2FuYXJ5LXNpZDpjYW5hcnk6dG9rZW4="


@pytest.mark.parametrize("status", [200, 201])
def test_check__is_right_for_approved_and_valid(mock: responses.RequestsMock, api: TwilioVerify, status: int) -> None:
    mock.post(CHECKS, json={**STARTED, "status": "approved", "valid": True}, status=status)
    verdict = api.check(SID, CODE)
    assert verdict.verified is True
    assert verdict.method == "sms"
    assert dict(parse_qsl(mock.calls[0].request.body.decode())) == {"VerificationSid": SID, "Code": CODE}


@pytest.mark.parametrize(
    ("status", "flag"),
    [
        ("pending", "invalid"),
        ("canceled", "expired"),
        ("deleted", "expired"),
        ("expired", "expired"),
        ("max_attempts_reached", "throttled"),
        ("failed", "throttled"),
    ],
)
def test_check__every_other_status_is_a_no(
    mock: responses.RequestsMock, api: TwilioVerify, status: str, flag: str
) -> None:
    mock.post(CHECKS, json={**STARTED, "status": status})
    verdict = api.check(SID, CODE)
    assert not verdict
    assert [name for name in ("throttled", "expired", "invalid") if getattr(verdict, name)] == [flag]


@pytest.mark.parametrize(
    "lie",
    [{"valid": False}, {"status": "pending"}, {"sid": f"VE{'1b' * 16}"}, {"service_sid": "VA"}, {"valid": 1}],
    ids=str,
)
def test_check__a_yes_that_contradicts_itself_is_none(
    mock: responses.RequestsMock, api: TwilioVerify, lie: dict[str, Any]
) -> None:
    answer = {**STARTED, "status": "approved", "valid": True, **lie}
    assert isinstance(failure(mock, api, check, json=answer), InvalidResponseError)


def test_check__too_many_tries_are_a_verdict(mock: responses.RequestsMock, api: TwilioVerify) -> None:
    mock.post(CHECKS, json=error_body(60202, 429), status=429)
    verdict = api.check(SID, CODE)
    assert (verdict.verified, verdict.throttled) == (False, True)


@pytest.mark.parametrize(
    ("code", "status", "kind"),
    [
        (20003, 401, WrongCredentialsError),
        (20404, 404, NoSuchResourceError),
        (20429, 429, ThrottledError),
        (60200, 400, InvalidDataError),
        (60203, 429, ThrottledError),
        (60205, 403, InvalidDataError),
        (60207, 429, ThrottledError),
        (60212, 429, ThrottledError),
        (60410, 403, InvalidDataError),
        (60412, 403, InvalidDataError),
        (60413, 403, InvalidDataError),
        (60605, 403, InvalidDataError),
    ],
)
@pytest.mark.parametrize("form", [error_body, problem_body])
def test_error__its_code_decides(
    mock: responses.RequestsMock, api: TwilioVerify, form: Any, code: int, status: int, kind: type[VerigatorError]
) -> None:
    error = failure(mock, api, start, json=form(code, status), status=status)
    assert (type(error), error.status, error.provider_code) == (kind, status, str(code))
    assert error.sent is True


@pytest.mark.parametrize("code", [60220, 60223, 60238])
def test_error__that_is_not_about_the_number_looks_like_none(
    mock: responses.RequestsMock, api: TwilioVerify, code: int
) -> None:
    error = failure(mock, api, start, json=error_body(code, 400), status=400)
    assert (type(error), error.status) == (VerigatorError, 403)


@each_call
@pytest.mark.parametrize(
    "body",
    [
        "",
        "Denied",
        "[]",
        *(json.dumps(error_body(code, 403)) for code in ("60410", 60410.0, True, None, 1, [60410])),
        json.dumps(error_body(60410, 400)),
    ],
)
def test_error__without_a_known_code_is_that_of_the_status(
    mock: responses.RequestsMock, api: TwilioVerify, call: Any, body: str
) -> None:
    error = failure(mock, api, call, body=body, status=403)
    assert (type(error), error.provider_code) == (ResourceForbiddenError, "")


@each_call
def test_error_of_the_server__is_one_whatever_it_says(
    mock: responses.RequestsMock, api: TwilioVerify, call: Any
) -> None:
    assert isinstance(failure(mock, api, call, json=error_body(20404, 503), status=503), InternalError)


def test_log__has_no_secret(mock: responses.RequestsMock, api: TwilioVerify, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    mock.post(STARTS, json=STARTED, status=201)
    mock.post(CHECKS, json=STARTED)
    api.start(NUMBER)
    api.check(SID, CODE)
    assert "VerificationCheck" in caplog.text
    assert [secret for secret in SECRETS if secret in caplog.text] == []
    assert [secret for secret in SECRETS if secret in repr(api) + repr(vars(api))] == []


@pytest.mark.parametrize(
    "arguments",
    [("", "x", SERVICE_SID), ("x", "", SERVICE_SID), ("a:b", "x", SERVICE_SID), ("x", "x", "canary"), ("x", "x", SID)],
)
def test_arguments__that_cannot_be_used_are_not_repeated(arguments: tuple[str, str, str]) -> None:
    with pytest.raises(ValueError, match="must be") as caught:
        TwilioVerify(*arguments)
    assert "canary" not in str(caught.value)


@pytest.mark.parametrize("call", [lambda api: api.start(NUMBER, "email"), lambda api: api.check(f"{SID}/x", CODE)])
def test_arguments__are_refused_before_a_request(api: TwilioVerify, call: Any) -> None:
    with pytest.raises(ValueError, match=r"channel|sid"):
        call(api)
