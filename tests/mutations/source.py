"""Finds code by name, so that what moves within a file, or changes beside it, stays found."""

from __future__ import annotations

import ast
import io
import tokenize
from collections.abc import Iterator
from pathlib import Path

_Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


class Missing(LookupError):  # noqa: N818 - the code has moved on, and nothing is wrong with it
    """The code has no such module, name or lines (any more)."""


def path_of(package: Path, module: str) -> Path:
    """Return the file of a module, by its dotted name below the package."""
    base = package.joinpath(*module.split("."))
    for path in (base.with_name(f"{base.name}.py"), base / "__init__.py"):
        if path.is_file():
            return path
    raise Missing(f"no module {module}")


def replace(text: str, name: str, old: list[str], new: list[str]) -> str:
    """Return a module's source with other lines in a function or class of it.

    Args:
        name: qualified, without ``<locals>``; "" for what stands in no function or class.
        old: lines that follow each other, if comments and empty lines are left out. None: ``new`` comes at the
            beginning of the body.
    """
    lines = text.split("\n")
    first, behind = _lines_found(text, name, old) if old else (_body_begins(text, name),) * 2
    return "\n".join([*lines[: first - 1], *new, *lines[behind - 1 :]])


def _lines_found(text: str, name: str, old: list[str]) -> tuple[int, int]:
    scope = _scope(text, name)
    code = _code(text)
    found = []
    for start in range(len(code) - len(old) + 1):
        numbers, lines = zip(*code[start : start + len(old)], strict=True)
        if list(lines) == old and scope.issuperset(numbers):
            found.append((numbers[0], numbers[-1] + 1))
    if len(found) != 1:
        raise Missing("\n".join([f"these lines are there {len(found)} times:", *old]))
    return found[0]


def _code(text: str) -> list[tuple[int, str]]:
    """Return the lines with their numbers, without comments and without those that are empty then."""
    lines = text.split("\n")
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT:
            row, column = token.start
            lines[row - 1] = lines[row - 1][:column].rstrip()
    return [(number, line) for number, line in enumerate(lines, start=1) if line.strip()]


def _scope(text: str, name: str) -> set[int]:
    tree = ast.parse(text)
    if name:
        return set(_numbers(_definition(tree, name)))
    elsewhere = {number for node in tree.body if isinstance(node, _Definition) for number in _numbers(node)}
    return set(range(1, text.count("\n") + 2)) - elsewhere


def _numbers(node: _Definition) -> range:
    first = min([node.lineno, *(each.lineno for each in node.decorator_list)])
    return range(first, (node.end_lineno or first) + 1)


def _definition(tree: ast.Module, name: str) -> _Definition:
    node: ast.AST = tree
    for part in name.split("."):
        found = [each for each in _definitions(node) if each.name == part]
        if len(found) != 1:
            raise Missing(f"{name}: {part} is there {len(found)} times")
        node = found[0]
    assert isinstance(node, _Definition)
    return node


def _definitions(node: ast.AST) -> Iterator[_Definition]:
    """Yield the functions and classes in a body, also those in an ``if`` or ``try`` of it."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, _Definition):
            yield child
        elif isinstance(child, (ast.stmt, ast.ExceptHandler)):
            yield from _definitions(child)


def _body_begins(text: str, name: str) -> int:
    if not name:
        raise Missing("a module's body is too long to have lines put just anywhere")
    node = _definition(ast.parse(text), name)
    statement = node.body[0]
    if ast.get_docstring(node, clean=False) is None:
        return min([statement.lineno, *(each.lineno for each in getattr(statement, "decorator_list", []))])
    return (statement.end_lineno or statement.lineno) + 1
