"""Offer the provider's controls over HTTP, under ``/_sandbox/``."""

from __future__ import annotations

from collections.abc import Callable
from http import HTTPStatus
from typing import Any

from .clock import format_time
from .http_messages import JSON, HTTPError, Request, Response, json_response
from .phones import MAX_LISTED_MESSAGES
from .provider import Provider

CONTROL_PREFIX = "_sandbox"


class ControlApi:
    """Answer without credentials, since only callers whose Host header is allowed get here.

    Attributes:
        operations: path below ``/_sandbox/`` -> method -> what answers it.
    """

    def __init__(self, provider: Provider) -> None:
        self._provider = provider
        self.operations: dict[str, dict[str, Callable[[Request], Response]]] = {
            "messages": {"GET": self._list_messages},
            "phone": {"GET": self._show_phone},
            "devices": {"GET": self._list_devices, "POST": self._attach_device, "DELETE": self._detach_device},
            "faults": {"GET": self._list_faults, "POST": self._add_fault, "DELETE": self._clear_faults},
            "deliveries": {
                "GET": self._list_deliveries,
                "POST": self._order_delivery,
                "DELETE": self._clear_deliveries,
            },
            "calls": {"GET": self._list_calls, "DELETE": self._clear_calls},
            "clock": {"GET": self._show_clock, "POST": self._advance_clock},
            "reset": {"POST": self._reset},
        }

    def handle(self, request: Request) -> Response:
        """Carry out a call.

        Raises:
            HTTPError: the path, the method, the content type or a value is wrong.
        """
        methods = self.operations.get("/".join(request.segments[1:]))
        if methods is None:
            raise HTTPError(HTTPStatus.NOT_FOUND, f"There are {', '.join(self.operations)} under /{CONTROL_PREFIX}/")
        allowed = (("Allow", ", ".join([*methods, *(["HEAD"] if "GET" in methods else []), "OPTIONS"])),)
        if request.method == "OPTIONS":
            return json_response(HTTPStatus.OK, {}, headers=allowed)
        operation = methods.get("GET" if request.method == "HEAD" else request.method)
        if operation is None:
            raise HTTPError(HTTPStatus.METHOD_NOT_ALLOWED, "This method is not allowed here", allowed)
        if request.body and request.content_type != JSON:
            # A form on a foreign page cannot send this type (CSRF).
            raise HTTPError(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, f"The body must come as {JSON}")
        try:
            return operation(request)
        except ValueError as error:
            raise HTTPError(HTTPStatus.UNPROCESSABLE_ENTITY, str(error)) from None

    def _list_messages(self, request: Request) -> Response:
        limit = _integer(request.parameter("limit") or str(MAX_LISTED_MESSAGES))
        messages = self._provider.messages(request.parameter("to") or None, limit=min(limit, MAX_LISTED_MESSAGES))
        return json_response(HTTPStatus.OK, {"messages": messages})

    def _show_phone(self, request: Request) -> Response:
        return json_response(HTTPStatus.OK, self._provider.phone(request.parameter("to") or None))

    def _list_devices(self, _request: Request) -> Response:
        return json_response(HTTPStatus.OK, {"devices": self._provider.devices()})

    def _attach_device(self, request: Request) -> Response:
        return json_response(HTTPStatus.CREATED, self._provider.attach_device(_phone_number(request)))

    def _detach_device(self, request: Request) -> Response:
        if not self._provider.detach_device(request.parameter("phone_number") or _phone_number(request)):
            raise HTTPError(HTTPStatus.NOT_FOUND, "The app is not on this phone")
        return json_response(HTTPStatus.OK, {})

    def _list_faults(self, _request: Request) -> Response:
        return json_response(HTTPStatus.OK, {"faults": self._provider.faults()})

    def _add_fault(self, request: Request) -> Response:
        return json_response(HTTPStatus.CREATED, self._provider.fault_registry.add(request.json_object()))

    def _clear_faults(self, request: Request) -> Response:
        fault_id = request.parameter("id")
        self._provider.fault_registry.clear(_integer(fault_id) if fault_id else None)
        return json_response(HTTPStatus.OK, {})

    def _list_deliveries(self, _request: Request) -> Response:
        return json_response(HTTPStatus.OK, {"deliveries": self._provider.ordered_deliveries()})

    def _order_delivery(self, request: Request) -> Response:
        values = {"to": None, "status": None, **request.json_object()}
        return json_response(HTTPStatus.CREATED, self._provider.order_delivery(**values))

    def _clear_deliveries(self, _request: Request) -> Response:
        self._provider.clear_deliveries()
        return json_response(HTTPStatus.OK, {})

    def _list_calls(self, request: Request) -> Response:
        calls = self._provider.calls(
            operation=request.parameter("operation") or None, user_id=request.parameter("user_id") or None
        )
        return json_response(HTTPStatus.OK, {"calls": calls})

    def _clear_calls(self, _request: Request) -> Response:
        self._provider.clear_calls()
        return json_response(HTTPStatus.OK, {})

    def _show_clock(self, _request: Request) -> Response:
        clock = self._provider.clock
        return json_response(HTTPStatus.OK, {"now": format_time(clock.now()), "advanced": clock.offset})

    def _advance_clock(self, request: Request) -> Response:
        seconds: Any = request.json_object().get("advance")
        if not isinstance(seconds, (int, float)) or isinstance(seconds, bool):
            raise ValueError("advance must be a number of seconds")
        self._provider.advance(seconds)
        return self._show_clock(request)

    def _reset(self, _request: Request) -> Response:
        self._provider.reset()
        return json_response(HTTPStatus.OK, {})


def _phone_number(request: Request) -> str:
    number = request.json_object().get("phone_number")
    if not isinstance(number, str):
        raise ValueError("phone_number must be a text")
    return number


def _integer(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        raise ValueError("limit and id must be whole numbers")
    return int(text)
