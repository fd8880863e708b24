"""Blocks marked ``run`` do run: ``run sandbox`` with an ``endpoint``. ``of``: a file of ours; ``in``: a part of one."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from django_verigator.sandbox import Sandbox

from .markdown import FILES, ROOT, Block, blocks

RUN = [block for path in FILES for block in blocks(path) if block.info[:2] == ("python", "run")]
QUOTED = [block for path in FILES for block in blocks(path) if block.info[:2] == ("python", "of")]
PARTS = [block for path in FILES for block in blocks(path) if block.info[:2] == ("python", "in")]
SUITES = [block for block in RUN if "def test_" in block.text]
SCRIPTS = [block for block in RUN if block not in SUITES]


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(username="user", password="secret") as running:
        yield running


@pytest.mark.parametrize("block", SCRIPTS, ids=str)
def test_snippet__runs(block: Block, request: pytest.FixtureRequest, db: None) -> None:
    given = {name: request.getfixturevalue(name) for name in block.info[2:]}
    names = {"__name__": "docs.snippet"}
    if "sandbox" in given:
        names["endpoint"] = given["sandbox"].url
    exec(compile(block.text, str(block), "exec"), names)  # noqa: S102


@pytest.mark.parametrize("block", SUITES, ids=str)
def test_snippet_of_tests__passes(block: Block, tmp_path: Path) -> None:
    suite = tmp_path / "test_snippet.py"
    suite.write_text(block.text, encoding="utf-8")
    pytest_run = [sys.executable, "-m", "pytest", "-q", "-c", str(ROOT / "pyproject.toml"), "-p", "tests.conftest"]
    done = subprocess.run([*pytest_run, str(suite)], cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{block.text.count('def test_')} passed" in done.stdout


@pytest.mark.parametrize("block", QUOTED, ids=str)
def test_quoted_file__is_that_file(block: Block) -> None:
    assert block.text == (ROOT / block.info[2]).read_text(encoding="utf-8")


@pytest.mark.parametrize("block", PARTS, ids=str)
def test_quoted_part__is_in_that_file(block: Block) -> None:
    assert block.text in (ROOT / block.info[2]).read_text(encoding="utf-8")


def test_every_page_with_python__runs_some() -> None:
    shown = {path for path in FILES for block in blocks(path) if block.info[:1] == ("python",)}
    assert shown - {block.path for block in [*RUN, *QUOTED, *PARTS]} == set()
