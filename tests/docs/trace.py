"""Which files of the package a call passes, in order: docs/how-it-works.md is compared with this."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import groupby
from pathlib import Path
from types import FrameType
from typing import Any

import django_verigator

PACKAGE = Path(django_verigator.__file__).parent
FOUNDATIONS = frozenset(
    {
        "addresses.py",
        "cleaning.py",
        "compiled.py",
        "conf/__init__.py",
        "db.py",
        "digests.py",
        "events.py",
        "models/base.py",
        "models/statements.py",
        "receivers.py",
        "shown.py",
        "views/session_store.py",
    }
)
"""They hold no rule of a login, and every walk comes by them again and again."""


@contextmanager
def files_passed() -> Iterator[list[str]]:
    """Collect the files in which functions begin, without the foundations and the sandbox."""
    passed: list[str] = []

    def profile(frame: FrameType, event: str, argument: Any) -> None:
        path = Path(frame.f_code.co_filename)
        if event == "call" and path.is_relative_to(PACKAGE):
            name = path.relative_to(PACKAGE).as_posix()
            if name not in FOUNDATIONS and not name.startswith("sandbox/"):
                passed.append(name)

    sys.setprofile(profile)
    try:
        yield passed
    finally:
        sys.setprofile(None)


def first_visits(passed: list[str]) -> list[str]:
    return list(dict.fromkeys(passed))


def returns(passed: list[str]) -> int:
    """Return how often a file is entered again that was left before."""
    stays = [name for name, _ in groupby(passed)]
    return len(stays) - len(set(stays))
