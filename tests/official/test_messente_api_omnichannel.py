"""messente-api, Messente's maintained client: its Omnichannel API against the sandbox, and beside our own."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from http import HTTPStatus
from typing import Any

import pytest

messente_api = pytest.importorskip("messente_api")

from django_verigator.client import ChannelMessage, Omnichannel, WhatsAppTemplate  # noqa: E402
from django_verigator.sandbox import Sandbox  # noqa: E402
from django_verigator.sandbox.application import Application  # noqa: E402

USERNAME, PASSWORD, PHONE = "official-user", "official&password", "+37255500067"
TEXT = "004711 is your verification code"


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(username=USERNAME, password=PASSWORD, senders=["Shop"]) as sandbox:
        yield sandbox


def client(sandbox: Sandbox, password: str = PASSWORD) -> Any:
    host = f"{sandbox.url}/v1"
    return messente_api.ApiClient(messente_api.Configuration(host=host, username=USERNAME, password=password))


def omnimessage(*messages: Any, **more: Any) -> Any:
    inner = [messente_api.OmnimessageMessagesInner(each) for each in messages or [messente_api.SMS(text=TEXT)]]
    return messente_api.Omnimessage(**{"to": PHONE, "messages": inner, **more})


def failure(call: Any, *args: Any) -> tuple[int, str, str | None]:
    with pytest.raises(messente_api.ApiException) as caught:
        call(*args)
    (error,) = messente_api.ErrorOmnichannel.from_json(caught.value.body).errors
    return caught.value.status, error.code.value, error.source


def test_message__is_sent_and_reported(sandbox: Sandbox) -> None:
    sandbox.order_delivery(PHONE, "UNDELIV", err=3)
    with client(sandbox) as api:
        sms, viber = messente_api.SMS(text=TEXT, sender="Shop"), messente_api.Viber(text=TEXT, sender="Shop")
        sent = messente_api.OmnimessageApi(api).send_omnimessage(omnimessage(viber, sms))
        report = messente_api.DeliveryReportApi(api).retrieve_delivery_report(sent.omnimessage_id)
    assert sandbox.last_pin(PHONE) == "004711"
    assert (sent.to, [each.sender for each in sent.messages]) == (PHONE, ["Shop", "Shop"])
    assert report.omnimessage_id == sent.omnimessage_id
    found = [(each.channel.value, each.status.value, each.err.value) for each in report.statuses]
    assert found == [("viber", "UNDELIV", 3), ("sms", "DELIVRD", 0)]
    assert [each.message_id for each in report.statuses] == [each.message_id for each in sent.messages]
    assert report.statuses[1].price_info.total_price == "0.07"


def test_message__that_is_scheduled_is_cancelled(sandbox: Sandbox) -> None:
    due = datetime.now(timezone.utc) + timedelta(hours=1)
    with client(sandbox) as api:
        messages = messente_api.OmnimessageApi(api)
        sent = messages.send_omnimessage(omnimessage(time_to_send=due.isoformat()))
        answer = messages.cancel_scheduled_message_with_http_info(sent.omnimessage_id)
        assert answer.status_code == HTTPStatus.ACCEPTED
        refused = failure(messages.cancel_scheduled_message, sent.omnimessage_id)
        assert refused == (HTTPStatus.NOT_FOUND, "101", None)
    sandbox.advance(7200)
    assert sandbox.messages() == []


def test_errors__are_those_of_its_models(sandbox: Sandbox) -> None:
    with client(sandbox) as api:
        messages = messente_api.OmnimessageApi(api)
        assert failure(messages.send_omnimessage, omnimessage(to="x")) == (HTTPStatus.BAD_REQUEST, "105", "to")
        bank = omnimessage(messente_api.SMS(text=TEXT, sender="Bank"))
        assert failure(messages.send_omnimessage, bank) == (HTTPStatus.BAD_REQUEST, "105", "messages.0.sender")
        report = messente_api.DeliveryReportApi(api).retrieve_delivery_report
        assert failure(report, "no-such-id") == (HTTPStatus.NOT_FOUND, "101", None)
    with client(sandbox, "wrong") as api:
        send = messente_api.OmnimessageApi(api).send_omnimessage
        assert failure(send, omnimessage()) == (HTTPStatus.UNAUTHORIZED, "103", None)


def test_requests__are_ours_field_by_field(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []
    real = Application.handle
    monkeypatch.setattr(
        Application, "handle", lambda app, request, *args: seen.append(request) or real(app, request, *args)
    )
    pins = [messente_api.WhatsAppParameter(type="text", text="004711")]
    button = messente_api.WhatsAppComponent(type="button", sub_type="url", index=0, parameters=pins)
    template = messente_api.WhatsAppTemplate(
        name="login_code",
        language=messente_api.WhatsAppLanguage(code="et"),
        components=[messente_api.WhatsAppComponent(type="body", parameters=pins), button],
    )
    theirs = omnimessage(
        messente_api.WhatsApp(template=template, sender="Shop", ttl=30),
        messente_api.WhatsApp(text=messente_api.WhatsAppText(body=TEXT, preview_url=False)),
        messente_api.Viber(text=TEXT, ttl=60),
        messente_api.Rcs(text=TEXT, sender="Shop"),
        messente_api.SMS(text=TEXT, sender="Shop"),
        priority="high",
        text_store="nostore",
        dlr_url="http://127.0.0.1:9/r/",
    )
    ours = [
        ChannelMessage("whatsapp", TEXT, "Shop", 30, WhatsAppTemplate("login_code", "et"), "004711"),
        ChannelMessage("whatsapp", TEXT),
        ChannelMessage("viber", TEXT, ttl=60),
        ChannelMessage("rcs", TEXT, "Shop"),
        ChannelMessage("sms", TEXT, "Shop"),
    ]
    with client(sandbox) as api:
        messente_api.OmnimessageApi(api).send_omnimessage(theirs)
    mine = Omnichannel(USERNAME, PASSWORD, sandbox.url)
    with pytest.raises(Exception, match="twice"):  # two messages on one channel, which the backend never sends
        mine.send(PHONE, ours, priority="high", text_store="nostore", dlr_url="http://127.0.0.1:9/r/")
    mine.close()
    first, second = seen
    assert json.loads(first.body) == json.loads(second.body)
    assert (first.method, first.path) == (second.method, second.path)
    for name in ("Authorization", "Content-Type", "Accept"):
        assert first.headers[name] == second.headers[name]
