"""The calls under /_sandbox/, and who may make them."""

from __future__ import annotations

from collections.abc import Callable
from http import HTTPStatus
from typing import Any
from urllib.parse import quote

import pytest

from django_verigator.sandbox import Sandbox
from django_verigator.sandbox.allowed_hosts import is_loopback

from .caller import PASSWORD, PHONE, Shop, ask, exchange


def get(sandbox: Sandbox, path: str) -> Any:
    answer = ask(sandbox.url, "GET", path)
    assert answer.status == HTTPStatus.OK
    return answer.json()


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


def test_messages__of_an_unknown_number_are_none_and_of_no_number_an_error(sandbox: Sandbox) -> None:
    assert get(sandbox, "/_sandbox/messages?to=%2B1234567") == {"messages": []}
    assert ask(sandbox.url, "GET", "/_sandbox/messages?to=hello").status == HTTPStatus.UNPROCESSABLE_ENTITY
    with pytest.raises(LookupError):
        sandbox.last_pin("+1234567")


def test_messages__are_kept_up_to_a_limit(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("django_verigator.sandbox.phones.MAX_STORED_MESSAGES", 3)
    for number in range(5):
        sandbox.phones.send(PHONE, f"text {number}", pin="1", user_id="u")

    assert [message["text"] for message in sandbox.messages()] == ["text 2", "text 3", "text 4"]


def test_device__is_attached_listed_and_detached(sandbox: Sandbox) -> None:
    attached = ask(sandbox.url, "POST", "/_sandbox/devices", {"phone_number": "372 5555 555"})

    assert attached.status == HTTPStatus.CREATED
    assert set(attached.json()) == {"secret", "otpauth"}
    assert attached.json()["secret"] in attached.json()["otpauth"]
    (device,) = get(sandbox, "/_sandbox/devices")["devices"]
    assert (device["phone_number"], device["code"]) == (PHONE, sandbox.code(PHONE))
    assert 0 < device["seconds_left"] <= 30
    assert sandbox.attach_device(PHONE)["secret"] == attached.json()["secret"]
    assert ask(sandbox.url, "DELETE", "/_sandbox/devices", {"phone_number": PHONE}).status == HTTPStatus.OK
    assert get(sandbox, "/_sandbox/devices") == {"devices": []}
    assert ask(sandbox.url, "DELETE", f"/_sandbox/devices?phone_number={PHONE}").status == HTTPStatus.NOT_FOUND
    with pytest.raises(LookupError):
        sandbox.code(PHONE)


@pytest.mark.parametrize("number", ["hello", "", None, 5])
def test_device__needs_a_phone_number(sandbox: Sandbox, number: object) -> None:
    answer = ask(sandbox.url, "POST", "/_sandbox/devices", {"phone_number": number})

    assert answer.status == HTTPStatus.UNPROCESSABLE_ENTITY


def test_calls__tell_what_was_asked_without_credential_and_token(shop: Shop, sandbox: Sandbox) -> None:
    user = shop.add_user()
    shop.start(user)
    sandbox.clear_calls()
    shop.verify(user, "a-wrong-token")
    shop.ask("PUT", f"{user}/auth", {"token": sandbox.last_pin(PHONE)}, headers={"User-Agent": "shop/1.0"})

    answer = ask(sandbox.url, "GET", "/_sandbox/calls")

    wrong, right = answer.json()["calls"]
    assert (wrong["method"], wrong["path"], wrong["operation"]) == ("PUT", f"{user}/auth", "auth.verify")
    assert (wrong["verified"], right["verified"]) == (False, True)
    assert (right["status"], right["user_agent"]) == (HTTPStatus.OK, "shop/1.0")
    assert right["user_id"] == user.rpartition("/")[2]
    assert right["duration"] >= 0
    assert PASSWORD.encode() not in answer.body
    assert b"a-wrong-token" not in answer.body


def test_calls__hold_the_api_alone_and_can_be_filtered_and_cleared(shop: Shop, sandbox: Sandbox) -> None:
    user = shop.add_user()
    for path in ("/", "/_sandbox/messages", "/static/phone.css", "/wrong/path"):
        ask(sandbox.url, "GET", path)

    operations = [call["operation"] for call in get(sandbox, "/_sandbox/calls")["calls"]]
    assert operations == ["services.create", "users.create", None]
    found = get(sandbox, f"/_sandbox/calls?user_id={user.rpartition('/')[2]}")["calls"]
    assert found == []
    assert len(get(sandbox, "/_sandbox/calls?operation=users.create")["calls"]) == 1
    assert ask(sandbox.url, "DELETE", "/_sandbox/calls").status == HTTPStatus.OK
    assert get(sandbox, "/_sandbox/calls") == {"calls": []}


def test_calls__are_not_changed_by_a_later_request_on_the_same_connection(sandbox: Sandbox) -> None:
    exchange(sandbox.url, b"GET /v1/x HTTP/1.1\r\nHost: localhost\r\n\r\nnonsense\r\n\r\n")

    assert [call["status"] for call in sandbox.calls()] == [HTTPStatus.UNAUTHORIZED]


def test_clock__is_moved_for_the_whole_sandbox(start_sandbox: Callable[..., Sandbox]) -> None:
    sandbox = start_sandbox(clock=lambda: 1_500_000_000.0)

    assert get(sandbox, "/_sandbox/clock")["now"] == "2017-07-14T02:40:00.000Z"
    moved = ask(sandbox.url, "POST", "/_sandbox/clock", {"advance": 90.5})
    assert moved.json() == {"now": "2017-07-14T02:41:30.500Z", "advanced": 90.5}


@pytest.mark.parametrize("seconds", [None, "5", True, 1e300, 10**30, 10**400])
def test_clock__refuses_what_is_no_time(sandbox: Sandbox, seconds: object) -> None:
    answer = ask(sandbox.url, "POST", "/_sandbox/clock", {"advance": seconds})

    assert answer.status == HTTPStatus.UNPROCESSABLE_ENTITY


def test_reset__forgets_everything(shop: Shop, sandbox: Sandbox) -> None:
    shop.start(shop.add_user())
    sandbox.attach_device(PHONE)
    sandbox.add_fault("hang", path="/nowhere")
    sandbox.advance(100)

    assert ask(sandbox.url, "POST", "/_sandbox/reset").status == HTTPStatus.OK

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
def test_wrong_admin_call__is_refused_with_a_message(
    sandbox: Sandbox, method: str, path: str, status: HTTPStatus
) -> None:
    answer = ask(sandbox.url, method, path)

    assert answer.status == status
    assert answer.message


@pytest.mark.parametrize("path", ["/", "/_sandbox/messages", "/v1/service/service/x", "/static/phone.js"])
@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "evil.example"},
        {"Host": "evil.example:8750"},
        {"Host": "127.0.0.1.evil.example"},
        {"Host": "localhost@evil.example"},
        {"Host": "192.168.1.5"},
        {"Host": ""},
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://localhost:1"},
    ],
)
def test_foreign_host_or_origin__is_refused_everywhere(sandbox: Sandbox, path: str, headers: dict[str, str]) -> None:
    answer = ask(sandbox.url, "GET", path, headers=headers)

    assert answer.status == HTTPStatus.FORBIDDEN
    assert answer.message


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:1", "127.0.0.1:9999", "[::1]:80", "127.1.2.3"])
def test_loopback_host__is_served_with_any_port_and_its_own_origin(sandbox: Sandbox, host: str) -> None:
    headers = {"Host": host, "Origin": f"http://{host}"}

    assert ask(sandbox.url, "GET", "/_sandbox/messages", headers=headers).status == HTTPStatus.OK


def test_missing_or_double_host__is_refused(sandbox: Sandbox) -> None:
    for hosts in (b"", b"Host: localhost\r\nHost: evil.example\r\n"):
        assert exchange(sandbox.url, b"GET / HTTP/1.1\r\n" + hosts + b"\r\n").startswith(b"HTTP/1.1 400 ")


def test_allowed_host__is_served_on_its_port_alone(start_sandbox: Callable[..., Sandbox]) -> None:
    sandbox = start_sandbox(allow_hosts=["sandbox.test", "other.test:99"])
    port = sandbox.url.rpartition(":")[2]

    def status(host: str) -> int:
        return ask(sandbox.url, "GET", "/", headers={"Host": host}).status

    assert status(f"sandbox.test:{port}") == HTTPStatus.OK
    assert status("other.test:99") == HTTPStatus.OK
    assert status("sandbox.test:1") == HTTPStatus.FORBIDDEN
    assert status(f"other.test:{port}") == HTTPStatus.FORBIDDEN


@pytest.mark.parametrize("content_type", ["text/plain", "application/x-www-form-urlencoded", ""])
def test_form_of_a_foreign_page__cannot_post(sandbox: Sandbox, content_type: str) -> None:
    answer = ask(
        sandbox.url,
        "POST",
        "/_sandbox/devices",
        headers={"Content-Type": content_type},
        raw=b'{"phone_number": "+3725555555"}',
    )

    assert answer.status == HTTPStatus.UNSUPPORTED_MEDIA_TYPE
    assert sandbox.devices() == []


@pytest.mark.parametrize(
    ("host", "local"),
    [
        ("localhost", True),
        ("127.0.0.1", True),
        ("::1", True),
        ("[::1]", True),
        ("0.0.0.0", False),  # noqa: S104 - it must be refused
        ("::", False),
        ("", False),
        ("192.168.0.1", False),
        ("localhost.evil.example", False),
    ],
)
def test_is_loopback__trusts_only_what_stays_here(host: str, local: bool) -> None:
    assert is_loopback(host) is local
