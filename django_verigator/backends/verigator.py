"""Messente's Verification API ("Verigator")."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from typing import TypeVar

from ..client import Api
from ..client.options import ConnectionArguments, Unpack, takes_connection_options
from ..client.verigator import ENDPOINT
from ..exceptions import NoSuchResourceError, NoSuchServiceError
from .base import Checked, HttpBackend, Recipient, RemoteUser, Started, require_credentials

_T = TypeVar("_T")
_SERVICE_SECONDS = 60
"""Seconds for which a service that was there is taken to be there, so that many lost records do not cost two calls
each."""


class VerigatorBackend(HttpBackend):
    """Registers each user once, by phone number; each start and check then names the UserID.

    Args:
        username, password: the API credentials.
        service_id: made once by ``manage.py verigator_service``.
        endpoint: the provider's address; ``http`` only on loopback, where it means the sandbox.
        connection: see ``django_verigator.client.ConnectionOptions``.
    """

    keeps_users = True

    @takes_connection_options
    def __init__(
        self,
        alias: str,
        *,
        username: str = "",
        password: str = "",
        service_id: str = "",
        endpoint: str = ENDPOINT,
        **connection: Unpack[ConnectionArguments],
    ) -> None:
        require_credentials(username, password)
        if not service_id:
            raise ValueError(
                'the service is missing: run "manage.py verigator_service" once and set OPTIONS["service_id"]'
            )
        self.api = Api(username, password, endpoint, **connection)
        super().__init__(alias, self.api, self.api.endpoint)
        self.service_id = service_id
        self._service_seen = float("-inf")

    def start(self, recipient: Recipient, method: str, *, timeout: float | None = None) -> Started:
        auth = self.api.auth
        used = self._ask_about_record(lambda: auth.initiate(self.service_id, recipient.user_id, method), timeout)
        return Started(str(used), used.auth_id or "")

    def check(self, recipient: Recipient, pin: str, reference: str, *, timeout: float | None = None) -> Checked:
        with self.api.within(timeout):
            verdict = self.api.auth.verify(self.service_id, recipient.user_id, pin, auth_id=reference or None)
        return Checked(
            verdict.verified, expired=verdict.expired, throttled=verdict.throttled, method=verdict.method or ""
        )

    def register(self, phone_number: str, id_in_service: str, *, timeout: float | None = None) -> str:
        users = self.api.users
        return self._ask_service(lambda: users.create(self.service_id, phone_number, id_in_service), timeout).id

    def unregister(self, user_id: str, *, timeout: float | None = None) -> None:
        with contextlib.suppress(NoSuchResourceError):
            self._ask_about_record(lambda: self.api.users.delete(self.service_id, user_id), timeout)

    def exists(self, user_id: str, *, timeout: float | None = None) -> bool:
        try:
            self._ask_about_record(lambda: self.api.users.get(self.service_id, user_id), timeout)
        except NoSuchResourceError:
            return False
        return True

    def users(self) -> Iterator[RemoteUser]:
        try:
            for user in self.api.users.iter_all(self.service_id):
                yield RemoteUser(user.id, user.username)
            return
        except NoSuchResourceError as error:
            missing = error
        raise _no_such_service(missing)

    def _ask_about_record(self, ask: Callable[[], _T], timeout: float | None) -> _T:
        """Return ``ask()``; where a record is missing, find out whether the service is there.

        A wrong service answers as a lost record does, and must not make a site forget its users' UserIDs.
        """
        deadline = time.monotonic() + min(self.total_timeout, timeout or self.total_timeout)
        try:
            with self.api.within(timeout):
                return ask()
        except NoSuchResourceError as error:
            missing = error
        if time.monotonic() > self._service_seen + _SERVICE_SECONDS:
            self._ask_service(lambda: self.api.services.get(self.service_id), max(deadline - time.monotonic(), 0.01))
            self._service_seen = time.monotonic()
        raise missing

    def _ask_service(self, ask: Callable[[], _T], timeout: float | None) -> _T:
        """Return ``ask()``, where something that is missing can only be the service."""
        try:
            with self.api.within(timeout):
                return ask()
        except NoSuchResourceError as error:
            missing = error
        raise _no_such_service(missing)


def _no_such_service(missing: NoSuchResourceError) -> NoSuchServiceError:
    return NoSuchServiceError(
        'the provider has no such service: correct OPTIONS["service_id"]',
        status=missing.status,
        method=missing.method,
        path=missing.path,
    )
