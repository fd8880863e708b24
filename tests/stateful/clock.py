"""A clock that only goes forward: the whole process sees it, Django and the signatures of its cookies included."""

from __future__ import annotations

import time
from datetime import datetime, timedelta, tzinfo
from typing import Any

import pytest
from django.utils import timezone


class Clock:
    """The real time, plus ``offset`` seconds.

    Stored times stay as they are. Moving those back instead would need a list of every column, cookie and cache entry
    that holds one, and whatever the list forgot would never grow old.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.offset = 0.0
        real = time.time

        class Kind(type):
            def __instancecheck__(cls, instance: Any) -> bool:
                return isinstance(instance, datetime)

        class Moved(datetime, metaclass=Kind):
            @classmethod
            def now(cls, tz: tzinfo | None = None) -> datetime:  # type: ignore[override]
                return datetime.now(tz) + timedelta(seconds=self.offset)

        monkeypatch.setattr(time, "time", lambda: real() + self.offset)
        # Below timezone.now(), so that whoever has bound that function (a column's default) is served as well.
        monkeypatch.setattr(timezone, "datetime", Moved)

    def now(self) -> float:
        return time.time()
