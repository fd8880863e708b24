"""One login, in process or over HTTP: every request from the login page to the redirect into the site."""

from __future__ import annotations

import http.client
import time
from http import HTTPStatus
from http.cookies import SimpleCookie
from urllib.parse import urlencode

from django.test import Client

from .provider import TIMEOUT, Phones, phone
from .sites import LOGIN, PASSWORD, VERIFY, username


class Browser:
    """A new browser, without a cookie; adds up how long it waited."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def get(self, path: str) -> None:
        self._visit("GET", path, {}, HTTPStatus.OK)

    def post(self, path: str, **fields: str) -> None:
        """Send a form that must lead on."""
        self._visit("POST", path, {**fields, "csrfmiddlewaretoken": self._token()}, HTTPStatus.FOUND)

    def _visit(self, method: str, path: str, fields: dict[str, str], expected: HTTPStatus) -> None:
        began = time.perf_counter()
        status = self._ask(method, path, fields)
        self.seconds += time.perf_counter() - began
        if status != expected:
            raise RuntimeError(f"{method} {path} was answered with {status}")

    def _ask(self, method: str, path: str, fields: dict[str, str]) -> int:
        raise NotImplementedError

    def _token(self) -> str:
        raise NotImplementedError


class InProcess(Browser):
    def __init__(self) -> None:
        super().__init__()
        self.client = Client(enforce_csrf_checks=True)

    def _ask(self, method: str, path: str, fields: dict[str, str]) -> int:
        response = self.client.get(path) if method == "GET" else self.client.post(path, fields)
        return int(response.status_code)

    def _token(self) -> str:
        return self.client.cookies["csrftoken"].value


class OverHttp(Browser):
    """With as little as a browser can be, since it shares the machine with the server."""

    def __init__(self, address: str) -> None:
        super().__init__()
        self._connection = http.client.HTTPConnection(address, timeout=TIMEOUT)
        self._cookies: SimpleCookie = SimpleCookie()

    def _ask(self, method: str, path: str, fields: dict[str, str]) -> int:
        headers = {"Cookie": "; ".join(f"{name}={morsel.value}" for name, morsel in self._cookies.items())}
        if fields:
            headers["Content-Type"] = "application/x-www-form-urlencoded"
        self._connection.request(method, path, urlencode(fields), headers)
        response = self._connection.getresponse()
        response.read()
        for line in response.headers.get_all("Set-Cookie", []):
            self._cookies.load(line)
        return response.status

    def _token(self) -> str:
        return self._cookies["csrftoken"].value

    def close(self) -> None:
        self._connection.close()


def log_in(browser: Browser, number: int, phones: Phones | None) -> None:
    """Log a user in.

    Args:
        phones: where the PIN is read, which is not counted as waiting; None: the login has one step.
    """
    browser.get(LOGIN)
    browser.post(LOGIN, username=username(number), password=PASSWORD)
    if phones is not None:
        browser.get(VERIFY)
        browser.post(VERIFY, pin=phones.last_pin(phone(number)))
