"""Represent HTTP requests, responses and errors without sockets."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from email.message import Message
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qs, unquote

JSON = "application/json"
Headers = tuple[tuple[str, str], ...]


class HTTPError(Exception):
    """End the request with this status and a JSON object whose ``message`` says why."""

    def __init__(self, status: int, message: str, headers: Headers = ()) -> None:
        super().__init__(message)
        self.response = error_response(status, message, headers)


@dataclass(frozen=True, slots=True)
class Request:
    """Hold one HTTP request.

    Attributes:
        path: without the query, still percent-encoded.
        server: address and port at which the connection came in.
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
        """Return the decoded parts of the path; doubled and trailing slashes, which clients send, do not count."""
        return [unquote(part) for part in self.path.split("/") if part]

    @property
    def content_type(self) -> str:
        """Return the Content-Type in lower case, without parameters."""
        return str(self.headers.get("Content-Type", "")).partition(";")[0].strip().lower()

    def parameter(self, name: str) -> str:
        """Return the first value of a query parameter, or "".

        Raises:
            HTTPError: 422, the query has over 100 fields.
        """
        try:
            return parse_qs(self.query, keep_blank_values=True, max_num_fields=100).get(name, [""])[0]
        except ValueError:
            raise HTTPError(HTTPStatus.UNPROCESSABLE_ENTITY, "The query cannot be read") from None

    def json_object(self) -> Mapping[str, Any]:
        """Return the body as a JSON object.

        Raises:
            HTTPError: 422, the body is not one. Messente's documentation has 422 for bad JSON too.
        """
        try:
            value = json.loads(self.body.decode("utf-8"), parse_constant=_reject_constant)
        except (ValueError, RecursionError):
            raise HTTPError(HTTPStatus.UNPROCESSABLE_ENTITY, "The body is not valid JSON") from None
        if not isinstance(value, dict):
            raise HTTPError(HTTPStatus.UNPROCESSABLE_ENTITY, "The body must be a JSON object")
        return value


def _reject_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


@dataclass(frozen=True, slots=True)
class Response:
    """Hold one HTTP response; a body that is not bytes is sent in chunks.

    Attributes:
        verified: what a verification decided, for the call log; None for every other call.
    """

    status: int
    body: bytes | Iterable[bytes] = b""
    content_type: str = JSON
    headers: Headers = ()
    verified: bool | None = None


def json_response(status: int, data: object, *, verified: bool | None = None, headers: Headers = ()) -> Response:
    """Return ``data`` as JSON; non-ASCII is escaped, because old clients decode with the platform's charset."""
    return Response(status, json.dumps(data).encode("ascii"), headers=headers, verified=verified)


def error_response(status: int, message: str, headers: Headers = ()) -> Response:
    """Return an error as the one JSON object that both of Messente's clients (Python, Java) understand."""
    return json_response(status, {"message": message}, headers=headers)


def reason_phrase(status: int) -> str:
    """Return the standard phrase for a status, ``Not Found`` for 404."""
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Unknown"
