"""The Omnichannel backend: what it sends by which channel, what it says of deliveries, and its options."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from decimal import Decimal
from typing import Any

import pytest

from django_verigator.backends import DeliveryReport, DeliveryStatus, Recipient
from django_verigator.backends.deliveries import merge_statuses
from django_verigator.backends.omnichannel import VERIGATOR_TEMPLATE, OmnichannelBackend
from django_verigator.client import MessageStatus
from django_verigator.exceptions import InvalidDataError, ResourceForbiddenError
from django_verigator.sandbox import Sandbox

PHONE = "+37255500067"
TO = Recipient("", PHONE)
Make = Callable[..., OmnichannelBackend]
SENT, EXPIRED, UNDELIVERED, DELIVERED, SEEN = DeliveryStatus


@pytest.fixture
def provider() -> Iterator[Sandbox]:
    with Sandbox(username="user", password="secret", senders=["Shop"]) as sandbox:
        yield sandbox


@pytest.fixture(autouse=True)
def _every_way(settings: Any) -> None:
    settings.VERIGATOR = {**settings.VERIGATOR, "WAYS": ["sms", "whatsapp"]}


@pytest.fixture
def make(provider: Sandbox) -> Iterator[Make]:
    with ExitStack() as stack:

        def make(**options: Any) -> OmnichannelBackend:
            account = {"username": "user", "password": "secret", "endpoint": provider.url}
            backend = OmnichannelBackend("default", **{**account, **options})
            stack.callback(backend.close)
            return backend

        yield make


def shown(provider: Sandbox) -> list[tuple[str, str]]:
    return [(message["channel"], message["text"]) for message in provider.messages(PHONE)]


# --- sending ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("channels", "methods"),
    [
        (["sms"], ("sms",)),
        (["whatsapp"], ("whatsapp",)),
        (["viber"], ("sms",)),
        (["whatsapp", "sms"], ("sms", "whatsapp")),
    ],
)
def test_methods__are_those_of_the_channels(make: Make, channels: list[str], methods: tuple[str, ...]) -> None:
    assert make(channels=channels).methods == methods


@pytest.mark.parametrize(
    ("channels", "asked", "channel", "method"),
    [
        (["viber", "sms"], "sms", "viber", "sms"),
        (["sms", "whatsapp"], "sms", "sms", "sms"),
        (["sms", "whatsapp"], "whatsapp", "whatsapp", "whatsapp"),
        (["whatsapp", "sms"], "sms", "sms", "sms"),
        (["whatsapp", "viber", "sms"], "sms", "viber", "sms"),
        (["sms", "viber", "whatsapp"], "whatsapp", "whatsapp", "whatsapp"),
        (["sms", "viber"], "totp", "sms", "sms"),
    ],
)
def test_start__goes_by_the_first_channel_and_says_so(
    make: Make, provider: Sandbox, channels: list[str], asked: str, channel: str, method: str
) -> None:
    backend = make(channels=channels)
    started = backend.start(TO, asked)
    assert started.method == method
    assert [kind for kind, _ in shown(provider)] == [channel]
    assert backend.check(TO, provider.last_pin(PHONE), started.reference).verified
    assert backend.report(started.message_id).status is DELIVERED


def test_whatsapp__is_used_only_where_it_is_allowed(make: Make, provider: Sandbox, settings: Any) -> None:
    settings.VERIGATOR = {**settings.VERIGATOR, "WAYS": ["sms"]}
    backend = make(channels=["whatsapp", "sms"], whatsapp_template="login_code")
    for asked in ("sms", "whatsapp"):
        assert backend.start(TO, asked).method == "sms"
    assert [kind for kind, _ in shown(provider)] == ["sms", "sms"]
    assert [message.id for message in backend.system_checks()] == ["verigator.E020"]


def test_text__is_no_way_out_where_it_is_forbidden(make: Make, provider: Sandbox, settings: Any) -> None:
    settings.VERIGATOR = {**settings.VERIGATOR, "WAYS": ["whatsapp"]}
    backend = make(channels=["whatsapp", "sms"], whatsapp_template="login_code")
    provider.order_delivery(PHONE, "UNDELIV")
    message_id = backend.start(TO, "whatsapp").message_id
    assert shown(provider) == []
    assert backend.report(message_id).status is UNDELIVERED


def test_start__by_a_whatsapp_template_names_the_pin_alone(make: Make, provider: Sandbox) -> None:
    options = {"whatsapp_template": "login_code", "whatsapp_language": "et", "template": "It is <PIN>."}
    backend = make(channels=["whatsapp"], pin_length=6, domain="shop.example", **options)
    started = backend.start(TO, "whatsapp")
    ((_, text),) = shown(provider)
    assert text == f"{provider.last_pin(PHONE)} (template login_code, et)"
    assert backend.check(TO, provider.last_pin(PHONE), started.reference).verified


def test_start__in_the_form_of_the_new_verigator(make: Make, provider: Sandbox) -> None:
    make(template=VERIGATOR_TEMPLATE, pin_length=10).start(TO, "sms")
    assert shown(provider) == [("sms", f"{provider.last_pin(PHONE)} is your verification code")]
    for options in ({"pin_length": 11}, {"domain": "shop.example"}):
        with pytest.raises(ValueError, match="this template"):
            make(template=VERIGATOR_TEMPLATE, **options)


def test_start__sends_what_the_options_say(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    backend, sent = make(sender="Shop", ttl=60, text_store="sha256", priority="low"), []
    send = backend.api.send
    monkeypatch.setattr(backend.api, "send", lambda *args, **more: sent.append((args[1], more)) or send(*args, **more))
    backend.start(TO, "sms")
    backend.start(Recipient("", PHONE, "http://127.0.0.1:9/report"), "sms")
    first, second = sent
    assert [(each.sender, each.ttl) for each in first[0]] == [("Shop", 60)]
    assert first[1] == {"priority": "low", "text_store": "sha256", "dlr_url": None}
    assert second[1]["dlr_url"] == "http://127.0.0.1:9/report"


def test_refusal__of_a_sender_is_not_one_of_the_number(make: Make) -> None:
    with pytest.raises(ResourceForbiddenError):
        make(sender="Bank").start(TO, "sms")
    with pytest.raises(InvalidDataError):
        make().start(Recipient("", "+1"), "sms")


# --- deliveries -------------------------------------------------------------------------------------------------------

STATUSES = {
    **dict.fromkeys(("", "ACK", "ACCEPTD", "UNKNOWN"), SENT),
    "DELIVRD": DELIVERED,
    "SEEN": SEEN,
    **dict.fromkeys(("UNDELIV", "FAILED", "REJECTD", "DELETED", "NACK"), UNDELIVERED),
    "EXPIRED": EXPIRED,
}


@pytest.mark.parametrize("word", STATUSES)
def test_status__in_our_words(word: str) -> None:
    report = merge_statuses([MessageStatus(word, "sms", 3, Decimal("0.07"))], is_last=True)
    error = f"{word} 3" if STATUSES[word] in (UNDELIVERED, EXPIRED) else ""
    assert report == DeliveryReport(STATUSES[word], "sms", error, Decimal("0.07"))


@pytest.mark.parametrize(
    ("words", "is_last", "status", "channel"),
    [
        (["UNDELIV", "DELIVRD"], True, DELIVERED, "sms"),
        (["SEEN", "DELIVRD"], True, SEEN, "viber"),
        (["UNDELIV", "ACK"], True, SENT, "sms"),
        (["UNDELIV", "EXPIRED"], True, EXPIRED, "sms"),
        (["EXPIRED", "UNDELIV"], True, UNDELIVERED, "sms"),
        (["EXPIRED"], False, SENT, ""),
        (["UNDELIV"], False, SENT, ""),
        ([], True, SENT, ""),
    ],
)
def test_channels__the_best_wins(words: list[str], is_last: bool, status: DeliveryStatus, channel: str) -> None:
    pairs = zip(words, ("viber", "sms"), strict=False)
    report = merge_statuses([MessageStatus(word, name) for word, name in pairs], is_last=is_last)
    assert (report.status, report.channel, report.price) == (status, channel, None)


def test_report__fails_when_all_channels_have_and_sums_the_prices(make: Make, provider: Sandbox) -> None:
    backend = make(channels=["viber", "sms"])
    provider.order_delivery(PHONE, "UNDELIV", err=3, times=2)
    report = backend.report(backend.start(TO, "sms").message_id)
    assert report == DeliveryReport(UNDELIVERED, "sms", "UNDELIV 3", Decimal("0.09"))
    provider.order_delivery(PHONE, "UNDELIV")
    assert backend.report(backend.start(TO, "sms").message_id).status is DELIVERED


@pytest.mark.parametrize(
    ("channels", "channel", "status"),
    [
        (["sms"], "sms", UNDELIVERED),
        (["sms"], "viber", SENT),
        (["viber", "sms"], "viber", SENT),
        (["viber", "sms"], "sms", UNDELIVERED),
        (["sms", "whatsapp"], "whatsapp", SENT),  # which may have been asked for, and be the first
        (["sms", "whatsapp"], "sms", SENT),
        (["whatsapp"], "whatsapp", UNDELIVERED),
    ],
)
def test_posted_failure__is_final_on_the_last_channel_alone(
    make: Make, channels: list[str], channel: str, status: DeliveryStatus
) -> None:
    body = json.dumps({"omnimessage_id": "abc", "status": "UNDELIV", "channel": channel}).encode()
    message_id, report = make(channels=channels).read_report(body)
    assert (message_id, report.status) == ("abc", status)


@pytest.mark.parametrize("body", [b"", b"{}", b"[]", b"\xff\xfe", b"x" * 10**6, b'{"omnimessage_id": "a", "err": "1"}'])
def test_posted_nonsense__is_a_value_error(make: Make, body: bytes) -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the type is the contract
        make().read_report(body)
    assert caught.value.__context__ is None


# --- options ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("option", "value"),
    [
        *(("channels", value) for value in ([], "sms", ["fax"], ["sms", "sms"], [1], None, ["rcs"])),
        ("ttl", 0),
        ("ttl", "60"),
        ("priority", "urgent"),
        ("text_store", ""),
        ("sender", " "),
        ("whatsapp_language", ""),
        *(
            ("report_base", value)
            for value in (
                "shop.example",
                "http://shop.example",
                "https://",
                "https://a:b@shop.example",
                "https://shop.example/?a",
                "https://shop.example/?",
                "https://shop example",
                "ftp://127.0.0.1",
                "https://[",
                None,
            )
        ),
    ],
)
def test_option__that_cannot_be_used(make: Make, option: str, value: Any) -> None:
    with pytest.raises(ValueError, match="channels|sender|" + option):
        make(**{option: value})


@pytest.mark.parametrize(
    ("base", "kept"),
    [("", ""), ("https://shop.example/", "https://shop.example"), ("http://127.0.0.1:8000", "http://127.0.0.1:8000")],
)
def test_report_base__is_kept_without_a_slash(make: Make, base: str, kept: str) -> None:
    assert make(report_base=base).report_base == kept


@pytest.mark.parametrize(
    ("options", "ids"),
    [
        ({}, []),
        ({"channels": ["viber"]}, ["verigator.W024"]),
        ({"channels": ["whatsapp", "sms"]}, ["verigator.W024"]),
        ({"channels": ["whatsapp", "sms"], "whatsapp_template": "login_code"}, []),
        ({"validity": 1}, ["verigator.E020"]),
    ],
)
def test_checks(make: Make, settings: Any, options: dict[str, Any], ids: list[str]) -> None:
    settings.VERIGATOR = {**settings.VERIGATOR, "WAYS": ["sms", "whatsapp"]}
    assert [message.id for message in make(**options).system_checks()] == ids
