"""The client of the Omnichannel API: what it sends, what it believes, and which error an error is."""

from __future__ import annotations

import base64
import copy
import json
import pickle
import traceback
from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Any

import pytest
import responses
from conftest import Connection, Server

from django_verigator.client import BadAnswer, ChannelMessage, MessageStatus, Omnichannel, Omnimessage, WhatsAppTemplate
from django_verigator.client.deliveries import MAX_POSTED, parse_posted_status
from django_verigator.exceptions import (
    InternalError,
    InvalidDataError,
    InvalidResponseError,
    NoSuchResourceError,
    ResourceForbiddenError,
    VerigatorError,
    WrongCredentialsError,
)

Serve = Callable[..., Server]
CREDENTIAL = "canary-user", "canary:päss+ %"
NUMBER, PIN = "+37251234567", "004242"
SECRETS = ["canary", PIN, "51234567", base64.b64encode(":".join(CREDENTIAL).encode()).decode()]
URL = "https://api.messente.com/v1/omnimessage"
ID, MESSAGE_ID = "d7248cda-6c1a-4436-acf5-aaf249bb67d3", "3e28ec48-d620-4191-a96e-d91ba8ecc949"
SENT = {
    "to": NUMBER,
    "omnimessage_id": ID,
    "messages": [{"channel": "sms", "message_id": MESSAGE_ID, "sender": "Shop"}],
}
# As the provider's documentation shows it (delivery report).
STATUS = {
    "status": "DELIVRD",
    "sender": "MySender",
    "err": 0,
    "message_id": MESSAGE_ID,
    "to": NUMBER,
    "channel": "sms",
    "error": None,
    "omnimessage_id": ID,
    "timestamp": "2020-02-04T08:09:42.389630",
    "price_info": {"part_price": "0.1", "parts_count": 2, "total_price": "0.2"},
}
SMS = ChannelMessage("sms", f"Code {PIN}")


@pytest.fixture
def api() -> Iterator[Omnichannel]:
    api = Omnichannel(*CREDENTIAL)
    yield api
    api.close()


def send(api: Omnichannel, answer: Any = SENT, status: int = 201, **options: Any) -> Omnimessage:
    with responses.RequestsMock() as mock:
        mock.post(URL, json=answer, status=status)
        return api.send(NUMBER, [SMS], **options)


def report(api: Omnichannel, answer: Any, status: int = 200) -> list[MessageStatus]:
    with responses.RequestsMock() as mock:
        mock.get(f"{URL}/{ID}/status", json=answer, status=status)
        return api.report(ID)


def failure(call: Callable[[], object]) -> VerigatorError:
    with pytest.raises(VerigatorError) as caught:
        call()
    error = caught.value
    assert error.__context__ is None
    shown = f"{error!s}{error!r}{error.__dict__}"
    assert [secret for secret in (*SECRETS, "the provider's words") if secret in shown] == []
    return error


# --- what goes out ----------------------------------------------------------------------------------------------------


def sent_body(api: Omnichannel, *messages: ChannelMessage, **options: Any) -> tuple[Any, Any]:
    with responses.RequestsMock() as mock:
        mock.post(URL, json=SENT, status=201)
        api.send(NUMBER, messages, **options)
        (call,) = mock.calls
    return call.request, json.loads(call.request.body)


def test_send__is_json_under_basic_authentication(api: Omnichannel) -> None:
    request, body = sent_body(api, SMS)
    assert body == {"to": NUMBER, "messages": [{"channel": "sms", "text": f"Code {PIN}"}]}
    assert request.headers["Content-Type"] == request.headers["Accept"] == "application/json"
    scheme, _, pair = request.headers["Authorization"].partition(" ")
    assert (scheme, base64.b64decode(pair).decode()) == ("Basic", ":".join(CREDENTIAL))


def test_send__takes_all_options_and_keeps_the_order(api: Omnichannel) -> None:
    messages = [
        ChannelMessage("whatsapp", "x", "Shop", 30, WhatsAppTemplate("login_code", "et"), PIN),
        ChannelMessage("viber", "Kood õ", "Shop", 60),
        ChannelMessage("rcs", "Kood", "Shop"),
    ]
    _, body = sent_body(api, *messages, priority="high", dlr_url="https://shop.example/r/1/", text_store="nostore")
    pins = [{"type": "text", "text": PIN}]
    assert body == {
        "to": NUMBER,
        "priority": "high",
        "dlr_url": "https://shop.example/r/1/",
        "text_store": "nostore",
        "messages": [
            {
                "channel": "whatsapp",
                "sender": "Shop",
                "ttl": 30,
                "template": {
                    "name": "login_code",
                    "language": {"code": "et"},
                    "components": [
                        {"type": "body", "parameters": pins},
                        {"type": "button", "sub_type": "url", "index": 0, "parameters": pins},
                    ],
                },
            },
            {"channel": "viber", "sender": "Shop", "ttl": 60, "text": "Kood õ"},
            {"channel": "rcs", "sender": "Shop", "text": "Kood"},
        ],
    }


def test_send__whatsapp_without_a_template_as_text(api: Omnichannel) -> None:
    _, body = sent_body(api, ChannelMessage("whatsapp", "Kood"))
    assert body["messages"] == [{"channel": "whatsapp", "text": {"body": "Kood", "preview_url": False}}]


@pytest.mark.parametrize(
    "message",
    [
        {"channel": "fax"},
        {"channel": "rcs"},
        {"channel": "sms", "template": WhatsAppTemplate("a", "en"), "pin": PIN},
        {"channel": "whatsapp", "template": WhatsAppTemplate("a", "en")},
    ],
)
def test_message__that_cannot_be_sent(message: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"channel|sender|template"):
        ChannelMessage(text="x", **message)


@pytest.mark.parametrize(
    "account", [("", "x"), ("x", ""), ("a:b", "x"), ("a\nb", "x"), ("a", "\x00"), (None, "x"), ("a", "\ud800")]
)
def test_credentials__that_cannot_be_sent(account: Any) -> None:
    with pytest.raises(ValueError, match="username and password"):
        Omnichannel(*account)


def test_arguments__that_cannot_be_used_send_nothing(api: Omnichannel) -> None:
    with responses.RequestsMock():
        for call in (
            lambda: api.send("", [SMS]),
            lambda: api.send(NUMBER, []),
            lambda: api.report(""),
            lambda: api.report("../other"),
            lambda: api.report(".."),
        ):
            with pytest.raises(ValueError, match=r"number|messages|omnimessage_id"):
                call()


def test_client__shows_and_carries_no_secret(serve: Serve) -> None:
    def script(connection: Connection) -> None:
        connection.request()
        connection.answer(b"no", "500 Internal Server Error")

    api = Omnichannel(*CREDENTIAL, serve(script).url)
    with pytest.raises(InternalError) as caught:
        api.send(NUMBER, [SMS])
    frames = traceback.TracebackException.from_exception(caught.value, capture_locals=True)
    ours = "".join(str(frame.locals) for frame in frames.stack if "django_verigator" in frame.filename)
    assert "ChannelMessage sms" in ours
    assert [secret for secret in SECRETS if secret in f"{ours}{api!r}{SMS!r}"] == []
    for carry in (pickle.dumps, copy.copy):
        with pytest.raises(TypeError):
            carry(api)


# --- what is believed -------------------------------------------------------------------------------------------------


def test_sent__has_the_ids(api: Omnichannel) -> None:
    assert send(api) == Omnimessage(ID, {"sms": MESSAGE_ID})
    assert send(api, {**SENT, "to": NUMBER[1:]}).id == ID  # without the plus


@pytest.mark.parametrize(
    "change",
    [
        {"to": "+37251234568"},
        {"to": None},
        {"omnimessage_id": "a/b"},
        {"omnimessage_id": 1},
        {"messages": []},
        {"messages": {}},
        {"messages": [{"channel": "sms"}]},
        {"messages": [{"channel": "fax", "message_id": ID}]},
    ],
)
def test_sent__that_is_strange_is_an_invalid_response(api: Omnichannel, change: dict[str, Any]) -> None:
    error = failure(lambda: send(api, {**SENT, **change}))
    assert isinstance(error, InvalidResponseError)
    assert error.sent is True


def test_report__of_the_documentation(api: Omnichannel) -> None:
    statuses = report(api, {"omnimessage_id": ID, "to": NUMBER, "statuses": [STATUS]})
    assert statuses == [MessageStatus("DELIVRD", "sms", 0, Decimal("0.2"))]


def test_report__of_a_message_under_way(api: Omnichannel) -> None:
    nothing = {"status": None, "channel": None, "err": None, "price_info": None}
    assert report(api, {"omnimessage_id": ID, "statuses": [nothing, {}]}) == [MessageStatus("")] * 2


@pytest.mark.parametrize(
    "answer",
    [
        {},
        {"omnimessage_id": ID},
        {"omnimessage_id": MESSAGE_ID, "statuses": []},
        {"omnimessage_id": ID, "statuses": {}},
        {"omnimessage_id": ID, "statuses": ["DELIVRD"]},
        {"omnimessage_id": ID, "statuses": [STATUS] * 21},
    ],
)
def test_report__that_is_strange_is_an_invalid_response(api: Omnichannel, answer: Any) -> None:
    assert isinstance(failure(lambda: report(api, answer)), InvalidResponseError)


STRANGE = [
    {"status": "delivrd"},
    {"status": 1},
    {"status": ["DELIVRD"]},
    {"channel": "fax"},
    {"err": -1},
    {"err": True},
    {"err": "0"},
    {"err": 10**9},
    {"price_info": []},
    {"price_info": {}},
    *(
        {"price_info": {"total_price": price}}
        for price in (0.2, 2, None, "NaN", "Infinity", "-1", "1e5", "", " 1", "1\n", "1,5", "1.", "9" * 7, "٣")
    ),
]


@pytest.mark.parametrize("change", STRANGE)
def test_status__that_is_strange_is_refused_in_reports_and_posts(api: Omnichannel, change: dict[str, Any]) -> None:
    status = {**STATUS, **change}
    error = failure(lambda: report(api, {"omnimessage_id": ID, "statuses": [status]}))
    assert isinstance(error, InvalidResponseError)
    with pytest.raises(BadAnswer):
        parse_posted_status(json.dumps(status).encode())


def test_posted_status__of_the_documentation() -> None:
    posted = parse_posted_status(json.dumps(STATUS).encode())
    assert posted == (ID, MessageStatus("DELIVRD", "sms", 0, Decimal("0.2")))


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"\xff",
        b'{"status": "DELIVRD"}',
        b'{"omnimessage_id": "a b"}',
        b'{"omnimessage_id": "a", "omnimessage_id": "b"}',
        b"[" * 8000,
        b'{"omnimessage_id": "a", "err": ' + b"9" * 6000 + b"}",
        json.dumps(STATUS).encode() + b" " * MAX_POSTED,
    ],
)
def test_posted_status__that_is_none(body: bytes) -> None:
    with pytest.raises(BadAnswer):
        parse_posted_status(body)


# --- errors -----------------------------------------------------------------------------------------------------------


def errors(*codes: str, source: Any = None) -> dict[str, Any]:
    return {
        "errors": [
            {"code": code, "title": "the provider's words", "detail": NUMBER, "source": source} for code in codes
        ]
    }


@pytest.mark.parametrize(
    ("code", "status", "kind"),
    [
        ("101", 404, NoSuchResourceError),
        ("102", 403, ResourceForbiddenError),
        ("103", 401, WrongCredentialsError),
        ("104", 500, InternalError),
        ("105", 400, InvalidDataError),
        ("106", 400, InvalidDataError),
        ("107", 405, VerigatorError),
    ],
)
def test_code__is_typed_and_kept(api: Omnichannel, code: str, status: int, kind: type[VerigatorError]) -> None:
    error = failure(lambda: send(api, errors(code), status))
    assert (type(error), error.status, error.provider_code) == (kind, status, code)
    assert (error.method, error.path) == ("POST", "/v1/omnimessage")


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (errors("105"), 401),
        (errors("103"), 400),
        (errors("104", "105"), 500),
        (errors("999"), 400),
        (errors(), 400),
        (errors(*["105"] * 21), 400),
        ({"errors": [{"code": 105}]}, 400),
        ({"errors": [{"code": ["105"]}]}, 400),
        ({"errors": "105"}, 400),
        ({"message": "no"}, 400),
    ],
)
def test_code__that_contradicts_the_status_or_is_none_says_nothing(api: Omnichannel, body: Any, status: int) -> None:
    kinds = {400: InvalidDataError, 401: WrongCredentialsError, 500: InternalError}
    error = failure(lambda: send(api, body, status))
    assert (type(error), error.status, error.provider_code) == (kinds[status], status, "")


@pytest.mark.parametrize("source", ["to", "payload.to", "/to", None, "", 1])
def test_refusal__that_may_be_of_the_number(api: Omnichannel, source: Any) -> None:
    error = failure(lambda: send(api, errors("105", source=source), 400))
    assert (type(error), error.status) == (InvalidDataError, 400)


@pytest.mark.parametrize("source", ["messages.0.sender", "messages", "priority", "/messages/0/ttl", "into"])
def test_refusal__of_all_but_the_number_is_another_error(api: Omnichannel, source: str) -> None:
    """Another provider may send to it: 400 is what the flows take for the number's fault."""
    error = failure(lambda: send(api, errors("105", source=source), 400))
    assert (type(error), error.status, error.provider_code) == (ResourceForbiddenError, 403, "105")
    both = {"errors": [*errors("105", source=source)["errors"], *errors("105", source="to")["errors"]]}
    assert failure(lambda: send(api, both, 400)).status == 400
