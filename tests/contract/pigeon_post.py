"""A backend made from docs/adding-a-backend.md alone."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import quote, urlsplit

from django_verigator.backends import BaseBackend, Checked, Recipient, Started
from django_verigator.client import BadAnswer, SecretText, Transport, is_loopback, json_body

ENDPOINT = "https://api.pigeon.example"


class PigeonPostBackend(BaseBackend):
    methods = ("sms",)

    def __init__(
        self, alias: str, *, key: str = "", endpoint: str = ENDPOINT, total_timeout: float = 8.0, **wire: Any
    ) -> None:
        super().__init__(alias)
        if not key:
            raise ValueError('the key is missing: set OPTIONS["key"]')
        self.total_timeout = total_timeout
        self.is_stand_in = is_loopback(urlsplit(endpoint).hostname or "")
        self._transport = Transport(
            endpoint, headers={"Authorization": SecretText(f"Bearer {key}")}, total_timeout=total_timeout, **wire
        )

    def start(self, recipient: Recipient, method: str, *, timeout: float | None = None) -> Started:
        with self._transport.within(timeout):
            reference = self._transport.call("POST", "/messages", read_id, json_body(to=recipient.phone_number))
        return Started("sms", reference)

    def check(self, recipient: Recipient, pin: str, reference: str, *, timeout: float | None = None) -> Checked:
        path = f"/messages/{quote(reference, safe='')}/answers"
        with self._transport.within(timeout):
            return self._transport.call("POST", path, read_result, json_body(pin=pin), only_200=True)


def read_id(data: dict[str, Any]) -> str:
    reference = data.get("id")
    if not isinstance(reference, str) or not re.match(r"[A-Za-z0-9-]{1,64}\Z", reference):
        raise BadAnswer("id is not in the form of an id")
    return reference


def read_result(data: dict[str, Any]) -> Checked:
    result = data.get("result")
    if result not in ("right", "wrong", "late", "enough"):
        raise BadAnswer("an unknown result")
    return Checked(result == "right", expired=result == "late", throttled=result == "enough", method="sms")
