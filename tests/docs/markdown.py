"""Reading our Markdown: files, fenced blocks, tables, headings and links."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FILES = [*sorted(ROOT.glob("*.md")), ROOT / "tests" / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
README = ROOT / "README.md"
DOCS = ROOT / "docs"

_FENCE = re.compile(r"^( *)```([^\n]*)\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#+ +(.+?) *$", re.MULTILINE)


@dataclass(frozen=True)
class Block:
    """A fenced block: ``info`` are the words behind its backquotes."""

    path: Path
    line: int
    info: tuple[str, ...]
    text: str

    def __str__(self) -> str:
        return f"{self.path.relative_to(ROOT)}:{self.line}"


def read(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def all_text() -> str:
    return "\n".join(read(path) for path in FILES)


def blocks(path: Path) -> Iterator[Block]:
    text = read(path)
    for match in _FENCE.finditer(text):
        line = text.count("\n", 0, match.start()) + 1
        yield Block(path, line, tuple(match[2].split()), textwrap.dedent(match[3]))


def prose(path: Path) -> str:
    return _FENCE.sub("", read(path))


def section(path: Path, title: str) -> str:
    """Return what stands under a heading, up to the next heading of its rank or a higher one."""
    text = read(path)
    match = re.search(rf"^(#+) {re.escape(title)}$", text, re.MULTILINE)
    assert match is not None, f"{path.name} has no section {title!r}"
    rest = text[match.end() :]
    end = re.search(rf"^#{{1,{len(match[1])}}} ", rest, re.MULTILINE)
    return rest[: end.start()] if end else rest


def rows(text: str) -> list[list[str]]:
    """Return the rows of every table in a text, without heads and rules."""
    found: list[list[str]] = []
    lines = [line.strip() for line in text.splitlines()]
    for number, line in enumerate(lines):
        is_rule = line.startswith("|--")
        is_head = number + 1 < len(lines) and lines[number + 1].startswith("|--")
        if line.startswith("|") and not is_rule and not is_head:
            found.append([cell.strip() for cell in line.strip("|").split("|")])
    return found


def code(cell: str) -> list[str]:
    """Return the words in backquotes, fenced blocks apart."""
    return re.findall(r"`([^`]+)`", _FENCE.sub("", cell))


def first_column(text: str) -> list[str]:
    return [word for row in rows(text) for word in code(row[0])]


def links(path: Path) -> list[str]:
    return _LINK.findall(prose(path))


def anchors(path: Path) -> set[str]:
    """Return the anchors that the headings of a file get at its host."""
    words = (re.sub(r"[^\w\- ]", "", heading.replace("`", "").lower()) for heading in _HEADING.findall(prose(path)))
    return {word.replace(" ", "-") for word in words}
