"""Messente's older HTTP SMS API, a gateway that only sends texts: made from docs/adding-a-backend.md alone."""

from __future__ import annotations

from typing import Any

from django_verigator.backends.texts import HttpTextBackend
from django_verigator.client import SecretText, form_text, line_reader

ENDPOINT = "https://api2.messente.com"
ERRORS = {f"ERROR {n}": 422 for n in (102, 104, 105, 108)} | {f"ERROR {n}": 403 for n in (103, 106, 107, 111)}
READ_ID = line_reader("OK ([!-~]{1,255})", {"ERROR 101": 401, "FAILED 209": 503, **ERRORS})


class MessenteSmsBackend(HttpTextBackend):
    def __init__(self, alias: str, *, username: str, password: str, endpoint: str = ENDPOINT, **options: Any) -> None:
        super().__init__(alias, endpoint, **options)
        self.account = form_text(username=username, password=password)

    def send_text(self, phone_number: str, text: str, *, timeout: float) -> str:
        message = form_text(to=SecretText(phone_number[1:]), text=text)
        return self.ask("GET", "/send_sms", READ_ID, query=SecretText(f"{self.account}&{message}"), timeout=timeout)
