"""The table of docs/mutations.md is about the mutations of the catalogue, and these are about the code."""

from __future__ import annotations

from tests.mutations import catalogue
from tests.mutations.__main__ import problems

from .markdown import DOCS, ROOT, read, rows


def test_catalogue__fits_the_code() -> None:
    assert problems(catalogue.read()) == []


def test_table__has_each_mutation_and_who_noticed_it() -> None:
    table = dict(rows(read(DOCS / "mutations.md")))
    assert list(table) == [mutation.name for mutation in catalogue.read()]
    for noticed_by in table.values():
        path, *_, test = noticed_by.strip("`").split("::")
        # A class of tests may have them from another file of its folder.
        files = (ROOT / "tests" / path).parent.glob("*.py") if "::Test" in noticed_by else [ROOT / "tests" / path]
        assert any(f"def {test}(" in read(file) for file in files), noticed_by
