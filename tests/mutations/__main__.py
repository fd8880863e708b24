"""Takes one protection away at a time and shows which test notices it: ``python -m tests.mutations``.

Works in copies of the tree in a temporary folder. Prints a table; ends with an error if a mutation was not noticed.
"""

from __future__ import annotations

import argparse
import os
import queue
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from .catalogue import Missing, Mutation, read

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "mutations.md"
COPIED = ("django_verigator", "tests", "docs", "example_project", "benchmarks", "pyproject.toml")
NOT_NOTICED, BROKEN, TOO_LONG = "NOT NOTICED", "DOES NOT RUN", "TOOK TOO LONG"
_FIRST_FAILURE = re.compile(r"^(?:FAILED|ERROR) (\S+?)(?:\[.*)?(?: - .*)?$", re.MULTILINE)


@dataclass(frozen=True)
class Result:
    mutation: Mutation
    noticed_by: str
    seconds: float
    output: str = ""

    @property
    def is_noticed(self) -> bool:
        return self.noticed_by not in (NOT_NOTICED, BROKEN, TOO_LONG)


def problems(mutations: list[Mutation]) -> list[str]:
    """Return where the catalogue is behind the code."""
    found = []
    for mutation in mutations:
        try:
            for path, text in mutation.texts(ROOT / "django_verigator").items():
                compile(text, path, "exec")
        except (Missing, SyntaxError, OSError) as error:
            found.append(f"{mutation.name}: {error}")
    names = [mutation.name for mutation in mutations]
    return found + [f"twice: {name}" for name in sorted(set(names)) if names.count(name) > 1]


@contextmanager
def mutated(root: Path, mutation: Mutation) -> Iterator[None]:
    texts = mutation.texts(root / "django_verigator")
    before = {path: path.read_text() for path in texts}
    try:
        for path, text in texts.items():
            path.write_text(text)
        yield
    finally:
        for path, text in before.items():
            path.write_text(text)


def expand(root: Path, pattern: str) -> list[str]:
    return [str(path.relative_to(root)) for path in sorted(root.glob(pattern))]


def pytest(root: Path, arguments: list[str], seconds: float) -> tuple[int | None, str]:
    """Run pytest in a copy; its exit code is None if it took too long."""
    environment = {
        **os.environ,
        "PYTHONDONTWRITEBYTECODE": "1",  # two versions of a file within a second would share one
        "PYTHONPATH": str(root),
        "TMPDIR": str(root.parent),
    }
    command = [sys.executable, "-m", "pytest", "-x", "-q", "--tb=line", "-m", "not browser and not server", *arguments]
    process = subprocess.Popen(
        command,
        cwd=root,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        output, _ = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        output, _ = process.communicate()
        return None, output
    return process.returncode, output


def verdict(code: int | None, output: str) -> str | None:
    """Return who noticed, or what went wrong; None if all tests passed (or none was chosen)."""
    if code is None:
        return TOO_LONG
    if code in (0, 5):
        return None
    failure = _FIRST_FAILURE.search(output)
    if code != 1 or failure is None or "::" not in failure[1]:
        return BROKEN
    return failure[1]


class Control:
    """The tree as it is. A test that fails there too has noticed nothing, and is not asked again."""

    def __init__(self, root: Path, seconds: float) -> None:
        self._root = root
        self._seconds = seconds
        self._lock = threading.Lock()
        self.passes: dict[str, bool] = {}

    def believes(self, test: str) -> bool:
        with self._lock:
            if test not in self.passes:
                self.passes[test] = pytest(self._root, [test], self._seconds)[0] == 0
            return self.passes[test]

    @property
    def failing(self) -> list[str]:
        return [test for test, passes in self.passes.items() if not passes]


def try_one(root: Path, mutation: Mutation, control: Control, options: argparse.Namespace) -> Result:
    """Run the tests that the catalogue names, then all others, until one fails."""
    began = time.monotonic()
    # Apart, since pytest-django would run the quick tests of both before the attacks.
    suites = [files for pattern in mutation.suite if (files := expand(root, pattern))]
    stages = [["-k", mutation.tests, *suite] for suite in suites] + ([] if options.named else suites[::-1])
    chance: list[str] = []
    with mutated(root, mutation):
        for arguments in stages:
            while True:
                aside = [f"--deselect={test}" for test in (*control.failing, *chance)]
                code, output = pytest(root, [*arguments, *aside], options.timeout)
                found = verdict(code, output)
                if found is None:
                    break
                if "::" not in found:
                    return Result(mutation, found, time.monotonic() - began, output)
                if not control.believes(found):
                    continue
                if pytest(root, [found], options.timeout)[0] == 1:
                    return Result(mutation, found, time.monotonic() - began, output)
                chance.append(found)  # by itself it passes: what failed was something else
    return Result(mutation, NOT_NOTICED, time.monotonic() - began)


def copy_tree(folder: Path) -> Path:
    target = folder / "tree"
    target.mkdir(parents=True)
    for name in COPIED:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, target / name, ignore=shutil.ignore_patterns("__pycache__", ".hypothesis"))
        else:
            shutil.copy(source, target / name)
    return target


def run(chosen: list[Mutation], options: argparse.Namespace) -> list[Result]:
    waiting: queue.SimpleQueue[tuple[int, Mutation]] = queue.SimpleQueue()
    for pair in enumerate(chosen):
        waiting.put(pair)
    results: dict[int, Result] = {}

    def work(root: Path) -> None:
        while True:
            try:
                number, mutation = waiting.get_nowait()
            except queue.Empty:
                return
            result = results[number] = try_one(root, mutation, control, options)
            print(
                f"{len(results)}/{len(chosen)} {result.seconds:4.0f} s  {mutation.name}: {result.noticed_by}",
                flush=True,
            )
            if result.noticed_by in (BROKEN, TOO_LONG):
                print(result.output[-2000:], flush=True)

    with tempfile.TemporaryDirectory(prefix="mutations-") as name:
        folder = Path(name)
        control = Control(copy_tree(folder / "as it is"), options.timeout)
        roots = [copy_tree(folder / str(number)) for number in range(options.at_once)]
        threads = [threading.Thread(target=work, args=(root,)) for root in roots]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    print(f"\nControl: the {sum(control.passes.values())} tests that noticed something pass on the tree as it is.")
    for test in control.failing:
        print(f"Left aside, as it fails there as well: {test}")
    return [results[number] for number in range(len(chosen))]


def table(results: list[Result]) -> str:
    return "\n".join(["| mutation | noticed by |", "|---|---|", *(row(result) for result in results)])


def row(result: Result) -> str:
    shown = f"`{result.noticed_by.removeprefix('tests/')}`" if result.is_noticed else f"**{result.noticed_by}**"
    return f"| {result.mutation.name} | {shown} |"


def write(results: list[Result], mutations: list[Mutation]) -> None:
    """Put these results into the table of the page, in the order of the catalogue; the others stay."""
    head, rule, old = PAGE.read_text(encoding="utf-8").partition("|---|---|\n")
    rows = {line.strip("| ").split(" | ")[0]: line for line in old.splitlines()}
    rows |= {result.mutation.name: row(result) for result in results}
    lines = [rows[mutation.name] for mutation in mutations if mutation.name in rows]
    PAGE.write_text(head + rule + "\n".join(lines) + "\n", encoding="utf-8")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.mutations", description=__doc__)
    parser.add_argument("-k", dest="words", action="append", help="only those with this in their name (repeatable)")
    parser.add_argument("-n", dest="at_once", type=int, default=2, help="how many at the same time")
    parser.add_argument("--timeout", type=float, default=600, help="seconds for one run of pytest")
    parser.add_argument("--named", action="store_true", help="only the tests that the catalogue names: quicker")
    parser.add_argument("--write", action="store_true", help="put the results into docs/mutations.md")
    parser.add_argument("--check", action="store_true", help="only see whether it all fits the code")
    options = parser.parse_args()
    mutations = read()
    found = problems(mutations)
    if found:
        print("\n\n".join(found))
        print(f"\n{len(found)} no longer fit the code: bring catalogue.txt up to date.")
        return 2
    chosen = [mutation for mutation in mutations if any(words in mutation.name for words in options.words or [""])]
    print(f"{len(mutations)} mutations, {len(chosen)} chosen")
    if options.check:
        return 0
    began = time.monotonic()
    results = run(chosen, options)
    if options.write:
        write(results, mutations)
    noticed = sum(result.is_noticed for result in results)
    print(
        f"\n{table(results)}\n\n{noticed} of {len(results)} noticed, in {(time.monotonic() - began) / 60:.0f} minutes"
    )
    return 0 if noticed == len(results) else 1


if __name__ == "__main__":
    sys.exit(main())
