"""The example site as its users run it: commands in processes of their own, files in a directory of the test's."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
MANAGE = ROOT / "example_project" / "manage.py"
PASSWORD = "flat white 67"
SECONDS = 60
# What a developer's shell may hold and the settings would read.
READ_BY_SETTINGS = re.compile(r"DJANGO_|VERIGATOR_|SECURE_|SANDBOX_|(DEBUG|SECRET_KEY|ALLOWED_HOSTS|DATABASE_URL)$")


def command(*arguments: str) -> list[str]:
    # Warnings are errors here as in the rest of the suite.
    return [sys.executable, "-W", "error", str(MANAGE), *arguments]


def environment(folder: Path, **more: str) -> dict[str, str]:
    mine = {name: value for name, value in os.environ.items() if not READ_BY_SETTINGS.match(name)}
    files = {"DATABASE_URL": f"sqlite:///{folder}/db.sqlite3", "SANDBOX_DB": f"{folder}/sandbox.sqlite3"}
    return {**mine, "PYTHONPATH": str(ROOT), "PYTHONIOENCODING": "utf-8", **files, **more}


def manage(folder: Path, *arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
    """Run one of the example's commands to its end, from another directory than the checkout."""
    return subprocess.run(
        command(*arguments),
        cwd=folder,
        env=environment(folder, **more),
        capture_output=True,
        encoding="utf-8",
        timeout=SECONDS,
        check=False,
    )


@dataclass(frozen=True)
class Demo:
    site: str
    phone: str
    said: str


@contextmanager
def serving(folder: Path, *arguments: str, **more: str) -> Iterator[Demo]:
    """Run the demo on free ports until the block ends."""
    process = subprocess.Popen(
        command("demo", "--port", "0", "--sandbox-port", "0", *arguments),
        cwd=folder,
        env=environment(folder, **more),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
    )
    assert process.stdout is not None
    too_late = threading.Timer(SECONDS, process.kill)
    too_late.start()
    said = ""
    try:
        for line in process.stdout:
            said += line
            if line.startswith("Stop with"):
                break
        too_late.cancel()
        addresses = re.findall(r"^The (?:site|phone): +(http://127\.0\.0\.1:\d+)/", said, re.MULTILINE)
        assert len(addresses) == 2, f"the demo did not get to serving:\n{said}"
        yield Demo(*addresses, said)
    finally:
        too_late.cancel()
        process.terminate()
        rest = process.communicate(timeout=SECONDS)[0]
        print(rest)
    assert process.returncode == 0, rest
