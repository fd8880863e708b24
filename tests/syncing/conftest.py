from __future__ import annotations

from typing import Any

import pytest

from django_verigator.backends import backends, locmem
from tests.site.models import User


@pytest.fixture
def provider() -> Any:
    return backends.default


@pytest.fixture
def records() -> Any:
    """What the provider has: UserIDs with their id_in_service."""
    return lambda: dict(locmem._memories["default"].names) if "default" in locmem._memories else {}


@pytest.fixture
def make_users(db: None) -> Any:
    """Users as bulk_create leaves them: no link yet."""

    def make(count: int) -> None:
        User.objects.bulk_create(
            User(username=f"u{number}", phone_number=f"+372{55_500_000 + number}") for number in range(count)
        )

    return make


def failing(error: Exception) -> Any:
    def fail(*args: Any, **kwargs: Any) -> Any:
        raise error

    return fail
