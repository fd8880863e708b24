"""The client: the calls of Messente's own Python library, under the same names and with the same arguments.

Every call raises ValueError before any request for an argument that is no str or is blank, and a ``VerigatorError``
for whatever goes wrong after that. Nothing but reading and deleting is ever repeated by itself: a start costs money, a
verification costs a try, and a registration would be a second one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from typing import Any, NoReturn

from . import answers
from .arguments import path_part, require_text, service_auth
from .http import Transport
from .masked import hide_values, json_body
from .results import Service, StartedMethod, User, Verification

_ROOT = "/v1/service/service"  # protocol: "service" twice, in the docs and in both official clients


def _service_path(service_id: str) -> str:
    return f"{_ROOT}/{path_part('service_id', service_id)}"


def _users_path(service_id: str) -> str:
    return f"{_service_path(service_id)}/users"


def _user_path(service_id: str, user_id: str) -> str:
    return f"{_users_path(service_id)}/{path_part('user_id', user_id)}"


def _service(data: dict[str, Any]) -> Service:
    return Service(answers.identifier(data), answers.text(data, "ctime"), answers.text(data, "name"))


def _user(data: dict[str, Any]) -> User:
    return User(answers.identifier(data), answers.text(data, "ctime"), answers.text(data, "id_in_service"))


class Services:
    """``api.services``"""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def create(self, domain: str, name: str) -> Service:
        """Create a service for a site (``domain``, with or without scheme); ``name`` is shown in the provider's app.

        protocol: Messente docs, creating-service.
        """
        require_text(domain=domain, name=name)
        return self._transport.call("POST", _ROOT, _service, json_body(fqdn=domain, name=name))

    def get(self, service_id: str) -> Service:
        """Fetch a service (no docs page; both official clients have it)."""

        def read(data: dict[str, Any]) -> Service:
            answers.same(data, id=service_id)
            return _service(data)

        return self._transport.call("GET", _service_path(service_id), read)

    def delete(self, service_id: str) -> bool:
        """Delete a service that has no users left; True, or an exception."""
        self._transport.delete(_service_path(service_id))
        return True


class Users:
    """``api.users``"""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def create(self, service_id: str, number: str, username: str) -> User:
        """Add a user with a phone number (with country prefix); ``username`` becomes the ``id_in_service``.

        Raises ResourceAlreadyExistsError if the service has a user of that name.
        protocol: Messente docs, syncing-users.
        """
        path = _users_path(service_id)
        require_text(number=number, username=username)
        body = json_body(phone_number=number, id_in_service=username)
        del number  # a debug page shows the variables of each frame

        def read(data: dict[str, Any]) -> User:
            answers.same(data, id_in_service=username)
            return _user(data)

        return self._transport.call("POST", path, read, body)

    def get(self, service_id: str, user_id: str) -> User:
        """Fetch a user. The provider never returns the phone number."""

        def read(data: dict[str, Any]) -> User:
            answers.same(data, id=user_id)
            return _user(data)

        return self._transport.call("GET", _user_path(service_id, user_id), read)

    def get_all(self, service_id: str) -> list[User]:
        """All users of a service at once; ``iter_all`` keeps one at a time."""
        return list(self.iter_all(service_id))

    def iter_all(self, service_id: str) -> Iterator[User]:
        """All users of a service, as they come in, in flat memory.

        The total time-out covers the way to the first user; after that ``idle_timeout`` seconds of silence end it.
        An exception after some users means that the list is not complete. Close the iterator to stop early.
        """
        return self._transport.stream(_users_path(service_id), _user)

    def delete(self, service_id: str, user_id: str) -> bool:
        """Delete a user; True, or an exception. protocol: Messente docs, deleting-users."""
        self._transport.delete(_user_path(service_id, user_id))
        return True


class Auth:
    """``api.auth``"""

    METHOD_SMS = "sms"
    METHOD_TOTP = "totp"

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def initiate(self, service_id: str, user_id: str, method: str) -> StartedMethod:
        """Start an authentication: "sms" sends a PIN, "totp" asks for a code of the app.

        Returns the method really used. "totp" becomes "sms" if the number has no device attached; the other way round
        is refused as InvalidResponseError. protocol: Messente docs, start-authentication.
        """
        path = f"{_user_path(service_id, user_id)}/auth"
        require_text(method=method)

        def read(data: dict[str, Any]) -> StartedMethod:
            answers.same(data, service_id=service_id, user_id=user_id, id=user_id)
            used = answers.method(data)
            if method == self.METHOD_SMS and used != method:
                raise answers.BadAnswer("an answer about another method")
            return StartedMethod(used, answers.auth_id(data))

        return self._transport.call("POST", path, read, json_body(method=method))

    def verify(self, service_id: str, user_id: str, token: str, *, auth_id: str | None = None) -> Verification:
        """Check a PIN or code. True in a condition only if the provider said JSON ``true``, in a 200, without "but".

        Arguments:
            token: what the user typed; digits as text, so that leading zeros stay.
            auth_id: of the start, if it had one.

        An exception whose ``sent`` is True leaves the verdict unknown: the try may have been counted.
        protocol: Messente docs, pin-verification.
        """
        path = f"{_user_path(service_id, user_id)}/auth"
        require_text(token=token)
        body = json_body(token=token)
        if auth_id is not None:
            require_text(auth_id=auth_id)
            body = json_body(token=token, auth_id=auth_id)
        del token  # a debug page shows the variables of each frame

        def read(data: dict[str, Any]) -> Verification:
            answers.same(data, service_id=service_id, user_id=user_id, id=user_id)
            return _verification(data)

        return self._transport.call("PUT", path, read, body, only_200=True)


def _verification(data: dict[str, Any]) -> Verification:
    verified = data.get("verified")
    if not isinstance(verified, bool):
        raise answers.BadAnswer("verified is neither true nor false")
    method = answers.method(data) if data.get("method") is not None else None
    failure = answers.failure(data)
    if verified and (failure is None or answers.is_clear(failure)):
        return Verification(True, None, method)
    return Verification(False, failure, method)


class Api:
    """A client for Messente's Verification API ("Verigator").

    Safe to share between threads; each has its own connections, kept open between calls. The environment (proxies,
    CA bundles, .netrc) is not read, and the verification of certificates cannot be switched off.

    Arguments:
        username, password: of the API; sent with each request in the header X-Service-Auth.
        endpoint: may have a path; http:// is accepted for loopback hosts alone.
        connect_timeout, read_timeout, total_timeout, proxies, ca_bundle: as ``Transport`` has them.
        idle_timeout: seconds of silence within a list of users (``users.iter_all``), which has no total.

    Raises ValueError for an argument that cannot be used.
    """

    endpoint = ""

    def __init__(
        self,
        username: str,
        password: str,
        endpoint: str = "https://api.verigator.com",
        *,
        connect_timeout: float = 3.0,
        read_timeout: float = 5.0,
        total_timeout: float = 8.0,
        idle_timeout: float = 15.0,
        proxies: Mapping[str, str] | None = None,
        ca_bundle: str | None = None,
    ) -> None:
        auth = service_auth(username, password)
        del username, password  # a debug page shows the variables of each frame
        proxies = hide_values(proxies)
        if auth is None:
            raise ValueError("username and password must be Latin-1 text in one line; no colon in the username")
        self._transport = Transport(
            endpoint,
            headers={"Accept": "application/json", "X-Service-Auth": auth},
            connect_timeout=connect_timeout,
            read_timeout=read_timeout,
            total_timeout=total_timeout,
            idle_timeout=idle_timeout,
            proxies=proxies,
            ca_bundle=ca_bundle,
        )
        self.endpoint = self._transport.endpoint
        self.services = Services(self._transport)
        self.users = Users(self._transport)
        self.auth = Auth(self._transport)

    def within(self, seconds: float | None) -> AbstractContextManager[None]:
        """Return a context in which each call of this thread has at most so many seconds, and never more than
        ``total_timeout``; None changes nothing.
        """
        return self._transport.within(seconds)

    def close(self) -> None:
        """Close this thread's connections; the next call opens new ones."""
        self._transport.close()

    def __repr__(self) -> str:
        return f"<Api endpoint={self.endpoint!r}>"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a client holds credentials and connections, and is not pickled or copied")
