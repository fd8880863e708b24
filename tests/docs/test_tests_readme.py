"""tests/README.md knows each test, and what it calls thorough is what is marked so."""

from __future__ import annotations

import re

from ..conftest import THOROUGH
from .markdown import ROOT, code, read, rows, section

TESTS = ROOT / "tests"
PAGE = TESTS / "README.md"


def test_thorough__is_what_the_page_says_and_is_there() -> None:
    table = rows(section(PAGE, "Fast and thorough"))
    assert sorted(name for row in table for name in code(row[0])) == sorted(THOROUGH)
    assert [name for name in THOROUGH if not (TESTS / name).exists()] == []


def test_paths__are_all_there() -> None:
    named = re.findall(r"\btests/[\w/.]+\w", read(PAGE))
    assert [name for name in named if not (ROOT / name).exists()] == []


def test_each_folder_and_file__is_named() -> None:
    text = read(PAGE)
    places = {path.relative_to(TESTS).parts[0] for path in TESTS.rglob("test_*.py")}
    assert [place for place in sorted(places) if place not in text] == []
