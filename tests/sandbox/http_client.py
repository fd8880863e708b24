"""Call the sandbox over plain HTTP, without the client under test."""

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
class Response:
    status: int
    headers: http.client.HTTPMessage
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def message(self) -> str:
        """Return the value of the one key that every error has."""
        data = self.json()
        assert isinstance(data, dict)
        assert isinstance(data["message"], str)
        return data["message"]


def send(
    base: str, method: str, path: str, data: Any = None, *, headers: dict[str, str] | None = None, raw: bytes = b""
) -> Response:
    """Send one request on a new connection; ``data`` goes out as JSON, ``raw`` unchanged."""
    body = raw or (None if data is None else json.dumps(data).encode())
    defaults = {"X-Service-Auth": f"{USERNAME}:{PASSWORD}", **({"Content-Type": "application/json"} if body else {})}
    address = urlsplit(base)
    with closing(http.client.HTTPConnection(address.hostname or "", address.port, timeout=5)) as connection:
        connection.request(method, path, body, {**defaults, **(headers or {})})
        response = connection.getresponse()
        return Response(response.status, response.headers, response.read())


def send_raw(base: str, text: bytes) -> bytes:
    """Send these bytes and return everything that comes back."""
    address = urlsplit(base)
    with socket.create_connection((address.hostname, address.port), timeout=5) as connection:
        connection.sendall(text)
        connection.shutdown(socket.SHUT_WR)
        pieces = []
        while piece := connection.recv(65536):
            pieces.append(piece)
        return b"".join(pieces)


def add_fault(sandbox: Sandbox, **fault: Any) -> dict[str, Any]:
    """Order a fault and return it as the sandbox understood it."""
    response = send(sandbox.url, "POST", "/_sandbox/faults", fault)
    assert response.status == HTTPStatus.CREATED, response.message
    data: dict[str, Any] = response.json()
    return data


class Shop:
    """Act as a site that uses the sandbox: one service, its users and their logins."""

    def __init__(self, sandbox: Sandbox, *, name: str = "CoffeeShop") -> None:
        self.sandbox = sandbox
        created = self.send("POST", "/v1/service/service", {"fqdn": "coffeeshop.com", "name": name})
        assert created.status == HTTPStatus.CREATED
        self.path = f"/v1/service/service/{created.json()['id']}"

    def send(self, method: str, path: str, data: Any = None, **more: Any) -> Response:
        return send(self.sandbox.url, method, path, data, **more)

    def add_user(self, name: str = "john", phone: str = PHONE) -> str:
        """Create a user and return its path."""
        created = self.send("POST", f"{self.path}/users", {"id_in_service": name, "phone_number": phone})
        assert created.status == HTTPStatus.CREATED
        return f"{self.path}/users/{created.json()['id']}"

    def start(self, user: str, method: str = "sms") -> Response:
        return self.send("POST", f"{user}/auth", {"method": method})

    def verify(self, user: str, token: object, **more: object) -> Response:
        return self.send("PUT", f"{user}/auth", {"token": token, **more})

    def verified(self, user: str, token: object) -> bool:
        response = self.verify(user, token)
        assert response.status == HTTPStatus.OK
        return response.json()["verified"] is True
