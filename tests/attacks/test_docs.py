"""docs/threats.md names tests that exist, and no attack that matters is without one."""

from __future__ import annotations

import pytest

from tests.docs.markdown import DOCS, code, read
from tests.docs.markdown import rows as rows_of_tables

from .rows import ELSEWHERE, NOT_YET, all_tests, ids_in, rows

TABLE = {cells[0]: cells for cells in rows_of_tables(read(DOCS / "threats.md"))}
TESTS = set(all_tests())


@pytest.fixture(autouse=True)
def site():
    """No site is attacked here."""


def test_threats__has_every_row_in_its_words():
    assert list(TABLE) == [row.id for row in rows()]
    for row in rows():
        assert TABLE[row.id][2] == row.words


def test_threats__names_tests_that_exist_and_are_of_the_row():
    for row_id, cells in TABLE.items():
        for test in code(cells[3]):
            assert test in TESTS, f"{row_id}: there is no {test}"
            assert row_id in ids_in(test) or test in ELSEWHERE.get(row_id, ()), f"{test} is not named for {row_id}"
        assert code(cells[3]) or cells[3] == NOT_YET


@pytest.mark.parametrize("row", [row for row in rows() if row.must_be_tested], ids=lambda row: row.id)
def test_threats__has_a_test_for_each_critical_and_high_row(row):
    assert code(TABLE[row.id][3])


def test_threats__says_not_yet_only_of_faults():
    assert [row_id for row_id, cells in TABLE.items() if cells[3] == NOT_YET and not row_id.startswith("R")] == []


def test_every_test_here__is_named_for_a_row():
    known = {row.id for row in rows()}
    for test in TESTS:
        assert ids_in(test) <= known, f"{test} is named for a row that is not in the list"
        if test.startswith("attacks/test_") and not test.startswith(("attacks/test_docs", "attacks/test_oracle")):
            assert ids_in(test), f"{test} belongs to no row"
