"""Every program of the tests and benchmarks that the pages name starts by itself, without pytest's settings."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from importlib.util import find_spec

import pytest

from .markdown import ROOT, read

PAGES = [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), ROOT / "tests/README.md", ROOT / "benchmarks/README.md"]
PROGRAMS = sorted(
    {name for page in PAGES for name in re.findall(r"python -m ((?:tests|benchmarks)[a-z_.]*)", read(page))}
)
NEEDS = {"benchmarks.outage": "gunicorn"}


def test_programs__are_found() -> None:
    assert {"tests.bulk", "tests.mutations", "benchmarks"} <= set(PROGRAMS)


@pytest.mark.parametrize("program", PROGRAMS)
def test_program__can_be_loaded_without_settings(program: str) -> None:
    if find_spec(NEEDS.get(program, "os")) is None:
        pytest.skip(f"{NEEDS[program]} is not installed")
    name = program if find_spec(program).submodule_search_locations is None else f"{program}.__main__"  # type: ignore[union-attr]
    environment = {key: value for key, value in os.environ.items() if key != "DJANGO_SETTINGS_MODULE"}
    ran = subprocess.run(
        [sys.executable, "-c", f"import {name}"], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stderr
