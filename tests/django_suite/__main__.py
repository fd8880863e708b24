"""Run parts of Django's own suite twice, plain and with this app and its middleware, and compare what fails.

python -m tests.django_suite --django 5.2                      the parts in PARTS
python -m tests.django_suite --django 6.1 auth_tests           one of them
python -m tests.django_suite --django 6.1 --keep DIRECTORY     keeps what it installed and fetched

Needs an index of packages: Django's sdist holds the tests. It takes some minutes. Ends with an error when a test fails
with the app alone and is not in by_design.txt, or is there and does not fail.
"""

from __future__ import annotations

import argparse
import fnmatch
import re
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
PARTS = (
    "auth_tests",
    "admin_views",
    "sessions_tests",
    "messages_tests",
    "csrf_tests",
    "test_client",
    "test_client_regress",
)
BY_DESIGN = HERE / "by_design.txt"
_FAILED = re.compile(r"^(?:FAIL|ERROR): (\w+) \(([\w.]+)\)", re.MULTILINE)
_RAN = re.compile(r"^Ran (\d+) tests? in", re.MULTILINE)


def by_design() -> dict[str, str]:
    """Return the reasons by patterns of tests."""
    lines = BY_DESIGN.read_text(encoding="utf-8").splitlines()
    entries = (line.partition("|") for line in lines if line.strip() and not line.startswith("#"))
    return {pattern.strip(): reason.strip() for pattern, _, reason in entries}


def prepare(work: Path, django: str) -> tuple[Path, Path]:
    """Return a Python that has Django, and the folder of its tests."""
    python = work / f"venv-{django}" / "bin" / "python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", python.parents[1]], check=True)
        pip = [python, "-m", "pip", "install", "--quiet"]
        subprocess.run([*pip, f"Django~={django}.0", "requests", "phonenumberslite", "jinja2"], check=True)
    show = [python, "-c", "import django; print(django.__version__)"]
    version = subprocess.run(show, check=True, capture_output=True, text=True).stdout.strip()
    tests = work / f"django-{version}" / "tests"
    if not tests.exists():
        wanted = ["--no-deps", "--no-binary", ":all:", "--dest", str(work), f"Django=={version}"]
        subprocess.run([python, "-m", "pip", "download", "--quiet", *wanted], check=True)
        with tarfile.open(work / f"django-{version}.tar.gz") as sdist:
            sdist.extractall(work, filter="data")
    return python, tests


def run(python: Path, tests: Path, parts: list[str], *, with_app: bool) -> tuple[set[str], int]:
    """Return the tests that failed, and how many were run."""
    command = [python, HERE / "runner.py", "with" if with_app else "plain", "--parallel=1", *parts]
    done = subprocess.run(command, cwd=tests, check=False, capture_output=True, text=True, errors="replace")
    told = done.stdout + done.stderr
    (tests.parent / f"{'with' if with_app else 'plain'}.log").write_text(told, encoding="utf-8")
    ran = _RAN.search(told)
    if ran is None:
        sys.exit(f"Django's tests did not run:\n{told[-3000:]}")
    return {f"{where.removesuffix('.' + name)}.{name}" for name, where in _FAILED.findall(told)}, int(ran[1])


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.django_suite", description=__doc__.partition("\n")[0])
    parser.add_argument("--django", default="5.2", metavar="X.Y", help="version of Django (default: 5.2)")
    parser.add_argument("--keep", type=Path, metavar="DIRECTORY", help="where to keep what was installed and fetched")
    parser.add_argument("part", nargs="*", default=PARTS, help="parts of Django's suite")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        work = options.keep or Path(temporary)
        work.mkdir(parents=True, exist_ok=True)
        python, tests = prepare(work.resolve(), options.django)
        plain, count = run(python, tests, list(options.part), with_app=False)
        print(f"{tests.parent.name}, plain: {len(plain)} of {count} fail", flush=True)
        ours, count = run(python, tests, list(options.part), with_app=True)
        print(f"{tests.parent.name}, with the app: {len(ours)} of {count} fail", flush=True)
    known = by_design()
    found = {test: next((key for key in known if fnmatch.fnmatch(test, key)), "") for test in sorted(ours - plain)}
    for test, key in found.items():
        print(f"  {test}: {known[key] if key else 'NOT by design'}")
    return int("" in found.values())


if __name__ == "__main__":
    sys.exit(main())
