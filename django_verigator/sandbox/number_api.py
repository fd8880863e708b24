"""The Number Verification API: /verify/start and /verify/pin, in all the forms that Messente's clients send them.

Every answer is a short text with status 200, errors too, and ends without a line end: one of Messente's clients takes
that for a part of the id.
"""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from http import HTTPStatus
from urllib.parse import parse_qsl

from django_verigator.sandbox.exchange import Refusal, Reply, Request
from django_verigator.sandbox.number_sessions import MAX_VALIDITY, Order, Sessions
from django_verigator.sandbox.phones import normalised
from django_verigator.sandbox.routes import Target
from django_verigator.sandbox.rules import MAX_PIN_LENGTH, MIN_PIN_LENGTH, Rules
from django_verigator.sandbox.store import Store

FORM = "application/x-www-form-urlencoded"
PLACE = "<PIN>"
MAX_FIELDS = 100
MAX_TEXT = 255
MAX_SENDINGS = 99
MAX_DELAY = 3600

CREDENTIALS, PARAMETERS, TEMPLATE, UNKNOWN, SENDER = "ERROR 101", "ERROR 102", "ERROR 109", "ERROR 110", "ERROR 111"


class _Error(Exception):
    """The answer is an error; its text is the argument."""


class NumberApi:
    """Checks go in this order: credentials (101), parameters (102), template (109) and sender (111), id (110)."""

    def __init__(self, store: Store, sessions: Sessions, rules: Rules) -> None:
        self._store = store
        self._sessions = sessions
        self._rules = rules

    def answer(self, request: Request, target: Target) -> Reply:
        if not target.operation:
            allow = ", ".join([*target.allowed, "OPTIONS"])
            if request.method == "OPTIONS":
                return _text("", headers=(("Allow", allow),))
            raise Refusal(HTTPStatus.METHOD_NOT_ALLOWED, "This method is not allowed here", (("Allow", allow),))
        try:
            given = _parameters(request)
            account = self._account(given)
            with self._store.transaction():
                if target.operation == "verify.start":
                    return self._start(given, account)
                return self._pin(given, account)
        except _Error as error:
            return _text(str(error))

    def _account(self, given: Mapping[str, str]) -> str:
        pair = _pair(given.get("username", ""), given.get("password", ""))
        found = ""
        for username, password in self._rules.accounts.items():
            # Every account is compared, and in constant time: the answer's delay tells nothing.
            if hmac.compare_digest(pair, _pair(username, password)):
                found = username
        if not found:
            raise _Error(CREDENTIALS)
        return found

    def _start(self, given: Mapping[str, str], account: str) -> Reply:
        number = normalised(given.get("to", ""))
        if number is None:
            raise _Error(PARAMETERS)
        order = Order(
            account=account,
            phone_number=number,
            template=given.get("template", f"Your Verification PIN code is {PLACE}"),
            pin_length=_whole(given, "pin_length", self._rules.pin_length, MIN_PIN_LENGTH, MAX_PIN_LENGTH),
            sendings=_whole(given, "max_tries", 2, 1, MAX_SENDINGS),
            retry_delay=_whole(given, "retry_delay", 30, 1, MAX_DELAY),
            validity=_whole(given, "validity", min(int(self._rules.pin_validity), MAX_VALIDITY), 1, MAX_VALIDITY),
        )
        sender = given.get("from", "")
        if PLACE not in order.template:
            raise _Error(TEMPLATE)
        if sender and self._rules.senders and sender not in self._rules.senders:
            raise _Error(SENDER)
        if self._sessions.trusts(account, number, given.get("cookie", ""), given.get("ip", "")):
            return _text("VERIFIED")
        return _text(f"OK {self._sessions.start(order)}")

    def _pin(self, given: Mapping[str, str], account: str) -> Reply:
        if not given.get("verification_id") or not given.get("pin"):
            raise _Error(PARAMETERS)
        result = self._sessions.check(
            account, given["verification_id"], given["pin"], given.get("cookie", ""), given.get("ip", "")
        )
        if result is None:
            raise _Error(UNKNOWN)
        return _text(result, verified=result == "VERIFIED")


def _text(text: str, *, verified: bool | None = None, headers: tuple[tuple[str, str], ...] = ()) -> Reply:
    return Reply(HTTPStatus.OK, text.encode("ascii"), "text/plain", headers, verified)


def _parameters(request: Request) -> dict[str, str]:
    """Query and form together: one client sends everything in both. What is empty was not given."""
    sources = [request.query]
    if str(request.headers.get("Content-Type", "")).partition(";")[0].strip().lower() == FORM:
        sources.append(request.body.decode("utf-8", "replace"))
    found: dict[str, str] = {}
    for source in sources:
        try:
            found |= dict(parse_qsl(source, max_num_fields=MAX_FIELDS))
        except ValueError:
            raise _Error(PARAMETERS) from None
    if any(len(value) > MAX_TEXT for value in found.values()):
        raise _Error(PARAMETERS)
    return found


def _whole(given: Mapping[str, str], key: str, default: int, low: int, high: int) -> int:
    text = given.get(key, str(default))
    if not (text.isascii() and text.isdigit() and len(text) < 10 and low <= int(text) <= high):
        raise _Error(PARAMETERS)
    return int(text)


def _pair(username: str, password: str) -> bytes:
    return f"{username}\0{password}".encode("utf-8", "surrogatepass")
