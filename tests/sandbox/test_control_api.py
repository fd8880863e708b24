"""Test the calls under /_sandbox/."""

from __future__ import annotations

from collections.abc import Callable
from http import HTTPStatus
from typing import Any
from urllib.parse import quote

import pytest

from django_verigator.sandbox import Sandbox

from .http_client import PASSWORD, PHONE, Shop, send, send_raw


def get(sandbox: Sandbox, path: str) -> Any:
    response = send(sandbox.url, "GET", path)
    assert response.status == HTTPStatus.OK
    return response.json()


def test_messages__are_listed_newest_last(shop: Shop, sandbox: Sandbox) -> None:
    john, anna = shop.add_user("john"), shop.add_user("anna", "+4401234567")
    for user in (john, anna, john):
        shop.start(user)

    messages = get(sandbox, "/_sandbox/messages")["messages"]

    assert [message["to"] for message in messages] == [PHONE, "+4401234567", PHONE]
    assert {"to", "text", "pin", "user_id", "sent"} <= set(messages[0])
    assert messages == sandbox.messages()
    assert sandbox.last_pin(PHONE) == messages[-1]["pin"]


@pytest.mark.parametrize("to", [PHONE, quote(PHONE), PHONE[1:], "+372%205555-555", "%20372%205555555"])
def test_messages__are_found_by_number_in_every_form(shop: Shop, sandbox: Sandbox, to: str) -> None:
    shop.start(shop.add_user())
    shop.start(shop.add_user("anna", "+4401234567"))

    messages = get(sandbox, f"/_sandbox/messages?to={to}")["messages"]

    assert [message["to"] for message in messages] == [PHONE]


def test_messages__to_an_unknown_number_are_an_empty_list_and_to_a_bad_number_an_error(sandbox: Sandbox) -> None:
    assert get(sandbox, "/_sandbox/messages?to=%2B1234567") == {"messages": []}
    assert send(sandbox.url, "GET", "/_sandbox/messages?to=hello").status == HTTPStatus.UNPROCESSABLE_ENTITY
    with pytest.raises(LookupError):
        sandbox.last_pin("+1234567")


def test_messages__are_kept_up_to_a_limit(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("django_verigator.sandbox.phones.MAX_STORED_MESSAGES", 3)
    for number in range(5):
        sandbox.phones.send(PHONE, f"text {number}", pin="1", user_id="u")

    assert [message["text"] for message in sandbox.messages()] == ["text 2", "text 3", "text 4"]


def test_device__is_attached_listed_and_detached(sandbox: Sandbox) -> None:
    attached = send(sandbox.url, "POST", "/_sandbox/devices", {"phone_number": "372 5555 555"})

    assert attached.status == HTTPStatus.CREATED
    assert set(attached.json()) == {"secret", "otpauth"}
    assert attached.json()["secret"] in attached.json()["otpauth"]
    (device,) = get(sandbox, "/_sandbox/devices")["devices"]
    assert (device["phone_number"], device["code"]) == (PHONE, sandbox.code(PHONE))
    assert 0 < device["seconds_left"] <= 30
    assert sandbox.attach_device(PHONE)["secret"] == attached.json()["secret"]
    assert send(sandbox.url, "DELETE", "/_sandbox/devices", {"phone_number": PHONE}).status == HTTPStatus.OK
    assert get(sandbox, "/_sandbox/devices") == {"devices": []}
    assert send(sandbox.url, "DELETE", f"/_sandbox/devices?phone_number={PHONE}").status == HTTPStatus.NOT_FOUND
    with pytest.raises(LookupError):
        sandbox.code(PHONE)


@pytest.mark.parametrize("number", ["hello", "", None, 5])
def test_device__needs_a_phone_number(sandbox: Sandbox, number: object) -> None:
    response = send(sandbox.url, "POST", "/_sandbox/devices", {"phone_number": number})

    assert response.status == HTTPStatus.UNPROCESSABLE_ENTITY


def test_calls__show_each_call_without_credentials_and_token(shop: Shop, sandbox: Sandbox) -> None:
    user = shop.add_user()
    shop.start(user)
    sandbox.clear_calls()
    shop.verify(user, "a-wrong-token")
    shop.send("PUT", f"{user}/auth", {"token": sandbox.last_pin(PHONE)}, headers={"User-Agent": "shop/1.0"})

    response = send(sandbox.url, "GET", "/_sandbox/calls")

    wrong, right = response.json()["calls"]
    assert (wrong["method"], wrong["path"], wrong["operation"]) == ("PUT", f"{user}/auth", "auth.verify")
    assert (wrong["verified"], right["verified"]) == (False, True)
    assert (right["status"], right["user_agent"]) == (HTTPStatus.OK, "shop/1.0")
    assert right["user_id"] == user.rpartition("/")[2]
    assert right["duration"] >= 0
    assert PASSWORD.encode() not in response.body
    assert b"a-wrong-token" not in response.body


def test_calls__are_those_of_the_api_and_can_be_filtered_and_cleared(shop: Shop, sandbox: Sandbox) -> None:
    user = shop.add_user()
    for path in ("/", "/_sandbox/messages", "/static/phone.css", "/wrong/path"):
        send(sandbox.url, "GET", path)

    operations = [call["operation"] for call in get(sandbox, "/_sandbox/calls")["calls"]]
    assert operations == ["services.create", "users.create", None]
    assert get(sandbox, f"/_sandbox/calls?user_id={user.rpartition('/')[2]}")["calls"] == []
    assert len(get(sandbox, "/_sandbox/calls?operation=users.create")["calls"]) == 1
    assert send(sandbox.url, "DELETE", "/_sandbox/calls").status == HTTPStatus.OK
    assert get(sandbox, "/_sandbox/calls") == {"calls": []}


def test_calls__are_not_changed_by_a_later_request_on_the_same_connection(sandbox: Sandbox) -> None:
    send_raw(sandbox.url, b"GET /v1/x HTTP/1.1\r\nHost: localhost\r\n\r\nnonsense\r\n\r\n")

    assert [call["status"] for call in sandbox.calls()] == [HTTPStatus.UNAUTHORIZED]


def test_clock__is_moved_for_the_whole_sandbox(start_sandbox: Callable[..., Sandbox]) -> None:
    sandbox = start_sandbox(clock=lambda: 1_500_000_000.0)

    assert get(sandbox, "/_sandbox/clock")["now"] == "2017-07-14T02:40:00.000Z"
    response = send(sandbox.url, "POST", "/_sandbox/clock", {"advance": 90.5})
    assert response.json() == {"now": "2017-07-14T02:41:30.500Z", "advanced": 90.5}


@pytest.mark.parametrize("seconds", [None, "5", True, 1e300, 10**30, 10**400])
def test_clock__refuses_an_invalid_number_of_seconds(sandbox: Sandbox, seconds: object) -> None:
    response = send(sandbox.url, "POST", "/_sandbox/clock", {"advance": seconds})

    assert response.status == HTTPStatus.UNPROCESSABLE_ENTITY


def test_reset__forgets_everything(shop: Shop, sandbox: Sandbox) -> None:
    shop.start(shop.add_user())
    sandbox.attach_device(PHONE)
    sandbox.add_fault("hang", path="/nowhere")
    sandbox.advance(100)

    assert send(sandbox.url, "POST", "/_sandbox/reset").status == HTTPStatus.OK

    assert (sandbox.messages(), sandbox.devices(), sandbox.faults(), sandbox.calls()) == ([], [], [], [])
    assert sandbox.clock.offset == 0
    assert Shop(sandbox).add_user()


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/_sandbox/nothing", HTTPStatus.NOT_FOUND),
        ("GET", "/_sandbox", HTTPStatus.NOT_FOUND),
        ("PATCH", "/_sandbox/messages", HTTPStatus.METHOD_NOT_ALLOWED),
        ("POST", "/", HTTPStatus.METHOD_NOT_ALLOWED),
        ("GET", "/static/../sandbox.py", HTTPStatus.NOT_FOUND),
        ("GET", "/_sandbox/messages?limit=many", HTTPStatus.UNPROCESSABLE_ENTITY),
        ("GET", "/?" + "a=1&" * 200, HTTPStatus.UNPROCESSABLE_ENTITY),
    ],
)
def test_invalid_call__is_refused_with_a_message(sandbox: Sandbox, method: str, path: str, status: HTTPStatus) -> None:
    response = send(sandbox.url, method, path)

    assert response.status == status
    assert response.message


@pytest.mark.parametrize("content_type", ["text/plain", "application/x-www-form-urlencoded", ""])
def test_post__is_refused_with_a_content_type_that_a_foreign_form_can_send(sandbox: Sandbox, content_type: str) -> None:
    response = send(
        sandbox.url,
        "POST",
        "/_sandbox/devices",
        headers={"Content-Type": content_type},
        raw=b'{"phone_number": "+3725555555"}',
    )

    assert response.status == HTTPStatus.UNSUPPORTED_MEDIA_TYPE
    assert sandbox.devices() == []
