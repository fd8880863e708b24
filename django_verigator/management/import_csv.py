"""Read the file of ``verigator_import``: CSV as spreadsheets and databases write it."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from typing import TextIO

from django.core.management.base import CommandError

from django_verigator import shown

from ..records.import_rows import Row, Verdict

COLUMNS = ("username", "phone", "user_id", "id_in_service")
_NEEDED = COLUMNS[:2]
_DELIMITERS = ",;\t"


def read(file: TextIO) -> Iterator[Row]:
    """Yield the rows of a file from its beginning; a row that cannot be read has a ``problem``.

    The first line names the columns, in any order; it also shows whether commas, semicolons or tabs separate them.

    Args:
        file: opened with ``newline=""`` and ``errors="surrogateescape"``.

    Raises:
        CommandError: the first line does not name the columns.
    """
    file.seek(0)
    reader = csv.reader(file, delimiter=_delimiter(file), strict=True)
    head = _head(reader)
    while True:
        line = reader.line_num + 1
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error:
            yield Row(line, problem=Verdict.MALFORMED)
            continue
        if cells:
            yield _row(line, head, cells)


def _delimiter(file: TextIO) -> str:
    first = file.readline()
    file.seek(0)
    return max(_DELIMITERS, key=first.count)


def _head(reader: Iterator[list[str]]) -> list[str]:
    try:
        head = [_column(cell) for cell in next(reader, [])]
    except csv.Error:
        head = []
    missing = [name for name in _NEEDED if name not in head]
    if missing:
        raise CommandError(f"The first line must name the columns {' and '.join(_NEEDED)}; missing: {missing}.")
    strange = [name for name in head if name not in COLUMNS]
    if strange:
        # Not ignored: a UserID in an unknown column would be lost, and its user registered anew. Shown as usernames
        # are: in a file without headings this line has a user's number.
        names = ", ".join(map(shown.name, strange))
        raise CommandError(f"The first line names columns that are none of {', '.join(COLUMNS)}: {names}.")
    if len(set(head)) < len(head):
        raise CommandError("The first line names a column twice.")
    return head


def _column(name: str) -> str:
    """Return the column that a heading means: "UserID" and "Phone number" are headings too."""
    letters = re.sub(r"[\s_-]", "", name.lower())
    columns = {"phonenumber": "phone"} | {column.replace("_", ""): column for column in COLUMNS}
    return columns.get(letters, name.strip())


def _row(line: int, head: list[str], cells: list[str]) -> Row:
    named = dict(zip(head, cells, strict=False))
    if len(cells) != len(head):
        return Row(line, named.get("username", ""), problem=Verdict.COLUMNS)
    return Row(line, named["username"], named["phone"], named.get("user_id", ""), named.get("id_in_service", ""))
