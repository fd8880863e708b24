"""Rows page by page, by primary key."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Any

from ...backends import RemoteUser

BATCH = 500

_PAGE = 5000


def in_pages(rows: Any) -> Iterator[Any]:
    """Yield rows, read page by page; see ``pages``."""
    for page in pages(rows):
        yield from page


def pages(rows: Any) -> Iterator[list[Any]]:
    """Yield pages of rows by primary key: no cursor stays open while rows change, and memory stays flat."""
    rows, last = rows.order_by("pk"), None
    while page := list((rows if last is None else rows.filter(pk__gt=last))[:BATCH]):
        yield page
        last = page[-1].pk


def batches(users: Iterator[RemoteUser]) -> Iterator[list[RemoteUser]]:
    """Yield the provider's records in lists of up to BATCH."""
    while batch := list(islice(users, BATCH)):
        yield batch


def pks(rows: Any) -> Iterator[int]:
    """Yield primary keys, read page by page: rows that were yielded may change, and memory stays flat."""
    rows, last = rows.order_by("pk").values_list("pk", flat=True), None
    while page := list((rows if last is None else rows.filter(pk__gt=last))[:_PAGE]):
        yield from page
        last = page[-1]
