"""Services and their users."""

from __future__ import annotations

import sqlite3
import uuid
from collections.abc import Iterator
from typing import NamedTuple, cast

from django_verigator.sandbox.clock import Clock
from django_verigator.sandbox.store import Row, Store

PAGE = 500


class Service(NamedTuple):
    id: str
    account: str
    fqdn: str
    name: str
    ctime: float


class User(NamedTuple):
    id: str
    service_id: str
    id_in_service: str
    phone_number: str
    ctime: float


class Taken(Exception):  # noqa: N818 - an outcome, not a failure
    """The name is in use."""


class Directory:
    """Which services an account has, and which users a service has."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    def add_service(self, account: str, fqdn: str, name: str) -> Service:
        """Raises Taken where the account has a service of that name."""
        service = Service(str(uuid.uuid4()), account, fqdn, name, self._clock.now())
        self._insert("INSERT INTO service (id, account, fqdn, name, ctime) VALUES (?, ?, ?, ?, ?)", service)
        return service

    def service(self, service_id: str) -> Service | None:
        row = self._store.row("SELECT id, account, fqdn, name, ctime FROM service WHERE id = ?", (service_id,))
        return Service(*cast("tuple[str, str, str, str, float]", row)) if row else None

    def remove_service(self, service_id: str) -> None:
        """Raises Taken while the service has users."""
        self._insert("DELETE FROM service WHERE id = ?", (service_id,))

    def add_user(self, service_id: str, id_in_service: str, phone_number: str) -> User:
        """Raises Taken where the service has a user of that name."""
        user = User(str(uuid.uuid4()), service_id, id_in_service, phone_number, self._clock.now())
        self._insert(
            "INSERT INTO user (id, service_id, id_in_service, phone_number, ctime) VALUES (?, ?, ?, ?, ?)", user
        )
        return user

    def user(self, service_id: str, user_id: str) -> User | None:
        row = self._store.row(
            "SELECT id, service_id, id_in_service, phone_number, ctime FROM user WHERE id = ? AND service_id = ?",
            (user_id, service_id),
        )
        return _user(row) if row else None

    def users(self, service_id: str) -> Iterator[User]:
        """All users of a service, oldest first, read in pages: never all of them at once."""
        last: object = 0
        while True:
            rows = self._store.rows(
                "SELECT id, service_id, id_in_service, phone_number, ctime, seq FROM user"
                " WHERE service_id = ? AND seq > ? ORDER BY seq LIMIT ?",
                (service_id, last, PAGE),
            )
            yield from (_user(row[:-1]) for row in rows)
            if len(rows) < PAGE:
                return
            last = rows[-1][-1]

    def newest_user_with(self, phone_number: str) -> tuple[User, Service] | None:
        row = self._store.row(
            "SELECT id, service_id, id_in_service, phone_number, ctime FROM user"
            " WHERE phone_number = ? ORDER BY seq DESC LIMIT 1",
            (phone_number,),
        )
        user = _user(row) if row else None
        service = self.service(user.service_id) if user else None
        return (user, service) if user and service else None

    def remove_user(self, user_id: str) -> None:
        self._store.write("DELETE FROM user WHERE id = ?", (user_id,))

    def _insert(self, statement: str, values: tuple[object, ...]) -> None:
        try:
            self._store.write(statement, values)
        except sqlite3.IntegrityError:
            raise Taken from None


def _user(row: Row) -> User:
    return User(*cast("tuple[str, str, str, str, float]", row))
