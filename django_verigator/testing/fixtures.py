"""Fixtures for pytest: ``pytest_plugins = ["django_verigator.testing.fixtures"]`` in the conftest.py at the top."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from ..sandbox import Sandbox
from . import Message, outbox, reset, sandbox


@pytest.fixture(autouse=True)
def _fresh_phones() -> None:
    """Begin each test without messages and faults of another one."""
    reset()


@pytest.fixture
def verigator_outbox() -> list[Message]:
    """Return the messages of the locmem backend, newest last."""
    return outbox


@pytest.fixture
def verigator_sandbox() -> Iterator[Sandbox]:
    """Run the sandbox as the site's only provider."""
    with sandbox() as running:
        yield running
