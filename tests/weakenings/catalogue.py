"""Reads catalogue.txt: the protections that are taken away, one at a time.

A weakening begins with ``* `` and what the site then no longer does. ``tests:`` are words for pytest's ``-k`` (ids that
tests carry in a marker, as a rule): those tests run first. ``suite:`` is where its tests are, if not in ``EVERYWHERE``.
Then each ``--- file`` (below django_verigator/) is followed by lines as in a diff: ``-`` goes, ``+`` comes, a blank in
front stays. The lines that go or stay must stand in the file exactly once.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

CATALOGUE = Path(__file__).with_name("catalogue.txt")
EVERYWHERE = ("tests/attacks", "tests/test_*.py")


class Moved(ValueError):  # noqa: N818 - the code has, and nothing is wrong with it
    """The code no longer reads as the catalogue says."""


@dataclass(frozen=True)
class Edit:
    file: str
    lines: list[str] = field(default_factory=list)

    def apply(self, text: str) -> str:
        """Return the file's text without the protection.

        Raises:
            Moved: the lines do not stand there, or more than once.
        """
        old, new = (
            "".join(f"{line[1:]}\n" for line in self.lines if line[:1] in kept) for kept in ((" ", "-"), (" ", "+"))
        )
        if f"\n{text}".count(f"\n{old}") != 1:
            raise Moved(f"{f'{chr(10)}{text}'.count(f'{chr(10)}{old}')} times in {self.file}:\n{old}")
        return f"\n{text}".replace(f"\n{old}", f"\n{new}")[1:]


@dataclass(frozen=True)
class Weakening:
    name: str
    tests: str = ""
    suite: tuple[str, ...] = EVERYWHERE
    edits: tuple[Edit, ...] = ()

    def texts(self, package: Path) -> dict[Path, str]:
        """Return the files that differ, with the texts they have without the protection (Moved as Edit says)."""
        found: dict[Path, str] = {}
        for edit in self.edits:
            path = package / edit.file
            found[path] = edit.apply(found.get(path) or path.read_text())
        return found


def read() -> list[Weakening]:
    blocks = CATALOGUE.read_text().split("\n* ")
    return [_parse(block.splitlines()) for block in blocks[1:]]


def _parse(lines: list[str]) -> Weakening:
    fields: dict[str, str] = {}
    edits: list[Edit] = []
    for line in lines[1:]:
        if line.startswith("--- "):
            edits.append(Edit(line[4:]))
        elif edits and line[:1] in ("-", "+", " "):
            edits[-1].lines.append(line)
        elif line.startswith("  "):
            key, _, value = line.strip().partition(": ")
            fields[key] = value
    suite = tuple(fields["suite"].split()) if "suite" in fields else EVERYWHERE
    return Weakening(lines[0], fields["tests"], suite, tuple(edits))
