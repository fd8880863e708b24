"""Answer the Verification API: services, users and authentications."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from http import HTTPStatus
from typing import Any

from .authentications import Authentications
from .clock import format_time
from .config import ProviderConfig
from .constants import EXPIRED, INVALID, METHODS, SMS, THROTTLED, VERIFIED
from .credentials import account_of_header
from .directory import ConflictError, Directory, Service, User
from .http_messages import HTTPError, Request, Response, json_response
from .phone_numbers import parse_phone_number
from .routing import Route
from .store import Store

MAX_TEXT = 255
USERS_PER_CHUNK = 255
SURROGATE = re.compile("[\ud800-\udfff]")


class VerificationApi:
    """Check in this order: credentials (401), resource (404, 403), data (422), conflict (409)."""

    def __init__(
        self, store: Store, directory: Directory, authentications: Authentications, config: ProviderConfig
    ) -> None:
        self._store = store
        self._directory = directory
        self._authentications = authentications
        self._config = config
        self._operations: dict[str, Callable[[Request, Route, str], Response]] = {
            "services.create": self._create_service,
            "services.get": self._get_service,
            "services.delete": self._delete_service,
            "users.create": self._create_user,
            "users.list": self._list_users,
            "users.get": self._get_user,
            "users.delete": self._delete_user,
            "auth.start": self._start_authentication,
            "auth.verify": self._verify_token,
        }

    def handle(self, request: Request, route: Route) -> Response:
        """Carry out a call; errors become responses too."""
        try:
            account = self._authenticate(request)
            if not route.allowed_methods:
                raise HTTPError(HTTPStatus.NOT_FOUND, "There is nothing at this path")
            if not route.operation:
                return _other_method(request, route)
            if route.operation == "users.list":
                return self._list_users(request, route, account)
            with self._store.transaction():
                return self._operations[route.operation](request, route, account)
        except HTTPError as error:
            return error.response

    def _authenticate(self, request: Request) -> str:
        header = request.headers.get("X-Service-Auth")
        if header is None:
            raise HTTPError(HTTPStatus.UNAUTHORIZED, "The X-Service-Auth header is missing")
        account = account_of_header(self._config.accounts, str(header))
        if account is None:
            raise HTTPError(HTTPStatus.UNAUTHORIZED, "The API username or password is wrong")
        return account

    def _service(self, route: Route, account: str) -> Service:
        service = self._directory.service(route.service_id)
        if service is None:
            raise HTTPError(HTTPStatus.NOT_FOUND, "The service was not found")
        if service.account != account:
            raise HTTPError(HTTPStatus.FORBIDDEN, "The service belongs to another account")
        return service

    def _user(self, service: Service, route: Route) -> User:
        user = self._directory.user(service.id, route.user_id)
        if user is None:
            raise HTTPError(HTTPStatus.NOT_FOUND, "The user was not found")
        return user

    def _created_response(self, request: Request, route: Route, data: object) -> Response:
        from_java = str(request.headers.get("User-Agent", "")).startswith("verigator-java-")
        ok = route.creates_with_200 or (self._config.create_status == "auto" and from_java)
        ok = ok or self._config.create_status == "200"
        return json_response(HTTPStatus.OK if ok else HTTPStatus.CREATED, data)

    def _create_service(self, request: Request, route: Route, account: str) -> Response:
        data = request.json_object()
        fqdn, name = _text(data, "fqdn"), _text(data, "name")
        try:
            service = self._directory.add_service(account, fqdn, name)
        except ConflictError:
            raise HTTPError(HTTPStatus.CONFLICT, "A service with this name exists already") from None
        return self._created_response(request, route, _service_json(service))

    def _get_service(self, _request: Request, route: Route, account: str) -> Response:
        return json_response(HTTPStatus.OK, _service_json(self._service(route, account)))

    def _delete_service(self, _request: Request, route: Route, account: str) -> Response:
        service = self._service(route, account)
        try:
            self._directory.remove_service(service.id)
        except ConflictError:
            raise HTTPError(HTTPStatus.CONFLICT, "The service still has users") from None
        return json_response(HTTPStatus.ACCEPTED, {})

    def _create_user(self, request: Request, route: Route, account: str) -> Response:
        service = self._service(route, account)
        data = request.json_object()
        id_in_service, number = _text(data, "id_in_service"), _text(data, "phone_number")
        try:
            user = self._directory.add_user(service.id, id_in_service, parse_phone_number(number))
        except ValueError:
            message = "phone_number must be a number with its country prefix"
            raise HTTPError(HTTPStatus.UNPROCESSABLE_ENTITY, message) from None
        except ConflictError:
            raise HTTPError(HTTPStatus.CONFLICT, "A user with this id_in_service exists already") from None
        return self._created_response(request, route, _user_json(user))

    def _list_users(self, _request: Request, route: Route, account: str) -> Response:
        service = self._service(route, account)
        return Response(HTTPStatus.OK, _user_list_json(self._directory.users(service.id)))

    def _get_user(self, _request: Request, route: Route, account: str) -> Response:
        return json_response(HTTPStatus.OK, _user_json(self._user(self._service(route, account), route)))

    def _delete_user(self, _request: Request, route: Route, account: str) -> Response:
        self._directory.remove_user(self._user(self._service(route, account), route).id)
        return json_response(HTTPStatus.ACCEPTED, {})

    def _start_authentication(self, request: Request, route: Route, account: str) -> Response:
        service = self._service(route, account)
        user = self._user(service, route)
        method = request.json_object().get("method")
        if method not in METHODS:
            raise HTTPError(HTTPStatus.UNPROCESSABLE_ENTITY, "method must be sms or totp")
        authentication = self._authentications.start(service, user, method)
        data: dict[str, object] = {"method": authentication.method}
        if self._config.legacy_auth_id:
            data["auth_id"] = authentication.auth_id if authentication.method == SMS else None
        return self._created_response(request, route, data)

    def _verify_token(self, request: Request, route: Route, account: str) -> Response:
        user = self._user(self._service(route, account), route)
        authentication = self._authentications.open_for(user)
        if authentication is None:
            raise HTTPError(HTTPStatus.NOT_FOUND, "No authentication is open for this user")
        data = request.json_object()
        token = _token(data)
        if data.get("method") is not None and data["method"] not in METHODS:
            raise HTTPError(HTTPStatus.UNPROCESSABLE_ENTITY, "method must be sms or totp")
        if data.get("auth_id") not in (None, authentication.auth_id):
            raise HTTPError(HTTPStatus.NOT_FOUND, "The verification with this auth_id was not found")
        result = self._authentications.check(user, authentication, token)
        verified = result == VERIFIED
        answer: dict[str, object] = {"method": authentication.method, "verified": verified}
        if not verified:
            flags = {word.lower(): word == result for word in (THROTTLED, EXPIRED, INVALID)}
            answer["status"] = {**flags, "result": result}
        return json_response(HTTPStatus.OK, answer, verified=verified)


def _other_method(request: Request, route: Route) -> Response:
    allowed = [*route.allowed_methods, *(["HEAD"] if "GET" in route.allowed_methods else []), "OPTIONS"]
    headers = (("Allow", ", ".join(allowed)),)
    if request.method == "OPTIONS":
        return json_response(HTTPStatus.OK, {}, headers=headers)
    raise HTTPError(HTTPStatus.METHOD_NOT_ALLOWED, "This method is not allowed here", headers)


def _text(data: Mapping[str, Any], key: str) -> str:
    value = data.get(key)
    if not isinstance(value, str) or not value.strip() or len(value) > MAX_TEXT or SURROGATE.search(value):
        raise HTTPError(HTTPStatus.UNPROCESSABLE_ENTITY, f"{key} must be a text of 1 to {MAX_TEXT} characters")
    return value


def _token(data: Mapping[str, Any]) -> str:
    token = data.get("token")
    if isinstance(token, int) and not isinstance(token, bool):
        token = str(token)
    if not isinstance(token, str) or not token or len(token) > MAX_TEXT:
        raise HTTPError(HTTPStatus.UNPROCESSABLE_ENTITY, "token must be a text")
    return token


def _service_json(service: Service) -> dict[str, str]:
    return {"id": service.id, "name": service.name, "ctime": format_time(service.ctime)}


def _user_json(user: User) -> dict[str, str]:
    # A key "service" or "verigatorApi" would overwrite fields that Messente's Java client needs.
    return {"id": user.id, "ctime": format_time(user.ctime), "id_in_service": user.id_in_service}


def _user_list_json(users: Iterator[User]) -> Iterator[bytes]:
    """Yield the list as JSON in pieces; the total comes last, because it is the number of users actually listed."""
    total = 0
    pieces = ['{"users": [']
    for user in users:
        pieces.append((", " if total else "") + json.dumps(_user_json(user)))
        total += 1
        if len(pieces) > USERS_PER_CHUNK:
            yield "".join(pieces).encode("ascii")
            pieces.clear()
    pieces.append(f'], "total": {total}, "count": {total}}}')
    yield "".join(pieces).encode("ascii")
