"""Keep the services and their users."""

from __future__ import annotations

import sqlite3
import uuid
from collections.abc import Iterator
from typing import NamedTuple, cast

from .clock import Clock
from .store import Row, Store

PAGE_SIZE = 500


class Service(NamedTuple):
    """Hold a service; the fields are the columns of the table, ``ctime`` is in seconds since 1970."""

    id: str
    account: str
    fqdn: str
    name: str
    ctime: float


class User(NamedTuple):
    """Hold a user of a service; the fields are columns of the table, ``ctime`` is in seconds since 1970."""

    id: str
    service_id: str
    id_in_service: str
    phone_number: str
    ctime: float


_SERVICE_COLUMNS = ", ".join(Service._fields)
_USER_COLUMNS = ", ".join(User._fields)


class ConflictError(Exception):
    """Report that a name is in use, or that a service still has users."""


class Directory:
    """Create, find and delete services and users."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    def add_service(self, account: str, fqdn: str, name: str) -> Service:
        """Create a service.

        Raises:
            ConflictError: the account has a service of that name.
        """
        service = Service(str(uuid.uuid4()), account, fqdn, name, self._clock.now())
        self._write(f"INSERT INTO service ({_SERVICE_COLUMNS}) VALUES (?, ?, ?, ?, ?)", service)  # noqa: S608 - constants
        return service

    def service(self, service_id: str) -> Service | None:
        """Return a service, or None."""
        row = self._store.row(f"SELECT {_SERVICE_COLUMNS} FROM service WHERE id = ?", (service_id,))  # noqa: S608 - constants
        return Service(*cast("tuple[str, str, str, str, float]", row)) if row else None

    def remove_service(self, service_id: str) -> None:
        """Delete a service.

        Raises:
            ConflictError: the service still has users.
        """
        self._write("DELETE FROM service WHERE id = ?", (service_id,))

    def add_user(self, service_id: str, id_in_service: str, phone_number: str) -> User:
        """Create a user.

        Raises:
            ConflictError: the service has a user with this ``id_in_service``.
        """
        user = User(str(uuid.uuid4()), service_id, id_in_service, phone_number, self._clock.now())
        self._write(f"INSERT INTO user ({_USER_COLUMNS}) VALUES (?, ?, ?, ?, ?)", user)  # noqa: S608 - constants
        return user

    def user(self, service_id: str, user_id: str) -> User | None:
        """Return a user of this service, or None."""
        row = self._store.row(
            f"SELECT {_USER_COLUMNS} FROM user WHERE id = ? AND service_id = ?",  # noqa: S608 - constants
            (user_id, service_id),
        )
        return _user(row) if row else None

    def users(self, service_id: str) -> Iterator[User]:
        """Yield all users of a service, oldest first, while only 500 at a time are in memory."""
        last: object = 0
        while True:
            rows = self._store.rows(
                f"SELECT {_USER_COLUMNS}, seq FROM user"  # noqa: S608 - constants
                " WHERE service_id = ? AND seq > ? ORDER BY seq LIMIT ?",
                (service_id, last, PAGE_SIZE),
            )
            yield from (_user(row[:-1]) for row in rows)
            if len(rows) < PAGE_SIZE:
                return
            last = rows[-1][-1]

    def newest_user_with(self, phone_number: str) -> tuple[User, Service] | None:
        """Return the user created last with this number, and its service, or None."""
        row = self._store.row(
            f"SELECT {_USER_COLUMNS} FROM user WHERE phone_number = ? ORDER BY seq DESC LIMIT 1",  # noqa: S608 - constants
            (phone_number,),
        )
        user = _user(row) if row else None
        service = self.service(user.service_id) if user else None
        return (user, service) if user and service else None

    def remove_user(self, user_id: str) -> None:
        """Delete a user and its authentication; its messages stay."""
        self._store.write("DELETE FROM user WHERE id = ?", (user_id,))

    def _write(self, statement: str, values: tuple[object, ...]) -> None:
        try:
            self._store.write(statement, values)
        except sqlite3.IntegrityError:
            raise ConflictError from None


def _user(row: Row) -> User:
    return User(*cast("tuple[str, str, str, str, float]", row))
