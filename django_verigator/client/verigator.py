"""The client of the Verification API: the calls of Messente's Python library, with the same names and arguments.

Every call raises ValueError before any request for an argument that is not a str or is blank, and a ``VerigatorError``
for whatever goes wrong after that. Only reading and deleting is ever repeated: a start costs money, a verification
costs a try, and a second registration makes a second record.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

from . import answers
from .http import IDLE_TIMEOUT, Client, Transport
from .options import ConnectionArguments, Unpack, mask_proxies, takes_connection_options
from .results import Service, StartedMethod, User, Verification
from .secrets import json_body, require_text, service_auth

ENDPOINT = "https://api.verigator.com"
_ROOT = "/v1/service/service"  # protocol: "service" stands twice, in the docs and in both official clients.


def _path(service_id: str, below: str = "") -> str:
    return f"{_ROOT}/{_path_part('service_id', service_id)}{below}"


def _user_path(service_id: str, user_id: str, below: str = "") -> str:
    return _path(service_id, f"/users/{_path_part('user_id', user_id)}{below}")


def _path_part(name: str, value: str) -> str:
    """Return an id percent-encoded."""
    require_text(**{name: value})
    if value in {".", ".."}:  # Quoting leaves these as they are.
        raise ValueError(f"{name} must not be a dot segment")
    try:
        return quote(value, safe="")
    except UnicodeEncodeError:
        pass
    raise ValueError(f"{name} must be valid text")


def _service(data: dict[str, Any], **expected: str) -> Service:
    answers.require_same(data, **expected)
    return Service(answers.id_of(data), answers.text_of(data, "ctime"), answers.text_of(data, "name"))


def _user(data: dict[str, Any], **expected: str) -> User:
    answers.require_same(data, **expected)
    return User(answers.id_of(data), answers.text_of(data, "ctime"), answers.text_of(data, "id_in_service"))


class _Calls:
    def __init__(self, transport: Transport) -> None:
        self._transport = transport


class Services(_Calls):
    """The calls of ``api.services``."""

    def create(self, domain: str, name: str) -> Service:
        """Create a service (protocol: Messente docs, creating-service).

        Args:
            domain: of the site, with or without scheme.
            name: shown in the provider's app.
        """
        require_text(domain=domain, name=name)
        return self._transport.call("POST", _ROOT, _service, json_body(fqdn=domain, name=name))

    def get(self, service_id: str) -> Service:
        """Fetch a service (protocol: both official clients; no page of the docs)."""
        return self._transport.call("GET", _path(service_id), lambda data: _service(data, id=service_id))

    def delete(self, service_id: str) -> bool:
        """Delete a service that has no users left, and return True."""
        self._transport.delete(_path(service_id))
        return True


class Users(_Calls):
    """The calls of ``api.users``."""

    def create(self, service_id: str, number: str, username: str) -> User:
        """Add a user (protocol: Messente docs, syncing-users).

        Args:
            number: phone number with country prefix.
            username: becomes the ``id_in_service``.

        Raises:
            ResourceAlreadyExistsError: the service has a user of that name.
        """
        path = _path(service_id, "/users")
        require_text(number=number, username=username)
        body = json_body(phone_number=number, id_in_service=username)
        del number  # A debug page shows the variables of each frame.
        return self._transport.call("POST", path, lambda data: _user(data, id_in_service=username), body)

    def get(self, service_id: str, user_id: str) -> User:
        """Fetch a user. The provider never returns the phone number."""
        return self._transport.call("GET", _user_path(service_id, user_id), lambda data: _user(data, id=user_id))

    def get_all(self, service_id: str) -> list[User]:
        """Return all users of a service at once; ``iter_all`` keeps one at a time in memory."""
        return list(self.iter_all(service_id))

    def iter_all(self, service_id: str) -> Iterator[User]:
        """Yield all users of a service as they come in, in flat memory.

        The total time-out covers the way to the first user; after that ``idle_timeout`` seconds of silence end the
        list. An exception after some users means that the list is not complete. Close the iterator to stop early.
        """
        return self._transport.stream(_path(service_id, "/users"), _user)

    def delete(self, service_id: str, user_id: str) -> bool:
        """Delete a user, and return True (protocol: Messente docs, deleting-users)."""
        self._transport.delete(_user_path(service_id, user_id))
        return True


class Auth(_Calls):
    """The calls of ``api.auth``."""

    METHOD_SMS = "sms"
    METHOD_TOTP = "totp"

    def initiate(self, service_id: str, user_id: str, method: str) -> StartedMethod:
        """Start an authentication: "sms" sends a PIN, "totp" asks for a code of the app.

        Returns the method really used: "totp" becomes "sms" if the number has no device attached (protocol: Messente
        docs, start-authentication).

        Raises:
            InvalidResponseError: also for "totp" where "sms" was asked for, which is not in the protocol.
        """
        path = _user_path(service_id, user_id, "/auth")
        require_text(method=method)

        def read(data: dict[str, Any]) -> StartedMethod:
            answers.require_same(data, service_id=service_id, user_id=user_id, id=user_id)
            used = answers.method_of(data)
            if method == self.METHOD_SMS and used != method:
                raise answers.BadAnswer("an answer about another method")
            return StartedMethod(used, answers.auth_id_of(data))

        return self._transport.call("POST", path, read, json_body(method=method))

    def verify(self, service_id: str, user_id: str, token: str, *, auth_id: str | None = None) -> Verification:
        """Check a PIN or code (protocol: Messente docs, pin-verification).

        Returns a value that is true in a condition only if the provider said JSON ``true``, in a 200, and nothing that
        contradicts it.

        Args:
            token: what the user typed; digits as text, so that leading zeros stay.
            auth_id: the one of the start, if it had one.

        Raises:
            VerigatorError: if its ``sent`` is True, the verdict is unknown, and the try may have been counted.
        """
        path = _user_path(service_id, user_id, "/auth")
        require_text(token=token)
        body = json_body(token=token)
        if auth_id is not None:
            require_text(auth_id=auth_id)
            body = json_body(token=token, auth_id=auth_id)
        del token  # A debug page shows the variables of each frame.

        def read(data: dict[str, Any]) -> Verification:
            answers.require_same(data, service_id=service_id, user_id=user_id, id=user_id)
            return _verification(data)

        return self._transport.call("PUT", path, read, body, only_200=True)


def _verification(data: dict[str, Any]) -> Verification:
    verified = data.get("verified")
    if not isinstance(verified, bool):
        raise answers.BadAnswer("verified is neither true nor false")
    method = answers.method_of(data) if data.get("method") is not None else None
    status = answers.status_of(data)
    if verified and (status is None or answers.is_clear(status)):
        return Verification(True, None, method)
    return Verification(False, status, method)


class Api(Client):
    """The client of Messente's Verification API ("Verigator").

    Args:
        username, password: of the API; sent with each request in the header X-Service-Auth.
        endpoint: may have a path; http:// is accepted for loopback hosts alone.
        idle_timeout: seconds of silence within a list of users (``users.iter_all``), which has no total.
        connection: see ``ConnectionOptions``.

    Raises:
        ValueError: an argument cannot be used.
    """

    @takes_connection_options
    def __init__(
        self,
        username: str,
        password: str,
        endpoint: str = ENDPOINT,
        *,
        idle_timeout: float = IDLE_TIMEOUT,
        **connection: Unpack[ConnectionArguments],
    ) -> None:
        auth = service_auth(username, password)
        del username, password  # A debug page shows the variables of each frame.
        mask_proxies(connection)
        if auth is None:
            raise ValueError("username and password must be Latin-1 text in one line; no colon in the username")
        headers = {"Accept": "application/json", "X-Service-Auth": auth}
        super().__init__(Transport(endpoint, headers=headers, idle_timeout=idle_timeout, **connection))
        self.services = Services(self._transport)
        self.users = Users(self._transport)
        self.auth = Auth(self._transport)
