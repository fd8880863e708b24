"""docs/faults.md has each fault that was seen from outside, and each has a test that carries its id."""

from __future__ import annotations

from . import faults_table


def test_table__is_what_the_tests_say() -> None:
    _, table, _ = faults_table.split()
    assert table == faults_table.tables()


def test_each_fault__has_a_test() -> None:
    tested = faults_table.tests()
    assert [fault for fault in faults_table.rows() if fault not in tested] == []


def test_each_id_of_a_test__is_in_the_table() -> None:
    assert faults_table.tests().keys() - faults_table.rows().keys() == set()
