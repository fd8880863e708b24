"""docs/limits.md says of every call to a provider who can cause it and what counts it."""

from __future__ import annotations

import ast
import dataclasses
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import django_verigator
from django_verigator import conf

from .markdown import DOCS, rows, section

PACKAGE = Path(django_verigator.__file__).parent
CALLS = {"start", "check", "report", "register", "unregister", "exists", "users"}
ROWS = rows(section(DOCS / "limits.md", "Whose limit each call is under"))
WAITED_FOR = (
    "flows/providers.py",
    "flows/checking.py",
    "flows/reports.py",
    "flows/phone_changes.py",
    "records/registration.py",
)
"""Somebody waits for what these flows ask, so they must not open the circuit for others."""


def _calls(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in CALLS:
            on = node.func.value
            name = on.id if isinstance(on, ast.Name) else on.attr if isinstance(on, ast.Attribute) else ""
            if name in ("backend", "_backend"):
                yield node.func.attr


def _made() -> set[tuple[str, str]]:
    return {
        (call, str(path.relative_to(PACKAGE)))
        for path in PACKAGE.rglob("*.py")
        if path.parent.name not in ("backends", "sandbox", "client")
        for call in _calls(ast.parse(path.read_text()))
    }


@pytest.mark.fault("T03", "T04")
def test_table__has_every_call_that_is_made() -> None:
    assert {(row[0].strip("`"), row[1].strip("`")) for row in ROWS} == _made()


@pytest.mark.fault("T03", "T04")
def test_table__names_limits_that_there_are() -> None:
    known = {field.name for cls in (conf.Limits, conf.Settings) for field in dataclasses.fields(cls)} | {"SENDS_"}
    for row in ROWS:
        assert row[2]
        assert row[3]
        assert set(re.findall(r"`([A-Z_0-9]+)`", row[3])) <= known


@pytest.mark.fault("T03")
@pytest.mark.parametrize("flow", WAITED_FOR)
def test_call_that_somebody_waits_for__is_made_on_the_account_of_that_somebody(flow: str) -> None:
    tree = ast.parse((PACKAGE / flow).read_text())
    asked = [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "protected_call"
    ]
    assert len(asked) == len(list(_calls(tree)))
    assert all(len(node.args) == 3 for node in asked), "backend, cause, timeout"
