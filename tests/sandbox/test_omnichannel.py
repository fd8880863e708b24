"""Test the Omnichannel API: what it takes and refuses, what arrives, reports, orders and callbacks."""

from __future__ import annotations

import base64
import http.server
import json
import socket
import threading
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from http import HTTPStatus
from typing import Any

import pytest

from django_verigator.sandbox import Sandbox, callbacks
from tests.deadlines import in_time

from .http_client import PASSWORD, PHONE, USERNAME, Response, add_fault, send

PATH = "/v1/omnimessage"
SMS = {"channel": "sms", "text": "4711 is your verification code"}
VIBER = {"channel": "viber", "text": "4712"}
WHATSAPP = {"channel": "whatsapp", "text": {"body": "4713"}}


def basic(username: str = USERNAME, password: str = PASSWORD) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(f"{username}:{password}".encode()).decode()}


class Caller:
    def __init__(self, sandbox: Sandbox) -> None:
        self.sandbox = sandbox

    def call(self, method: str, path: str, data: Any = None, **more: Any) -> Response:
        return send(self.sandbox.url, method, PATH + path, data, **{"headers": basic(), **more})

    def send(self, *messages: Any, **more: Any) -> Response:
        return self.call("POST", "", {"to": PHONE, "messages": list(messages or [SMS]), **more})

    def sent(self, *messages: Any, **more: Any) -> str:
        """Send a message and return its id."""
        response = self.send(*messages, **more)
        assert response.status == HTTPStatus.CREATED, response.body
        return str(response.json()["omnimessage_id"])

    def statuses(self, omnimessage_id: str) -> list[dict[str, Any]]:
        response = self.call("GET", f"/{omnimessage_id}/status")
        assert response.status == HTTPStatus.OK
        statuses: list[dict[str, Any]] = response.json()["statuses"]
        return statuses


@pytest.fixture
def caller(sandbox: Sandbox) -> Caller:
    return Caller(sandbox)


def problem(response: Response) -> tuple[int, str, str, str | None]:
    """Return status, code, title and source of an error."""
    (error,) = response.json()["errors"]
    assert set(error) == {"title", "detail", "code", "source"}
    assert isinstance(error["detail"], str)
    return response.status, error["code"], error["title"], error["source"]


def test_send__delivers_and_answers_the_ids(caller: Caller, sandbox: Sandbox) -> None:
    response = caller.send(SMS)

    assert response.status == HTTPStatus.CREATED
    answer = response.json()
    assert answer["to"] == PHONE
    ((message,), omnimessage_id) = answer["messages"], answer["omnimessage_id"]
    assert (message["channel"], message["sender"]) == ("sms", "Messente")
    (shown,) = sandbox.messages(PHONE)
    assert (shown["text"], shown["pin"], shown["channel"]) == (SMS["text"], "4711", "sms")
    (status,) = caller.statuses(omnimessage_id)
    assert status["message_id"] == message["message_id"]
    assert (status["status"], status["err"], status["error"]) == ("DELIVRD", 0, None)


@pytest.mark.parametrize(
    ("message", "text", "pin"),
    [
        ({"channel": "viber", "text": "Code 123456"}, "Code 123456", "123456"),
        ({"channel": "rcs", "sender": "Shop", "text": "no code"}, "no code", ""),
        ({"channel": "whatsapp", "text": {"body": "12345 it is"}}, "12345 it is", "12345"),
        ({"channel": "viber", "image_url": "https://shop.example/a.png"}, "[image_url]", ""),
        (
            {
                "channel": "whatsapp",
                "template": {
                    "name": "login_2024",
                    "language": {"code": "et"},
                    "components": [
                        {"type": "body", "parameters": [{"type": "text", "text": "271828"}]},
                        {"type": "button", "sub_type": "url", "index": 0, "parameters": []},
                    ],
                },
            },
            "271828 (template login_2024, et)",
            "271828",
        ),
    ],
)
def test_send__each_channel_as_such(caller: Caller, sandbox: Sandbox, message: Any, text: str, pin: str) -> None:
    caller.sent(message)

    (shown,) = sandbox.messages(PHONE)
    assert (shown["channel"], shown["text"], shown["pin"]) == (message["channel"], text, pin)


@pytest.mark.parametrize(
    ("change", "code", "source"),
    [
        ({"to": None}, "106", "to"),
        ({"to": "alice"}, "105", "to"),
        ({"to": 372}, "105", "to"),
        ({"messages": None}, "106", "messages"),
        ({"messages": []}, "105", "messages"),
        ({"messages": [SMS] * 11}, "105", "messages"),
        ({"messages": ["sms"]}, "105", "messages.0"),
        ({"messages": [{"text": "x"}]}, "106", "messages.0.channel"),
        ({"messages": [SMS, {"channel": "fax", "text": "x"}]}, "105", "messages.1.channel"),
        ({"messages": [{"channel": "sms"}]}, "106", "messages.0.text"),
        ({"messages": [{**SMS, "text": " "}]}, "105", "messages.0.text"),
        ({"messages": [{**SMS, "sender": ""}]}, "105", "messages.0.sender"),
        ({"messages": [{**SMS, "ttl": 60, "validity": 1}]}, "105", "messages.0.ttl"),
        ({"messages": [{**SMS, "ttl": "60"}]}, "105", "messages.0.ttl"),
        ({"messages": [{**SMS, "autoconvert": "yes"}]}, "105", "messages.0.autoconvert"),
        ({"messages": [{"channel": "rcs", "text": "x"}]}, "106", "messages.0.sender"),
        ({"messages": [{"channel": "whatsapp", "text": "x"}]}, "106", "messages.0.text.body"),
        ({"messages": [{"channel": "whatsapp", "template": {"name": "x"}}]}, "105", "messages.0.template"),
        ({"priority": "urgent"}, "105", "priority"),
        ({"text_store": "always"}, "105", "text_store"),
        ({"time_to_send": "tomorrow"}, "105", "time_to_send"),
        ({"dlr_url": "ftp://127.0.0.1/"}, "105", "dlr_url"),
        ({"dlr_url": "http://127.0.0.1:99999/"}, "105", "dlr_url"),
        ({"dlr_url": "https://127.0.0.1/a\nb"}, "105", "dlr_url"),
    ],
)
def test_send__names_the_field_that_is_wrong(
    caller: Caller, sandbox: Sandbox, change: dict[str, Any], code: str, source: str
) -> None:
    titles = {"105": "Invalid data", "106": "Missing data"}
    body = {"to": PHONE, "messages": [SMS], **change}

    assert problem(caller.call("POST", "", body)) == (HTTPStatus.BAD_REQUEST, code, titles[code], source)
    assert sandbox.messages() == []


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b"\xff"])
def test_send__of_no_json_is_invalid_data(caller: Caller, body: bytes) -> None:
    headers = {**basic(), "Content-Type": "application/json"}
    assert problem(caller.call("POST", "", raw=body, headers=headers))[:2] == (HTTPStatus.BAD_REQUEST, "105")


def test_send__by_a_sender_that_is_not_activated(start_sandbox: Callable[..., Sandbox]) -> None:
    caller = Caller(start_sandbox(senders=["Shop"]))
    assert problem(caller.send({**SMS, "sender": "Bank"}))[3] == "messages.0.sender"
    assert caller.sent({**SMS, "sender": "Shop"})


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": "Bearer x"},
        {"Authorization": "Basic !"},
        {"Authorization": "Basic /w=="},
        basic(password="wrong"),
        basic("nobody"),
    ],
)
def test_credentials__that_are_wrong(caller: Caller, sandbox: Sandbox, headers: dict[str, str]) -> None:
    for method, path in [("POST", ""), ("GET", "/x/status"), ("DELETE", "/x")]:
        refused = problem(caller.call(method, path, headers=headers))
        assert refused == (HTTPStatus.UNAUTHORIZED, "103", "Unauthorized", None)
    assert sandbox.messages() == []


@pytest.mark.parametrize(("method", "path"), [("GET", ""), ("PUT", ""), ("GET", "/x"), ("POST", "/x/status")])
def test_method__that_is_not_allowed(caller: Caller, method: str, path: str) -> None:
    response = caller.call(method, path)
    assert problem(response)[:3] == (HTTPStatus.METHOD_NOT_ALLOWED, "107", "Method not allowed")
    assert response.headers["Allow"]


def test_report__of_an_unknown_message_or_anothers(start_sandbox: Callable[..., Sandbox]) -> None:
    caller = Caller(start_sandbox(accounts={"other": "secret"}))
    omnimessage_id = caller.sent()
    other = caller.call("GET", f"/{omnimessage_id}/status", headers=basic("other", "secret"))
    for response in (other, caller.call("GET", "/no-such-id/status")):
        assert problem(response) == (HTTPStatus.NOT_FOUND, "101", "Not found", None)


def test_order__fails_one_channel_and_the_next_is_tried(caller: Caller, sandbox: Sandbox) -> None:
    ordered = send(sandbox.url, "POST", "/_sandbox/deliveries", {"to": PHONE, "status": "UNDELIV", "err": 3})
    assert ordered.status == HTTPStatus.CREATED
    omnimessage_id = caller.sent(VIBER, SMS)

    statuses = caller.statuses(omnimessage_id)
    assert [(s["channel"], s["status"], s["err"], s["error"]) for s in statuses] == [
        ("viber", "UNDELIV", 3, "Invalid number"),
        ("sms", "DELIVRD", 0, None),
    ]
    assert [message["channel"] for message in sandbox.messages()] == ["sms"]
    assert sandbox.ordered_deliveries() == []


def test_order__for_one_channel_and_number_alone(caller: Caller, sandbox: Sandbox) -> None:
    sandbox.order_delivery(PHONE, "EXPIRED", channel="whatsapp", times=2)
    sandbox.order_delivery("+37255500067", "UNDELIV")

    assert [s["status"] for s in caller.statuses(caller.sent(SMS))] == ["DELIVRD"]
    assert [s["status"] for s in caller.statuses(caller.sent(WHATSAPP, SMS))] == ["EXPIRED", "DELIVRD"]
    assert [order["times"] for order in sandbox.ordered_deliveries()] == [1, 1]
    send(sandbox.url, "DELETE", "/_sandbox/deliveries")
    assert send(sandbox.url, "GET", "/_sandbox/deliveries").json() == {"deliveries": []}


@pytest.mark.parametrize("status", ["ACK", "ACCEPTD", "UNKNOWN"])
def test_order__of_a_message_under_way(caller: Caller, sandbox: Sandbox, status: str) -> None:
    """It has not arrived, and no other channel is tried."""
    sandbox.order_delivery(PHONE, status)
    statuses = caller.statuses(caller.sent(SMS, VIBER))
    assert [(s["status"], s["err"]) for s in statuses] == [(status, None)]
    assert sandbox.messages() == []


def test_order__seen_arrives(caller: Caller, sandbox: Sandbox) -> None:
    sandbox.order_delivery(PHONE, "SEEN")
    assert [(s["status"], s["err"]) for s in caller.statuses(caller.sent())] == [("SEEN", 10)]
    assert sandbox.last_pin(PHONE) == "4711"


@pytest.mark.parametrize(
    "order",
    [
        {},
        {"to": PHONE},
        {"to": "x", "status": "SEEN"},
        {"to": 1, "status": "SEEN"},
        {"to": PHONE, "status": "seen"},
        {"to": PHONE, "status": ["SEEN"]},
        {"to": PHONE, "status": "SEEN", "err": 11},
        {"to": PHONE, "status": "SEEN", "channel": "fax"},
        {"to": PHONE, "status": "SEEN", "times": 0},
        {"to": PHONE, "status": "SEEN", "self": 1},
    ],
)
def test_order__that_is_wrong(sandbox: Sandbox, order: dict[str, Any]) -> None:
    response = send(sandbox.url, "POST", "/_sandbox/deliveries", order)
    assert response.status == HTTPStatus.UNPROCESSABLE_ENTITY
    assert response.message
    assert sandbox.ordered_deliveries() == []


@pytest.mark.parametrize(
    ("message", "parts"), [(SMS, 1), ({**SMS, "text": "a" * 161}, 2), ({**SMS, "text": "õ" * 141}, 3), (VIBER, 1)]
)
def test_price__is_that_of_the_parts(caller: Caller, message: Any, parts: int) -> None:
    (status,) = caller.statuses(caller.sent(message))
    price = status["price_info"]
    assert price["parts_count"] == parts
    assert Decimal(price["total_price"]) == parts * Decimal(price["part_price"]) > 0


def test_scheduled__goes_when_it_is_due(caller: Caller, sandbox: Sandbox) -> None:
    due = datetime.now(timezone.utc) + timedelta(seconds=100)
    omnimessage_id = caller.sent(time_to_send=due.isoformat().replace("+00:00", "Z"))
    assert (caller.statuses(omnimessage_id), sandbox.messages()) == ([], [])

    sandbox.advance(101)
    assert [message["pin"] for message in sandbox.messages()] == ["4711"]
    assert [s["status"] for s in caller.statuses(omnimessage_id)] == ["DELIVRD"]
    assert problem(caller.call("DELETE", f"/{omnimessage_id}"))[1] == "101"


def test_scheduled__is_cancelled(caller: Caller, sandbox: Sandbox) -> None:
    due = (datetime.now(timezone.utc) + timedelta(seconds=100)).replace(tzinfo=None)
    omnimessage_id = caller.sent(time_to_send=due.isoformat())
    assert caller.call("DELETE", f"/{omnimessage_id}").status == HTTPStatus.ACCEPTED
    assert problem(caller.call("DELETE", f"/{omnimessage_id}"))[1] == "101"
    sandbox.advance(101)
    assert sandbox.messages() == []


def test_reset__forgets_messages_and_orders(caller: Caller, sandbox: Sandbox) -> None:
    sandbox.order_delivery(PHONE, "UNDELIV", times=5)
    omnimessage_id = caller.sent()
    sandbox.reset()
    assert sandbox.ordered_deliveries() == []
    assert caller.call("GET", f"/{omnimessage_id}/status").status == HTTPStatus.NOT_FOUND


@pytest.mark.parametrize("operation", ["omnimessage.send", "omnimessage.status", "omnimessage.cancel"])
def test_fault__on_each_operation(caller: Caller, sandbox: Sandbox, operation: str) -> None:
    add_fault(sandbox, fault="status", status=503, operation=operation, times=1)
    calls = {
        "omnimessage.send": lambda: caller.send().status,
        "omnimessage.status": lambda: caller.call("GET", "/x/status").status,
        "omnimessage.cancel": lambda: caller.call("DELETE", "/x").status,
    }
    assert calls[operation]() == HTTPStatus.SERVICE_UNAVAILABLE
    assert calls[operation]() != HTTPStatus.SERVICE_UNAVAILABLE
    assert len(sandbox.calls(operation=operation)) == 2


class Site:
    """Take the reports; answer each with the next status, the last for all that follow."""

    def __init__(self) -> None:
        site = self
        self.reports: list[dict[str, Any]] = []
        self.answers = [204]
        self.arrived = threading.Semaphore(0)

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                site.reports.append({"path": self.path, "type": self.headers["Content-Type"], **json.loads(body)})
                self.send_response(site.answers.pop(0) if len(site.answers) > 1 else site.answers[0])
                self.end_headers()
                site.arrived.release()

            def log_message(self, *args: Any) -> None:
                pass

        self._server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/dlr/?key=1"

    def wait(self, number: int) -> None:
        assert all(self.arrived.acquire(timeout=10) for _ in range(number))

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@pytest.fixture
def site() -> Iterator[Site]:
    site = Site()
    yield site
    site.stop()


def test_callback__has_the_status_of_each_channel(caller: Caller, sandbox: Sandbox, site: Site) -> None:
    sandbox.order_delivery(PHONE, "UNDELIV")
    omnimessage_id = caller.sent(VIBER, SMS, dlr_url=site.url)
    site.wait(2)
    reports = [dict(report) for report in site.reports]
    assert [(report.pop("path"), report.pop("type")) for report in reports] == [("/dlr/?key=1", "application/json")] * 2
    assert reports == caller.statuses(omnimessage_id)
    assert [report["omnimessage_id"] for report in reports] == [omnimessage_id] * 2


def test_callback__comes_again_where_the_site_fails(
    caller: Caller, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(callbacks, "RETRY_SECONDS", 0.01)
    site.answers = [500, 302]
    caller.sent(dlr_url=site.url)
    site.wait(2)
    caller.sent(dlr_url=site.url)
    site.wait(1)
    assert len(site.reports) == 3


def test_callback__goes_to_no_other_machine(
    caller: Caller, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    posted: list[str] = []
    monkeypatch.setattr(callbacks.CallbackSender, "_post_once", lambda sender, url, body: posted.append(url) or True)
    caller.sent(dlr_url="https://shop.example/dlr/")
    assert [record.getMessage().partition(":")[0] for record in caplog.records] == ["A report is not posted"]
    assert "shop.example" not in caplog.text
    assert posted == []


def test_callback__too_many_are_dropped(
    caller: Caller, site: Site, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(callbacks, "DELAY_SECONDS", 60.0)
    sender = callbacks.CallbackSender(allow_remote=False)
    for _ in range(callbacks.MAX_WAITING + 2):  # the thread holds one
        sender.post(site.url, {})
    assert "1000 others wait" in caplog.text
    with in_time(5):
        sender.stop()


def test_stop__breaks_off_a_callback_that_nobody_answers(start_sandbox: Callable[..., Sandbox]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        sandbox = start_sandbox()
        Caller(sandbox).sent(dlr_url=f"http://127.0.0.1:{listener.getsockname()[1]}/")
        listener.settimeout(10)
        connection, _ = listener.accept()
        with connection, in_time(5):
            sandbox.stop()
        assert not [thread for thread in threading.enumerate() if thread.name == "sandbox-callbacks"]
