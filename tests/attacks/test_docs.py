"""docs/threats.md has each attack and fault, and each has a test that carries its id."""

from __future__ import annotations

from importlib import import_module

import pytest

from tests.docs import marked
from tests.docs.markdown import code, read
from tests.docs.markdown import rows as rows_of_tables

from . import rows

OF_OUR_OWN = {"own_pins", "omnichannel"}
"""Of PROVIDERS, those with which the site makes the PINs."""
TABLE = {cells[0]: cells for cells in rows_of_tables(read(rows.PAGE))}


@pytest.fixture(autouse=True)
def site():
    """No site is attacked here."""


def test_threats__has_every_row_in_its_words():
    assert list(TABLE) == [row.id for row in rows.rows()]
    for row in rows.rows():
        assert TABLE[row.id][2] == row.words


def test_threats__is_what_the_tests_say():
    _, tables, _ = rows.split()
    assert tables == rows.tables()


@pytest.mark.parametrize("row", [row for row in rows.rows() if row.must_be_tested], ids=lambda row: row.id)
def test_threats__has_a_test_for_each_critical_and_high_row(row):
    assert code(TABLE[row.id][3])


def test_threats__has_no_id_that_no_test_carries():
    assert [row_id for row_id in TABLE if row_id not in rows.tests()] == []


def test_every_test_here__is_marked_with_a_row():
    assert rows.tests().keys() - TABLE.keys() == set()
    for test, ids in marked.all_tests("threat"):
        if test.startswith("attacks/test_") and not test.startswith(("attacks/test_docs", "attacks/test_oracle")):
            assert ids, f"{test} belongs to no row"


def test_every_attack_on_pins_and_texts__runs_with_pins_of_our_own_or_says_why_not():
    reasons = dict(marked.all_tests("asks_provider"))
    attacks, without = 0, []
    for test, ids in marked.all_tests("threat"):
        file = test.partition(".py")[0]
        if file.startswith(("attacks/test_", "races/test_")) and {row_id[0] for row_id in ids} & set("CDEFM"):
            attacks += 1
            providers = getattr(import_module(f"tests.{file.replace('/', '.')}"), "PROVIDERS", ())
            if not (OF_OUR_OWN & set(providers) or reasons[test]):
                without.append(test)
    assert attacks > 100
    assert without == []
