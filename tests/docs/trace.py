"""Which files of the package a call passes, in order: what docs/how-it-works.md tells is compared with this."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import django_verigator

PACKAGE = Path(django_verigator.__file__).parent


@contextmanager
def files_passed() -> Iterator[list[str]]:
    """Collect the files in which functions begin, each time another one is entered, without the sandbox."""
    passed: list[str] = []

    def profile(frame: FrameType, event: str, argument: Any) -> None:
        path = Path(frame.f_code.co_filename)
        if event == "call" and path.is_relative_to(PACKAGE):
            name = path.relative_to(PACKAGE).as_posix()
            if not name.startswith("sandbox/") and (not passed or passed[-1] != name):
                passed.append(name)

    sys.setprofile(profile)
    try:
        yield passed
    finally:
        sys.setprofile(None)


def first_visits(passed: list[str]) -> list[str]:
    """Return the files in the order in which they are first entered."""
    return list(dict.fromkeys(passed))


def returns(passed: list[str]) -> int:
    """Return how often a file is entered that was left before."""
    return len(passed) - len(set(passed))
