"""Every relative link leads to a file, and every anchor to a heading."""

from __future__ import annotations

from pathlib import Path

import pytest

from .markdown import DOCS, FILES, README, ROOT, anchors, links


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_links__lead_somewhere(path: Path) -> None:
    broken = []
    for link in links(path):
        if link.startswith(("https://", "http://")):
            continue
        name, _, anchor = link.partition("#")
        target = (path.parent / name).resolve() if name else path
        if not target.is_file() or (anchor and anchor not in anchors(target)):
            broken.append(link)
    assert broken == []


def test_readme__leads_to_every_page() -> None:
    linked = {link.partition("#")[0] for link in links(README)}
    assert [page.name for page in DOCS.glob("*.md") if f"docs/{page.name}" not in linked] == []
