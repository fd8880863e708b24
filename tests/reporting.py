"""A provider in memory that says what became of its messages, and whose own code reads what is posted carelessly."""

from __future__ import annotations

import json
import threading
from decimal import Decimal
from typing import Any
from urllib.parse import urlsplit

from django_verigator.backends import DeliveryReport, DeliveryStatus, Recipient, Started
from django_verigator.backends.locmem import LocMemBackend

BACKEND = f"{__name__}.ReportingBackend"
SITE = "https://shop.example"

asked: list[str] = []
"""The message ids that the provider was asked about."""
urls: list[str] = []
"""Where it may post its reports, the newest message last."""
answers: list[Any] = []
"""What it says next when it is asked: a DeliveryReport, or an exception to raise. The last one stays."""

_lock = threading.Lock()


def reset() -> None:
    for known in (asked, urls, answers):
        known.clear()
    answers.append(DeliveryReport(DeliveryStatus.SENT))


class ReportingBackend(LocMemBackend):
    reports_delivery = True

    def __init__(self, alias: str, *, report_base: str = SITE) -> None:
        super().__init__(alias, keeps_users=False)
        self.report_base = report_base

    def start(self, recipient: Recipient, method: str, *, timeout: float | None = None) -> Started:
        started = super().start(recipient, method, timeout=timeout)
        with _lock:
            urls.append(recipient.report_url)
            return Started(started.method, started.reference, f"message-{len(urls)}")

    def report(self, message_id: str, *, timeout: float | None = None) -> DeliveryReport:
        with _lock:
            asked.append(message_id)
            answer = answers.pop(0) if len(answers) > 1 else answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer  # type: ignore[no-any-return]

    def read_report(self, body: bytes) -> tuple[str, DeliveryReport]:
        said = json.loads(body)
        price = said.get("price")
        return said["id"], DeliveryReport(
            said["status"], said.get("channel", ""), said.get("error", ""), None if price is None else Decimal(price)
        )


def configure(settings_: Any, *aliases: str, **more: Any) -> None:
    """Have the site use it, under one alias or several."""
    backends = {alias: {"BACKEND": BACKEND} for alias in aliases or ("default",)}
    settings_.VERIGATOR = {**settings_.VERIGATOR, "BACKENDS": backends, **more}


def path(number: int = -1) -> str:
    """Where the provider may post what became of a message: the path of the address it was given."""
    return urlsplit(urls[number]).path


def post(client: Any, to: str = "", message: str = "message-1", status: str = "delivered", **more: Any) -> Any:
    body = json.dumps({"id": message, "status": status, **more})
    return client.post(to or path(), body, content_type="application/json")
