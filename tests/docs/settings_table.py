"""The tables of settings, made from ``conf``: ``python -m tests.docs.settings_table`` writes them anew."""

from __future__ import annotations

import ast
import inspect
import itertools
from dataclasses import MISSING, Field, fields
from pathlib import Path
from typing import Any

from django_verigator import conf

from .markdown import DOCS, README, read

PLACES: dict[Path, type] = {README: conf.Settings, DOCS / "limits.md": conf.Limits}
BEGIN = "<!-- settings: written by python -m tests.docs.settings_table -->\n"
END = "<!-- end of settings -->\n"


def table(cls: type) -> str:
    """Return all that stands between the two marks."""
    meanings = _docstrings(cls)
    rows = "".join(f"| `{f.name}` | `{_default(f)}` | {meanings[f.name]} |\n" for f in fields(cls))
    return f"\n| key | default | meaning |\n|---|---|---|\n{rows}\n"


def split(text: str) -> tuple[str, str, str]:
    """Return what stands before, between and after the marks."""
    before, _, rest = text.partition(BEGIN)
    between, _, after = rest.partition(END)
    return before, between, after


def _docstrings(cls: type) -> dict[str, str]:
    body = ast.parse(inspect.getsource(cls)).body[0].body  # type: ignore[attr-defined]
    found = {}
    for field, text in itertools.pairwise(body):
        if isinstance(field, ast.AnnAssign) and isinstance(text, ast.Expr) and isinstance(text.value, ast.Constant):
            found[field.target.id] = " ".join(text.value.value.split()).replace("``", "`")  # type: ignore[union-attr]
    return found


def _default(field: Field[Any]) -> str:
    if field.default_factory is not MISSING:
        return "{}"
    return repr(field.default).replace("'", '"')


if __name__ == "__main__":
    for path, cls in PLACES.items():
        before, _, after = split(read(path))
        path.write_text(f"{before}{BEGIN}{table(cls)}{END}{after}", encoding="utf-8")
