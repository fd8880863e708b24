"""One request and its reply, free of sockets."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from email.message import Message
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qs, unquote

JSON = "application/json"
Headers = tuple[tuple[str, str], ...]


class Refusal(Exception):  # noqa: N818 - it is an answer
    """End the request with this status and a JSON object whose ``message`` says why."""

    def __init__(self, status: int, message: str, headers: Headers = ()) -> None:
        super().__init__(message)
        self.reply = error_reply(status, message, headers)


@dataclass(frozen=True, slots=True)
class Request:
    """What came in.

    Attributes:
        path: without the query, still percent-encoded.
        server: address and port the connection came in on.
    """

    method: str
    path: str
    query: str
    headers: Message
    body: bytes
    server: tuple[str, int]
    scheme: str = "http"

    @property
    def segments(self) -> list[str]:
        """The path's parts, decoded. Doubled and trailing slashes do not count: clients join addresses carelessly."""
        return [unquote(part) for part in self.path.split("/") if part]

    def parameter(self, name: str) -> str:
        """The first value of a query parameter, or ""."""
        try:
            return parse_qs(self.query, keep_blank_values=True, max_num_fields=100).get(name, [""])[0]
        except ValueError:
            raise Refusal(HTTPStatus.UNPROCESSABLE_ENTITY, "The query cannot be read") from None

    def json_object(self) -> Mapping[str, Any]:
        """The body, or a Refusal (422) where it is no JSON object."""
        try:
            value = json.loads(self.body.decode("utf-8"), parse_constant=_no_constant)
        except (ValueError, RecursionError):
            raise Refusal(HTTPStatus.UNPROCESSABLE_ENTITY, "The body is not valid JSON") from None
        if not isinstance(value, dict):
            raise Refusal(HTTPStatus.UNPROCESSABLE_ENTITY, "The body must be a JSON object")
        return value


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


@dataclass(frozen=True, slots=True)
class Reply:
    """What goes out. A body that is not bytes is streamed.

    Attributes:
        verified: what a verification decided, for the call log; None for every other call.
    """

    status: int
    body: bytes | Iterable[bytes] = b""
    content_type: str = JSON
    headers: Headers = field(default=())
    verified: bool | None = None


def json_reply(status: int, data: object, *, verified: bool | None = None, headers: Headers = ()) -> Reply:
    """Non-ASCII is escaped: an old client decodes with its platform's charset."""
    return Reply(status, json.dumps(data).encode("ascii"), headers=headers, verified=verified)


def error_reply(status: int, message: str, headers: Headers = ()) -> Reply:
    """The one error shape that both official clients understand."""
    return json_reply(status, {"message": message}, headers=headers)
