"""The backend that docs/adding-a-backend.md builds passes the contract."""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

import pytest
import responses
from django.core.checks import run_checks

from django_verigator import checks

from .contract import (
    CANARIES,
    BackendContract,
    CountingContract,
    LimitsContract,
    LimitsSetup,
    Setup,
    WireContract,
    WireSetup,
)
from .pigeon_post import ENDPOINT, PigeonPostBackend

LIFE = 300


@dataclass
class Message:
    to: str
    pin: str
    sent: float
    tries: int = 0
    is_over: bool = False


class PigeonPost:
    """The provider: what the guide says about it, and no more."""

    def __init__(self) -> None:
        self.now = 0.0
        self.messages: dict[str, Message] = {}

    def reply(self, method: str, path: str, key: str, data: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        if key != f"Bearer {CANARIES[1]}":
            return 401, {}
        if (method, path) == ("POST", "/messages"):
            reference = secrets.token_hex(8)
            self.messages[reference] = Message(data["to"], str(1000 + secrets.randbelow(9000)), self.now)
            return 201, {"id": reference}
        match = re.fullmatch("/messages/([^/]+)/answers", path)
        message = self.messages.get(match[1]) if match and method == "POST" else None
        if message is None or message.is_over:
            return 404, {}
        if message.tries >= LimitsSetup.tries:
            return 200, {"result": "enough"}
        if self.now > message.sent + LIFE:
            return 200, {"result": "late"}
        message.is_over = data["pin"] == message.pin
        message.tries += 1
        return 200, {"result": "right" if message.is_over else "wrong"}


class PigeonSetup(LimitsSetup, WireSetup):
    strange_starts: ClassVar[dict[str, dict[str, Any]]] = {
        name: {"body": body}
        for name, body in {
            "empty": "",
            "html": "<html>",
            "list": '[{"id": "x"}]',
            "text": '"x"',
            "no id": "{}",
            "id twice": '{"id": "x", "id": "y"}',
            "cut": '{"id": "x"',
            "byte order mark": '\ufeff{"id": "x"}',
            "more": '{"id": "x"}{}',
            **{f"id {value}": f'{{"id": {value}}}' for value in ("null", "1", "true", "[]", '""', '"a/b"', '"a b"')},
            "long id": json.dumps({"id": "a" * 65}),
        }.items()
    }
    strange_checks: ClassVar[dict[str, dict[str, Any]]] = {
        **strange_starts,
        **{
            f"result {value}": {"body": f'{{"result": {value}}}'}
            for value in ("null", "true", "1", '"RIGHT"', '"right "', '["right"]', '"wrong", "result": "right"')
        },
        **{f"status {status}": {"body": '{"result": "right"}', "status": status} for status in (201, 202, 206)},
    }

    def __init__(self, mock: responses.RequestsMock) -> None:
        self.provider = PigeonPost()
        self._answer: dict[str, Any] = {}
        self._mock = mock
        mock.add_callback("POST", re.compile(f"{ENDPOINT}/.*"), self._reply)
        self.backend = PigeonPostBackend("default", key=CANARIES[1])

    def _reply(self, request: Any) -> tuple[int, dict[str, str], str]:
        if self._answer:
            body = self._answer.get("body", "")
            return self._answer.get("status", 200), self._answer.get("headers", {}), body
        path = request.url.removeprefix(ENDPOINT)
        status, data = self.provider.reply(
            request.method, path, request.headers["Authorization"], json.loads(request.body)
        )
        return status, {}, json.dumps(data)

    def last_pin(self, to: str) -> str:
        return [message.pin for message in self.provider.messages.values() if message.to == to][-1]

    def sendings(self) -> int:
        return len(self.provider.messages)

    def wait(self, seconds: float) -> None:
        self.provider.now += seconds

    def answer(self, **answer: Any) -> None:
        self._answer = answer

    def calls(self) -> int:
        return len(self._mock.calls)


class TestPigeonPost(BackendContract, LimitsContract, CountingContract, WireContract):
    @pytest.fixture
    def setup(self) -> Iterator[Setup]:
        with responses.RequestsMock(assert_all_requests_are_fired=False) as mock:
            yield PigeonSetup(mock)


def test_settings__name_it_like_any_other(settings: Any) -> None:
    backend = {"BACKEND": "tests.contract.pigeon_post.PigeonPostBackend", "OPTIONS": {"key": "secret"}}
    settings.VERIGATOR = {"BACKENDS": {"default": backend}}
    assert run_checks(tags=[checks.TAG]) == []
    backend["OPTIONS"] = {}
    settings.VERIGATOR = {"BACKENDS": {"default": dict(backend)}}
    assert [message.id for message in run_checks(tags=[checks.TAG])] == ["verigator.E002"]
