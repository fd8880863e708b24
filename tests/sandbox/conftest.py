from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from django_verigator.sandbox import Sandbox

from .http_client import PASSWORD, USERNAME, Shop


@pytest.fixture
def start_sandbox() -> Iterator[Callable[..., Sandbox]]:
    """Start sandboxes with options that the test chooses, and stop them after the test."""
    with ExitStack() as stack:

        def start(**options: Any) -> Sandbox:
            return stack.enter_context(Sandbox(**{"username": USERNAME, "password": PASSWORD, **options}))

        yield start


@pytest.fixture
def sandbox(start_sandbox: Callable[..., Sandbox]) -> Sandbox:
    return start_sandbox()


@pytest.fixture
def shop(sandbox: Sandbox) -> Shop:
    return Shop(sandbox)
