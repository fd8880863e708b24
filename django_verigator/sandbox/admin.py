"""The calls under ``/_sandbox/``: the desk, over HTTP."""

from __future__ import annotations

from collections.abc import Callable
from http import HTTPStatus
from typing import Any

from django_verigator.sandbox.clock import as_text
from django_verigator.sandbox.desk import Desk
from django_verigator.sandbox.exchange import JSON, Refusal, Reply, Request, json_reply
from django_verigator.sandbox.phones import SHOWN_MESSAGES

MOUNT = "_sandbox"


class Admin:
    """No credentials are asked for: the guard has made sure that the caller sits on this machine."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._calls: dict[str, dict[str, Callable[[Request], Reply]]] = {
            "messages": {"GET": self._messages},
            "phone": {"GET": self._phone},
            "devices": {"GET": self._devices, "POST": self._attach, "DELETE": self._detach},
            "faults": {"GET": self._faults, "POST": self._add_fault, "DELETE": self._clear_faults},
            "calls": {"GET": self._call_log, "DELETE": self._clear_calls},
            "clock": {"GET": self._clock, "POST": self._advance},
            "reset": {"POST": self._reset},
        }

    def answer(self, request: Request) -> Reply:
        """Raises Refusal."""
        methods = self._calls.get("/".join(request.segments[1:]))
        if methods is None:
            raise Refusal(HTTPStatus.NOT_FOUND, f"There are {', '.join(self._calls)} under /{MOUNT}/")
        allowed = (("Allow", ", ".join([*methods, *(["HEAD"] if "GET" in methods else []), "OPTIONS"])),)
        if request.method == "OPTIONS":
            return json_reply(HTTPStatus.OK, {}, headers=allowed)
        call = methods.get("GET" if request.method == "HEAD" else request.method)
        if call is None:
            raise Refusal(HTTPStatus.METHOD_NOT_ALLOWED, "This method is not allowed here", allowed)
        content_type = str(request.headers.get("Content-Type", "")).partition(";")[0].strip().lower()
        if request.body and content_type != JSON:
            # A form on a foreign page cannot send this type.
            raise Refusal(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, f"The body must come as {JSON}")
        try:
            return call(request)
        except ValueError as error:
            raise Refusal(HTTPStatus.UNPROCESSABLE_ENTITY, str(error)) from None

    def _messages(self, request: Request) -> Reply:
        limit = _whole(request.parameter("limit") or str(SHOWN_MESSAGES))
        found = self._desk.messages(request.parameter("to") or None, limit=min(limit, SHOWN_MESSAGES))
        return json_reply(HTTPStatus.OK, {"messages": found})

    def _phone(self, request: Request) -> Reply:
        return json_reply(HTTPStatus.OK, self._desk.phone(request.parameter("to") or None))

    def _devices(self, _request: Request) -> Reply:
        return json_reply(HTTPStatus.OK, {"devices": self._desk.devices()})

    def _attach(self, request: Request) -> Reply:
        return json_reply(HTTPStatus.CREATED, self._desk.attach_device(_phone_number(request)))

    def _detach(self, request: Request) -> Reply:
        number = request.parameter("phone_number") or _phone_number(request)
        if not self._desk.detach_device(number):
            raise Refusal(HTTPStatus.NOT_FOUND, "The app is not on this phone")
        return json_reply(HTTPStatus.OK, {})

    def _faults(self, _request: Request) -> Reply:
        return json_reply(HTTPStatus.OK, {"faults": self._desk.faults()})

    def _add_fault(self, request: Request) -> Reply:
        return json_reply(HTTPStatus.CREATED, self._desk.fault_book.add(request.json_object()))

    def _clear_faults(self, request: Request) -> Reply:
        number = request.parameter("id")
        self._desk.fault_book.clear(_whole(number) if number else None)
        return json_reply(HTTPStatus.OK, {})

    def _call_log(self, request: Request) -> Reply:
        found = self._desk.calls(
            operation=request.parameter("operation") or None, user_id=request.parameter("user_id") or None
        )
        return json_reply(HTTPStatus.OK, {"calls": found})

    def _clear_calls(self, _request: Request) -> Reply:
        self._desk.clear_calls()
        return json_reply(HTTPStatus.OK, {})

    def _clock(self, _request: Request) -> Reply:
        clock = self._desk.clock
        return json_reply(HTTPStatus.OK, {"now": as_text(clock.now()), "advanced": clock.offset})

    def _advance(self, request: Request) -> Reply:
        seconds: Any = request.json_object().get("advance")
        if not isinstance(seconds, (int, float)) or isinstance(seconds, bool):
            raise ValueError("advance must be a number of seconds")
        self._desk.advance(seconds)
        return self._clock(request)

    def _reset(self, _request: Request) -> Reply:
        self._desk.reset()
        return json_reply(HTTPStatus.OK, {})


def _phone_number(request: Request) -> str:
    number = request.json_object().get("phone_number")
    if not isinstance(number, str):
        raise ValueError("phone_number must be a text")
    return number


def _whole(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        raise ValueError("limit and id must be whole numbers")
    return int(text)
