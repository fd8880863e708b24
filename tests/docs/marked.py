"""The ids that tests carry: ``@pytest.mark.threat("A01", ...)`` and ``@pytest.mark.fault("N01", ...)``.

A marker counts on a test, on its class, or as ``pytestmark`` of its module.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from .markdown import ROOT, read

TESTS = ROOT / "tests"


def tests(marker: str) -> dict[str, list[str]]:
    """Return the tests of each id that a test carries, as ``file::name``, the file below tests/."""
    found: dict[str, list[str]] = {}
    for test, ids in all_tests(marker):
        for id_ in ids:
            found.setdefault(id_, []).append(test)
    return found


@cache
def all_tests(marker: str) -> list[tuple[str, list[str]]]:
    """Return each test with its ids, also those that classes in other files inherit."""
    return [
        (f"{path.relative_to(TESTS).as_posix()}::{name}", list(dict.fromkeys(ids)))
        for path in sorted(TESTS.rglob("*.py"))
        for name, ids in _marked(ast.parse(read(path)), marker, [])
    ]


def split(page: Path, begin: str, end: str) -> tuple[str, str, str]:
    """Return what stands before, between and after two marks of a page."""
    before, _, rest = read(page).partition(begin)
    between, _, after = rest.partition(end)
    return before, between, after


def _marked(scope: ast.Module | ast.ClassDef, marker: str, inherited: list[str]) -> Iterator[tuple[str, list[str]]]:
    for node in scope.body:
        if isinstance(node, ast.Assign) and any(isinstance(t, ast.Name) and t.id == "pytestmark" for t in node.targets):
            inherited = [*inherited, *_ids(node.value, marker)]
    for node in scope.body:
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            ids = [*inherited, *(id_ for decorator in node.decorator_list for id_ in _ids(decorator, marker))]
            if isinstance(node, ast.ClassDef):
                yield from _marked(node, marker, ids)
            elif node.name.startswith("test_"):
                yield node.name, ids


def _ids(expression: ast.expr, marker: str) -> Iterator[str]:
    for node in ast.walk(expression):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == marker:
            yield from (word.value for word in node.args if isinstance(word, ast.Constant))  # type: ignore[misc]
