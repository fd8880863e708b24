"""A plain HTTP caller for the tests: one connection, nothing in between."""

from __future__ import annotations

import http.client
import json
import socket
from contextlib import closing
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any
from urllib.parse import urlsplit

from django_verigator.sandbox import Sandbox

USERNAME, PASSWORD = "messente-api-username", "messente-api:password"
PHONE = "+3725555555"


@dataclass
class Answer:
    status: int
    headers: http.client.HTTPMessage
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def message(self) -> str:
        """The one key that every error must have."""
        data = self.json()
        assert isinstance(data, dict)
        assert isinstance(data["message"], str)
        return data["message"]


def ask(
    base: str, method: str, path: str, data: Any = None, *, headers: dict[str, str] | None = None, raw: bytes = b""
) -> Answer:
    """One request on a connection of its own. ``raw`` is sent as the body as it is."""
    body = raw or (None if data is None else json.dumps(data).encode())
    sent = {"X-Service-Auth": f"{USERNAME}:{PASSWORD}", **({"Content-Type": "application/json"} if body else {})}
    address = urlsplit(base)
    with closing(http.client.HTTPConnection(address.hostname or "", address.port, timeout=5)) as connection:
        connection.request(method, path, body, {**sent, **(headers or {})})
        reply = connection.getresponse()
        return Answer(reply.status, reply.headers, reply.read())


def exchange(base: str, text: bytes) -> bytes:
    """Send these very bytes and return all that comes back."""
    address = urlsplit(base)
    with socket.create_connection((address.hostname, address.port), timeout=5) as connection:
        connection.sendall(text)
        connection.shutdown(socket.SHUT_WR)
        pieces = []
        while piece := connection.recv(65536):
            pieces.append(piece)
        return b"".join(pieces)


class Shop:
    """A site that uses the sandbox: one service, its users, its logins."""

    def __init__(self, sandbox: Sandbox, *, name: str = "CoffeeShop") -> None:
        self.sandbox = sandbox
        made = self.ask("POST", "/v1/service/service", {"fqdn": "coffeeshop.com", "name": name})
        assert made.status == HTTPStatus.CREATED
        self.path = f"/v1/service/service/{made.json()['id']}"

    def ask(self, method: str, path: str, data: Any = None, **more: Any) -> Answer:
        return ask(self.sandbox.url, method, path, data, **more)

    def add_user(self, name: str = "john", phone: str = PHONE) -> str:
        """Register a user; his path."""
        made = self.ask("POST", f"{self.path}/users", {"id_in_service": name, "phone_number": phone})
        assert made.status == HTTPStatus.CREATED
        return f"{self.path}/users/{made.json()['id']}"

    def start(self, user: str, method: str = "sms") -> Answer:
        return self.ask("POST", f"{user}/auth", {"method": method})

    def verify(self, user: str, token: object, **more: object) -> Answer:
        return self.ask("PUT", f"{user}/auth", {"token": token, **more})

    def verified(self, user: str, token: object) -> bool:
        answer = self.verify(user, token)
        assert answer.status == HTTPStatus.OK
        return answer.json()["verified"] is True
