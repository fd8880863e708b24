"""The backends of this package, each with a provider to look into."""

from __future__ import annotations

import json
import re
import time
from contextlib import ExitStack
from email.message import Message
from pathlib import Path
from typing import Any, ClassVar
from unittest import mock
from urllib.parse import urlsplit

import responses

from django_verigator.backends import BaseBackend, locmem
from django_verigator.backends.console import ConsoleBackend
from django_verigator.backends.locmem import LocMemBackend
from django_verigator.backends.number_verification import NumberVerificationBackend
from django_verigator.backends.omnichannel import OmnichannelBackend
from django_verigator.backends.twilio_verify import TwilioVerifyBackend
from django_verigator.backends.verigator import VerigatorBackend
from django_verigator.sandbox import Sandbox
from django_verigator.sandbox.clock import Clock
from django_verigator.sandbox.config import ProviderConfig
from django_verigator.sandbox.http_messages import Request
from django_verigator.sandbox.provider import Provider
from django_verigator.sandbox.store import Store

from .contract import ALICE, CANARIES, LimitsSetup, NetworkSetup, Setup, WireSetup
from .messente_sms import MessenteSmsBackend

CERTS = Path(__file__).parents[1] / "client" / "certs"
PATIENT = {"connect_timeout": 5.0, "read_timeout": 5.0, "total_timeout": 8.0}
# On a busy machine a TLS handshake with the sandbox takes its time, and must be done before the stall begins.
HASTY = {"connect_timeout": 1.0, "read_timeout": 0.3, "total_timeout": 1.0}


class LocMemSetup(Setup):
    def __init__(self, *, keeps_users: bool = True) -> None:
        self.backend = LocMemBackend("default", keeps_users=keeps_users)

    def last_pin(self, to: str) -> str:
        return [message.pin for message in locmem.outbox if message.to == to][-1]

    def sendings(self) -> int:
        return len(locmem.outbox)


class ConsoleSetup(LocMemSetup):
    def __init__(self) -> None:
        self.backend = ConsoleBackend("default")


class _Product:
    """An API: how its backend is made, what it never answers, and how its codes end.

    Attributes:
        makes_pins: the backend makes and checks the PINs, so there are no answers to a check.
    """

    strange_starts: ClassVar[dict[str, dict[str, Any]]]
    strange_checks: ClassVar[dict[str, dict[str, Any]]] = {}
    makes_pins = False
    reference: ClassVar[str] = WireSetup.reference
    life: ClassVar[int] = LimitsSetup.life
    forgets: ClassVar[bool] = LimitsSetup.forgets

    def make(self, provider: Provider, **options: Any) -> BaseBackend:
        raise NotImplementedError


def _json(value: object, status: int = 200) -> dict[str, Any]:
    return {"status": status, "body": value if isinstance(value, str) else json.dumps(value)}


CLEAR = {"throttled": False, "expired": False, "invalid": False, "result": "OK"}
OTHER = "11111111-2222-4333-8444-555555555555"
YES = '{"method": "sms", "verified": true}'
NO_JSON = {
    "html": _json("<html>true</html>"),
    "empty": _json(""),
    "true": _json("true"),
    "a word": _json("VERIFIED"),
    "list": _json([{"verified": True, "method": "sms"}]),
    "twice": _json(f"{YES}{YES}"),
    "byte order mark": _json(f"\ufeff{YES}"),
    "cut": _json(YES[:-1]),
    "NaN": _json('{"method": "sms", "verified": true, "x": NaN}'),
    "deep": _json('{"method": "sms", "verified": true, "x": ' + "[" * 30000 + "}"),
    "no content": {"status": 204, "body": ""},
}


class Verigator(_Product):
    service_id = ""
    strange_starts: ClassVar[dict[str, dict[str, Any]]] = {
        **NO_JSON,
        "no method": _json({}),
        "method twice": _json('{"method": "sms", "method": "totp"}'),
        "method null": _json({"method": None}),
        "method in capitals": _json({"method": "SMS"}),
        "unknown method": _json({"method": "voice"}),
        "another method": _json({"method": "totp"}),
        "another user": _json({"method": "sms", "user_id": OTHER}),
        "strange auth_id": _json({"method": "sms", "auth_id": {"a": 1}}),
        "long auth_id": _json({"method": "sms", "auth_id": "a" * 256}),
    }
    strange_checks: ClassVar[dict[str, dict[str, Any]]] = {
        **NO_JSON,
        **{
            f"verified is {value!r}": _json({"verified": value})
            for value in ("true", "false", 1, 0, [True], [False], {}, None, 1.0, "")
        },
        "missing": _json({"result": "VERIFIED"}),
        "key twice": _json('{"verified": false, "verified": true}'),
        "key twice, the other way": _json('{"verified": true, "verified": false}'),
        "in capitals": _json({"Verified": True}),
        "deeper": _json({"status": {"verified": True}}),
        **{f"status {status}": _json(YES, status) for status in (201, 202, 203, 206)},
        "another user": _json({"verified": True, "user_id": OTHER}),
        "another service": _json({"verified": True, "service_id": OTHER}),
        "unknown method": _json({"verified": True, "method": "voice"}),
        **{
            f"but {flag}": _json({"verified": True, "status": {**CLEAR, flag: True}})
            for flag in ("throttled", "expired", "invalid")
        },
        "but a word": _json({"verified": True, "status": {**CLEAR, "result": "INVALID"}}),
        "status in a strange form": _json({"verified": True, "status": ["INVALID"]}),
    }

    def make(self, provider: Provider, **options: Any) -> BaseBackend:
        if not self.service_id:
            self.service_id = provider.directory.add_service(CANARIES[0], "example.com", "Shop").id
        account = {"username": CANARIES[0], "password": CANARIES[1], "service_id": self.service_id}
        return VerigatorBackend("default", **account, **options)


def _text(text: str, status: int = 200) -> dict[str, Any]:
    return {"status": status, "body": text, "content_type": "text/plain"}


NO_ANSWER = {
    "empty": _text(""),
    "blank": _text(" "),
    "line end": _text("\n"),
    "html": _text("<html>VERIFIED</html>"),
    "json": _text('{"verified": true}'),
    "ok": _text("OK"),
    "ok without id": _text("OK "),
    "unknown error": _text("ERROR 999"),
    "unknown failure": _text("FAILED 102"),
    "error without number": _text("ERROR"),
    "zero byte": _text("VERIFIED\x00"),
    "byte order mark": _text("\ufeffVERIFIED"),
    "full width": _text("ＶＥＲＩＦＩＥＤ"),
    "no content": {"status": 204, "body": ""},
}


class NumberVerification(_Product):
    strange_starts: ClassVar[dict[str, dict[str, Any]]] = {
        **NO_ANSWER,
        "VERIFIED, although no cookie was sent": _text("VERIFIED"),
        **{f"a word of checks, {word}": _text(word) for word in ("INVALID", "EXPIRED", "THROTTLED")},
        "id with a blank": _text("OK abc def"),
        "two blanks": _text("OK  abc"),
        "id of two lines": _text("OK abc\ndef"),
        "long id": _text("OK " + "a" * 256),
        "id beyond ASCII": _text("OK abcé"),
        "in small letters": _text("ok abc"),
        "created": _text("OK abc", 201),
        "accepted": _text("OK abc", 202),
    }
    strange_checks: ClassVar[dict[str, dict[str, Any]]] = {
        **NO_ANSWER,
        "an id": _text("OK abc"),
        "in small letters": _text("verified"),
        "blank in front": _text(" VERIFIED"),
        "blank behind": _text("VERIFIED "),
        "tab behind": _text("VERIFIED\t"),
        "line in front": _text("\nVERIFIED"),
        "and more": _text("VERIFIED INVALID"),
        "and a line": _text("VERIFIED\nINVALID"),
        "not": _text("NOT VERIFIED"),
        "quoted": _text('"VERIFIED"'),
        "OK VERIFIED": _text("OK VERIFIED"),
        **{f"status {status}": _text("VERIFIED", status) for status in (201, 202, 203, 206)},
    }

    def make(self, provider: Provider, **options: Any) -> BaseBackend:
        return NumberVerificationBackend("default", username=CANARIES[0], password=CANARIES[1], **options)


SENT = {
    "to": ALICE,
    "omnimessage_id": OTHER,
    "messages": [{"channel": "sms", "message_id": OTHER, "sender": "Shop"}],
}


def _sent(**changed: Any) -> dict[str, Any]:
    return _json({key: value for key, value in {**SENT, **changed}.items() if value is not None}, 201)


class Omnichannel(_Product):
    strange_starts: ClassVar[dict[str, dict[str, Any]]] = {
        **NO_JSON,
        "only errors": _json({"errors": []}),
        "no id": _sent(omnimessage_id=None),
        "id that is a path": _sent(omnimessage_id="../" + OTHER),
        "id that is a number": _sent(omnimessage_id=7),
        "long id": _sent(omnimessage_id="a" * 129),
        "another number": _sent(to="+37255500099"),
        "no number": _sent(to=None),
        "no messages": _sent(messages=None),
        "empty messages": _sent(messages=[]),
        "messages of texts": _sent(messages=["sms"]),
        "many messages": _sent(messages=SENT["messages"] * 21),
        "unknown channel": _sent(messages=[{"channel": "fax", "message_id": OTHER}]),
        "channel twice": _sent(messages=[*SENT["messages"], *SENT["messages"]]),
        "message without id": _sent(messages=[{"channel": "sms"}]),
    }
    makes_pins = True

    def make(self, provider: Provider, **options: Any) -> BaseBackend:
        return OmnichannelBackend("default", username=CANARIES[0], password=CANARIES[1], **options)


class MessenteSms(_Product):
    """A gateway that only sends texts, so there are no answers to a check."""

    strange_starts: ClassVar[dict[str, dict[str, Any]]] = {
        **NO_ANSWER,
        "id with a blank": _text("OK abc def"),
        "two blanks": _text("OK  abc"),
        "id of two lines": _text("OK abc\ndef"),
        "long id": _text("OK " + "a" * 256),
        "id beyond ASCII": _text("OK abcé"),
        "in small letters": _text("ok abc"),
        "an error and more": _text("ERROR 101 "),
        "an error of another API": _text("ERROR 109"),
    }
    makes_pins = True

    def make(self, provider: Provider, **options: Any) -> BaseBackend:
        return MessenteSmsBackend("default", username=CANARIES[0], password=CANARIES[1], **options)


SERVICE_SID, SID = f"VA{'0a' * 16}", f"VE{'0b' * 16}"
STARTED = {
    "sid": SID,
    "service_sid": SERVICE_SID,
    "to": ALICE,
    "channel": "sms",
    "status": "pending",
    "valid": False,
}
APPROVED = {**STARTED, "status": "approved", "valid": True}


def _without(data: dict[str, Any], key: str) -> dict[str, Any]:
    return {name: value for name, value in data.items() if name != key}


class TwilioVerify(_Product):
    reference = SID
    life = 600
    forgets = True
    strange_starts: ClassVar[dict[str, dict[str, Any]]] = {
        **NO_JSON,
        **{f"no {key}": _json(_without(STARTED, key), 201) for key in ("sid", "to", "channel", "status", "valid")},
        **{
            f"{key} is {value!r}": _json({**STARTED, key: value}, 201)
            for key, value in (
                ("sid", SID[:-1]),
                ("sid", f"{SID}0"),
                ("sid", SERVICE_SID),
                ("sid", 1),
                ("service_sid", f"VA{'1b' * 16}"),
                ("to", "+37255500068"),
                ("channel", "email"),
                ("channel", "SMS"),
                ("channel", None),
                ("status", "approved"),
                ("status", "canceled"),
                ("valid", True),
                ("valid", "false"),
            )
        },
    }
    strange_checks: ClassVar[dict[str, dict[str, Any]]] = {
        **NO_JSON,
        **{f"no {key}": _json(_without(APPROVED, key)) for key in ("sid", "channel", "status", "valid")},
        **{
            f"{key} is {value!r}": _json({**APPROVED, key: value})
            for key, value in (
                ("sid", f"VE{'1b' * 16}"),
                ("sid", SID.upper()),
                ("service_sid", f"VA{'1b' * 16}"),
                ("channel", "email"),
                ("valid", False),
                ("valid", 1),
                ("valid", "true"),
                ("valid", None),
                *(("status", word) for word in ("pending", "canceled", "max_attempts_reached", "deleted", "failed")),
                *(("status", word) for word in ("expired", "APPROVED", "approved ", "yes", "", True, None)),
            )
        },
        "status twice": _json(json.dumps(APPROVED)[:-1] + ', "status": "pending"}'),
        "deeper": _json({"verification": APPROVED}),
        "in a list": _json([APPROVED]),
        "throttled": _json({"code": 60202, "status": 429, **APPROVED}, 429),
    }

    def make(self, provider: Provider, **options: Any) -> BaseBackend:
        account = {"account_sid": CANARIES[0], "auth_token": CANARIES[1], "service_sid": SERVICE_SID}
        return TwilioVerifyBackend("default", **account, **options)


class _ProviderRig(LimitsSetup, WireSetup):
    """The sandbox's provider."""

    provider: Provider

    def __init__(self, stack: ExitStack, product: _Product) -> None:
        self.stack = stack
        self.product = product
        self.strange_starts, self.strange_checks = product.strange_starts, product.strange_checks  # type: ignore[misc]
        self.reference, self.life, self.forgets = product.reference, product.life, product.forgets  # type: ignore[misc]

    def last_pin(self, to: str) -> str:
        return self.provider.last_pin(to)

    def sendings(self) -> int:
        return len(self.provider.messages())

    def wait(self, seconds: float) -> None:
        self.provider.advance(seconds)
        if self.product.makes_pins:  # Then the site's own clock lets them expire.
            self.stack.enter_context(mock.patch("time.time", return_value=time.time() + seconds))


class ResponsesSetup(_ProviderRig):
    """No network at all: ``responses`` catches each request and hands it to the sandbox's provider."""

    endpoint = "https://provider.example"

    def __init__(self, stack: ExitStack, product: _Product) -> None:
        super().__init__(stack, product)
        self._answer: dict[str, Any] = {}
        store = Store()
        stack.callback(store.close)
        self.provider = Provider(store, Clock(time.time), ProviderConfig(accounts=dict([CANARIES])))
        self._mock = stack.enter_context(responses.RequestsMock(assert_all_requests_are_fired=False))
        for method in ("GET", "POST", "PUT", "DELETE"):
            self._mock.add_callback(method, re.compile(f"{self.endpoint}/.*"), self._reply)
        self.backend = product.make(self.provider, endpoint=self.endpoint)

    def _reply(self, request: Any) -> tuple[int, dict[str, str], bytes]:
        if self._answer:
            body = self._answer.get("body", b"")
            body = body.encode() if isinstance(body, str) else body
            return self._answer.get("status", 200), self._answer.get("headers", {}), body
        headers = Message()
        for name, value in request.headers.items():
            headers[name] = value
        # A query goes below what ``responses`` sees.
        path, query = request.url.removeprefix(self.endpoint), request.budget.query or ""
        asked = Request(request.method, path, query, headers, request.body or b"", ("127.0.0.1", 443), "https")
        response = self.provider.handle(asked, self.provider.router.resolve(asked))
        body = response.body if isinstance(response.body, bytes) else b"".join(response.body)
        return int(response.status), {}, body

    def answer(self, **answer: Any) -> None:
        self._answer = answer

    def calls(self) -> int:
        return len(self._mock.calls)


class SandboxSetup(_ProviderRig, NetworkSetup):
    """The sandbox on real HTTP, or on TLS with a certificate of the test CA."""

    def __init__(self, stack: ExitStack, product: _Product, *, tls: bool, certificate: str = "good.pem") -> None:
        super().__init__(stack, product)
        files = {"certfile": str(CERTS / certificate), "keyfile": str(CERTS / "server.key")} if tls else {}
        self.provider = self.sandbox = stack.enter_context(Sandbox(username=CANARIES[0], password=CANARIES[1], **files))
        self._options = {"endpoint": self.sandbox.url, **({"ca_bundle": str(CERTS / "ca.pem")} if tls else {})}
        assert urlsplit(self.sandbox.url).scheme == ("https" if tls else "http")
        self.backend = product.make(self.provider, **self._options, **PATIENT)

    def hurry(self) -> None:
        self.backend = self.product.make(self.provider, **self._options, **HASTY)

    def answer(self, **answer: Any) -> None:
        self.sandbox.clear_faults()
        if answer:
            body = answer.pop("body", "")
            self.sandbox.add_fault(
                "status", **{"status": 200, **answer}, body=body.decode() if isinstance(body, bytes) else body
            )

    def calls(self) -> int:
        return len(self.sandbox.calls())

    def cut(self, **fault: Any) -> None:
        self.sandbox.add_fault(**fault)

    def vanish(self) -> None:
        self.sandbox.stop()
