"""The Verification API: what each operation checks, does and answers."""

from __future__ import annotations

import hmac
import json
import re
from collections.abc import Callable, Iterator, Mapping
from http import HTTPStatus
from typing import Any

from django_verigator.sandbox.authentications import METHODS, SMS, VERIFIED, Authentications
from django_verigator.sandbox.clock import as_text
from django_verigator.sandbox.directory import Directory, Service, Taken, User
from django_verigator.sandbox.exchange import Refusal, Reply, Request, json_reply
from django_verigator.sandbox.phones import normalised
from django_verigator.sandbox.routes import Target
from django_verigator.sandbox.rules import Rules
from django_verigator.sandbox.store import Store

MAX_TEXT = 255
SURROGATE = re.compile("[\ud800-\udfff]")


class VerificationApi:
    """Checks go in this order: credentials (401), resource (404, 403), data (422), conflict (409)."""

    def __init__(self, store: Store, directory: Directory, authentications: Authentications, rules: Rules) -> None:
        self._store = store
        self._directory = directory
        self._authentications = authentications
        self._rules = rules
        self._operations: dict[str, Callable[[Request, Target, str], Reply]] = {
            "services.create": self._create_service,
            "services.get": self._get_service,
            "services.delete": self._delete_service,
            "users.create": self._create_user,
            "users.list": self._list_users,
            "users.get": self._get_user,
            "users.delete": self._delete_user,
            "auth.start": self._start,
            "auth.verify": self._verify,
        }

    def answer(self, request: Request, target: Target) -> Reply:
        try:
            account = self._account(request)
            if not target.allowed:
                raise Refusal(HTTPStatus.NOT_FOUND, "There is nothing at this path")
            if not target.operation:
                return self._other_method(request, target)
            if target.operation == "users.list":
                return self._list_users(request, target, account)
            with self._store.transaction():
                return self._operations[target.operation](request, target, account)
        except Refusal as refusal:
            return refusal.reply

    def _other_method(self, request: Request, target: Target) -> Reply:
        allowed = [*target.allowed, *(["HEAD"] if "GET" in target.allowed else []), "OPTIONS"]
        headers = (("Allow", ", ".join(allowed)),)
        if request.method == "OPTIONS":
            return json_reply(HTTPStatus.OK, {}, headers=headers)
        raise Refusal(HTTPStatus.METHOD_NOT_ALLOWED, "This method is not allowed here", headers)

    def _account(self, request: Request) -> str:
        header = request.headers.get("X-Service-Auth")
        if header is None:
            raise Refusal(HTTPStatus.UNAUTHORIZED, "The X-Service-Auth header is missing")
        # Headers arrive as Latin-1; a client may have put UTF-8 into them.
        raw = str(header).strip(" \t").encode("latin-1", "replace")
        found = ""
        for username, password in self._rules.accounts.items():
            # Every account is compared, and in constant time: the answer's delay tells nothing.
            for encoded in _encoded(f"{username}:{password}"):
                if hmac.compare_digest(raw, encoded):
                    found = username
        if not found:
            raise Refusal(HTTPStatus.UNAUTHORIZED, "The API username or password is wrong")
        return found

    def _service(self, target: Target, account: str) -> Service:
        service = self._directory.service(target.service_id)
        if service is None:
            raise Refusal(HTTPStatus.NOT_FOUND, "The service was not found")
        if service.account != account:
            raise Refusal(HTTPStatus.FORBIDDEN, "The service belongs to another account")
        return service

    def _user(self, service: Service, target: Target) -> User:
        user = self._directory.user(service.id, target.user_id)
        if user is None:
            raise Refusal(HTTPStatus.NOT_FOUND, "The user was not found")
        return user

    def _created(self, request: Request, target: Target, data: object) -> Reply:
        from_java = str(request.headers.get("User-Agent", "")).startswith("verigator-java-")
        ok = target.always_ok or (self._rules.create_status == "auto" and from_java)
        ok = ok or self._rules.create_status == "200"
        return json_reply(HTTPStatus.OK if ok else HTTPStatus.CREATED, data)

    def _create_service(self, request: Request, target: Target, account: str) -> Reply:
        data = request.json_object()
        fqdn, name = _text(data, "fqdn"), _text(data, "name")
        try:
            service = self._directory.add_service(account, fqdn, name)
        except Taken:
            raise Refusal(HTTPStatus.CONFLICT, "A service with this name exists already") from None
        return self._created(request, target, _service_json(service))

    def _get_service(self, _request: Request, target: Target, account: str) -> Reply:
        return json_reply(HTTPStatus.OK, _service_json(self._service(target, account)))

    def _delete_service(self, _request: Request, target: Target, account: str) -> Reply:
        service = self._service(target, account)
        try:
            self._directory.remove_service(service.id)
        except Taken:
            raise Refusal(HTTPStatus.CONFLICT, "The service still has users") from None
        return json_reply(HTTPStatus.ACCEPTED, {})

    def _create_user(self, request: Request, target: Target, account: str) -> Reply:
        service = self._service(target, account)
        data = request.json_object()
        id_in_service = _text(data, "id_in_service")
        phone_number = normalised(_text(data, "phone_number"))
        if phone_number is None:
            raise Refusal(HTTPStatus.UNPROCESSABLE_ENTITY, "phone_number must be a number with its country prefix")
        try:
            user = self._directory.add_user(service.id, id_in_service, phone_number)
        except Taken:
            raise Refusal(HTTPStatus.CONFLICT, "A user with this id_in_service exists already") from None
        return self._created(request, target, _user_json(user))

    def _list_users(self, _request: Request, target: Target, account: str) -> Reply:
        service = self._service(target, account)
        return Reply(HTTPStatus.OK, _listed(self._directory.users(service.id)))

    def _get_user(self, _request: Request, target: Target, account: str) -> Reply:
        return json_reply(HTTPStatus.OK, _user_json(self._user(self._service(target, account), target)))

    def _delete_user(self, _request: Request, target: Target, account: str) -> Reply:
        self._directory.remove_user(self._user(self._service(target, account), target).id)
        return json_reply(HTTPStatus.ACCEPTED, {})

    def _start(self, request: Request, target: Target, account: str) -> Reply:
        service = self._service(target, account)
        user = self._user(service, target)
        method = request.json_object().get("method")
        if method not in METHODS:
            raise Refusal(HTTPStatus.UNPROCESSABLE_ENTITY, "method must be sms or totp")
        started = self._authentications.start(service, user, method)
        data: dict[str, object] = {"method": started.method}
        if self._rules.legacy_auth_id:
            data["auth_id"] = started.auth_id if started.method == SMS else None
        return self._created(request, target, data)

    def _verify(self, request: Request, target: Target, account: str) -> Reply:
        user = self._user(self._service(target, account), target)
        opened = self._authentications.open_for(user)
        if opened is None:
            raise Refusal(HTTPStatus.NOT_FOUND, "No authentication is open for this user")
        data = request.json_object()
        token = data.get("token")
        if isinstance(token, int) and not isinstance(token, bool):
            token = str(token)
        if not isinstance(token, str) or not token or len(token) > MAX_TEXT:
            raise Refusal(HTTPStatus.UNPROCESSABLE_ENTITY, "token must be a text")
        if data.get("method") is not None and data["method"] not in METHODS:
            raise Refusal(HTTPStatus.UNPROCESSABLE_ENTITY, "method must be sms or totp")
        if data.get("auth_id") not in (None, opened.auth_id):
            raise Refusal(HTTPStatus.NOT_FOUND, "The verification with this auth_id was not found")
        result = self._authentications.check(user, opened, token)
        answer: dict[str, object] = {"method": opened.method, "verified": result == VERIFIED}
        if result != VERIFIED:
            flags = {word.lower(): word == result for word in ("THROTTLED", "EXPIRED", "INVALID")}
            answer["status"] = {**flags, "result": result}
        return json_reply(HTTPStatus.OK, answer, verified=result == VERIFIED)


def _encoded(text: str) -> list[bytes]:
    try:
        return [text.encode("utf-8"), text.encode("latin-1")]
    except UnicodeEncodeError:
        return [text.encode("utf-8")]


def _text(data: Mapping[str, Any], key: str) -> str:
    value = data.get(key)
    if not isinstance(value, str) or not value.strip() or len(value) > MAX_TEXT or SURROGATE.search(value):
        raise Refusal(HTTPStatus.UNPROCESSABLE_ENTITY, f"{key} must be a text of 1 to {MAX_TEXT} characters")
    return value


def _service_json(service: Service) -> dict[str, str]:
    return {"id": service.id, "name": service.name, "ctime": as_text(service.ctime)}


def _user_json(user: User) -> dict[str, str]:
    # No key may be called "service" or "verigatorApi": Messente's Java client reads those into fields of its own.
    return {"id": user.id, "ctime": as_text(user.ctime), "id_in_service": user.id_in_service}


def _listed(users: Iterator[User]) -> Iterator[bytes]:
    """The list as JSON, piece by piece; the number is that of the users really listed."""
    total = 0
    pieces = ['{"users": [']
    for user in users:
        pieces.append((", " if total else "") + json.dumps(_user_json(user)))
        total += 1
        if len(pieces) > MAX_TEXT:
            yield "".join(pieces).encode("ascii")
            pieces.clear()
    pieces.append(f'], "total": {total}, "count": {total}}}')
    yield "".join(pieces).encode("ascii")
