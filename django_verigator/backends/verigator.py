"""Messente's Verification API ("Verigator")."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from typing import TypeVar
from urllib.parse import urlsplit

from django.core.checks import CheckMessage

from ..client import Api, is_loopback
from ..exceptions import NoSuchResourceError, NoSuchServiceError
from .base import BaseBackend, Checked, Recipient, RemoteUser, Started
from .options import private_endpoints, too_patient

_T = TypeVar("_T")
ENDPOINT = "https://api.verigator.com"
_SERVICE_SECONDS = 60
"""For so long a service that was there is taken to be there: many lost records are not asked twice for each."""


class VerigatorBackend(BaseBackend):
    """Users are registered once, by phone number; then each start and check names their UserID.

    Args:
        username, password: the API credentials.
        service_id: made once by ``manage.py verigator_service``.
        endpoint: the provider's address; ``http`` only on loopback, where it means the sandbox.
        connect_timeout, read_timeout, total_timeout: seconds.
        proxies: as requests takes them; the environment's are not read.
        ca_bundle: path of a CA bundle instead of certifi's.
    """

    keeps_users = True

    def __init__(
        self,
        alias: str,
        *,
        username: str = "",
        password: str = "",
        service_id: str = "",
        endpoint: str = ENDPOINT,
        connect_timeout: float = 3.0,
        read_timeout: float = 5.0,
        total_timeout: float = 8.0,
        proxies: dict[str, str] | None = None,
        ca_bundle: str | None = None,
    ) -> None:
        super().__init__(alias)
        if not (username and password):
            raise ValueError('the API credentials are missing: set OPTIONS["username"] and OPTIONS["password"]')
        if not service_id:
            raise ValueError(
                'the service is missing: run "manage.py verigator_service" once and set OPTIONS["service_id"]'
            )
        self.api = Api(
            username,
            password,
            endpoint,
            connect_timeout=connect_timeout,
            read_timeout=read_timeout,
            total_timeout=total_timeout,
            proxies=proxies,
            ca_bundle=ca_bundle,
        )
        self.total_timeout = total_timeout
        self.service_id = service_id
        self._service_seen = float("-inf")
        # What answers on this machine is the sandbox.
        self.is_stand_in = is_loopback(urlsplit(self.api.endpoint).hostname or "")

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
        # A wrong service answers as a lost record does; nobody's UserID is to be forgotten because of it.
        ends = time.monotonic() + min(self.total_timeout, timeout or self.total_timeout)
        try:
            with self.api.within(timeout):
                return ask()
        except NoSuchResourceError as error:
            missing = error
        if time.monotonic() > self._service_seen + _SERVICE_SECONDS:
            self._ask_service(lambda: self.api.services.get(self.service_id), max(ends - time.monotonic(), 0.01))
            self._service_seen = time.monotonic()
        raise missing

    def _ask_service(self, ask: Callable[[], _T], timeout: float | None) -> _T:
        try:
            with self.api.within(timeout):
                return ask()
        except NoSuchResourceError as error:
            missing = error
        raise _no_such_service(missing)

    def close(self) -> None:
        self.api.close()

    def system_checks(self) -> list[CheckMessage]:
        return [*too_patient(self), *private_endpoints(self, [self.api.endpoint])]


def _no_such_service(missing: NoSuchResourceError) -> NoSuchServiceError:
    return NoSuchServiceError(
        'the provider has no such service: mend OPTIONS["service_id"]',
        status=missing.status,
        method=missing.method,
        path=missing.path,
    )
