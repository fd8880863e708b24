from __future__ import annotations

from typing import Any

from django.core.cache.backends.base import BaseCache


class BrokenCache(BaseCache):
    """A cache whose server is gone."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__({})

    def _fail(self, *args: Any, **kwargs: Any) -> Any:
        raise ConnectionError("no cache")

    get = set = delete = add = incr = get_many = delete_many = clear = _fail
