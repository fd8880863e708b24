"""Reads catalogue.txt: the protections that are taken away, one at a time.

A mutation begins with ``* `` and what the site then no longer does. ``tests:`` are words for pytest's ``-k`` (ids that
tests carry in a marker, as a rule): those tests run first. ``suite:`` is where its tests are, if not in ``EVERYWHERE``.

Then each ``--- module:name`` is followed by lines as in a diff: ``-`` goes, ``+`` comes, a blank in front stays. The
module is below django_verigator; the name is that of a function, or of a class, or ``Class.method``, or
``function.inner``. Without a name it is what stands in the module itself. The lines that go or stay must stand there
exactly once; comments and empty lines are left out on both sides. Lines that come alone come at the beginning of the
body.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from . import source
from .source import Missing

CATALOGUE = Path(__file__).with_name("catalogue.txt")
EVERYWHERE = ("tests/attacks", "tests/test_*.py")


@dataclass(frozen=True)
class Edit:
    place: str
    lines: list[str] = field(default_factory=list)

    @property
    def module(self) -> str:
        return self.place.partition(":")[0]

    def apply(self, text: str) -> str:
        """Return the module's source without the protection.

        Raises:
            Missing: the name or the lines.
        """
        old, new = ([line[1:] for line in self.lines if line[:1] in kept] for kept in (" -", " +"))
        try:
            return source.replace(text, self.place.partition(":")[2], old, new)
        except Missing as error:
            raise Missing(f"{self.place}: {error}") from None


@dataclass(frozen=True)
class Mutation:
    name: str
    tests: str = ""
    suite: tuple[str, ...] = EVERYWHERE
    edits: tuple[Edit, ...] = ()

    def texts(self, package: Path) -> dict[Path, str]:
        """Return the files that differ, with the texts they have without the protection.

        Raises:
            Missing: a module, a name in it, or the lines.
        """
        found: dict[Path, str] = {}
        for edit in self.edits:
            path = source.path_of(package, edit.module)
            found[path] = edit.apply(found.get(path) or path.read_text())
        return found


def read() -> list[Mutation]:
    blocks = f"\n{CATALOGUE.read_text()}".split("\n* ")
    return [_parse(block.splitlines()) for block in blocks[1:]]


def _parse(lines: list[str]) -> Mutation:
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
    return Mutation(lines[0], fields["tests"], suite, tuple(edits))
