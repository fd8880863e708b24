"""How the benchmarks count and compare; and that all of them run."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from benchmarks import logins, table

ROOT = Path(__file__).parents[1]


def test_rounds__measure_each_side_once_and_begin_with_another_one() -> None:
    asked: list[str] = []
    sides = {side: lambda side=side: asked.append(side) or float(len(asked)) for side in "abc"}
    figures = table.in_rounds(3, sides)
    assert "".join(asked) == "abcbcacab"
    assert figures == {"a": [1, 6, 8], "b": [2, 4, 9], "c": [3, 5, 7]}


def test_ratios__are_formed_round_by_round() -> None:
    # The second round is three times as slow for both.
    assert table.ratios([2, 6, 3], [1, 3, 1]) == "2.00 (2.00 to 3.00)"


@pytest.mark.parametrize(
    ("statements", "counted"),
    [
        (["SELECT 1"], (1, 0)),
        (["UPDATE a", "INSERT INTO a"], (2, 2)),
        (["BEGIN", "UPDATE a", "INSERT INTO a", "COMMIT", "UPDATE a"], (3, 2)),
        (["BEGIN", 'SAVEPOINT "s"', "UPDATE a", 'ROLLBACK TO SAVEPOINT "s"', "UPDATE a", "COMMIT"], (2, 1)),
        (["BEGIN", "UPDATE a", "ROLLBACK"], (1, 0)),
    ],
)
def test_count__statements_and_transactions(statements: list[str], counted: tuple[int, int]) -> None:
    assert logins.count(statements) == counted


@pytest.mark.thorough
def test_all_of_them__run_and_fill_the_table() -> None:
    environment = {key: value for key, value in os.environ.items() if key != "DJANGO_SETTINGS_MODULE"}
    command = [sys.executable, "-m", "benchmarks", "--quick"]
    ran = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert ran.returncode == 0, ran.stderr
    rows = [line.split(" | ") for line in ran.stdout.splitlines() if re.match(r"\| (?!measure|---)", line)]
    assert len(rows) == (12 if find_spec("gunicorn") is None else 13)
    assert [row for row in rows if float(row[3].split()[0]) <= 0] == []
