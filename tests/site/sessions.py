"""Django's database sessions, with a store that can go away."""

from __future__ import annotations

from typing import Any

from django.contrib.sessions.backends import db


class Store:
    down = False


class SessionStore(db.SessionStore):
    def load(self) -> Any:
        _reach()
        return super().load()

    def save(self, must_create: bool = False) -> None:
        _reach()
        super().save(must_create)

    def delete(self, session_key: str | None = None) -> None:
        _reach()
        super().delete(session_key)


def _reach() -> None:
    if Store.down:
        raise ConnectionError("no session store")
