"""What is in the wheel and the sdist, and that the wheel works where it is installed."""

from __future__ import annotations

import email
import re
import shutil
import subprocess
import sys
import tarfile
import threading
import urllib.request
import zipfile
from collections.abc import Iterator
from email.message import Message
from http import HTTPStatus
from pathlib import Path, PurePosixPath
from typing import Any

import pytest

import django_verigator

ROOT = Path(__file__).resolve().parents[2]
SECONDS = 120
# What git ignores, and what is no part of either archive.
LEFT_BEHIND = shutil.ignore_patterns(
    *(".*", "*.egg-info", "__pycache__", "*.py[cod]", "*.sqlite3*", "build", "dist", "staticfiles", "test-results")
)
# What a developer's tree holds, and nobody else wants.
JUNK = [
    "django_verigator/__pycache__/models.cpython-311.pyc",
    "django_verigator/db.sqlite3",
    "example_project/db.sqlite3",
    "example_project/sandbox.sqlite3-journal",
    "example_project/sandbox.sqlite3.service",
    "example_project/staticfiles/cafe.css",
    "tests/__pycache__/conftest.cpython-311.pyc",
]
IN_WHEEL = [
    "contrib/widget/templates/django_verigator/verify.html",
    "contrib/widget/templates/verigator_widget/return.html",
    "locale/de/LC_MESSAGES/django.mo",
    "locale/de/LC_MESSAGES/django.po",
    "locale/et/LC_MESSAGES/django.mo",
    "locale/et/LC_MESSAGES/django.po",
    "management/commands/verigator_sandbox.py",
    "management/commands/verigator_service.py",
    "management/commands/verigator_status.py",
    "management/commands/verigator_sync.py",
    "migrations/0001_initial.py",
    "migrations/__init__.py",
    "py.typed",
    "sandbox/__main__.py",
    "sandbox/static/index.html",
    "sandbox/static/phone.css",
    "sandbox/static/phone.js",
    "sandbox/static/widget.css",
    "sandbox/static/widget.html",
    "sandbox/static/widget.js",
    "static/django_verigator/verigator.css",
    "static/django_verigator/verigator.js",
    "templates/django_verigator/base.html",
    "templates/django_verigator/email/locked.txt",
    "templates/django_verigator/enrol.html",
    "templates/django_verigator/login.html",
    "templates/django_verigator/verify.html",
]
IN_SDIST = [
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "LICENSE",
    "README.md",
    "SECURITY.md",
    "example_project/manage.py",
    "noxfile.py",
    "pyproject.toml",
    "tests/README.md",
    "tests/client/certs/ca.pem",
    "tests/client/certs/server.key",
    "tests/conftest.py",
    "tests/sandbox/official_clients.json",
]


def run(*command: str | Path, cwd: Path) -> str:
    ended = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=SECONDS, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout


def files_below(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the checkout, as a clone would have it."""
    target = tmp_path_factory.mktemp("checkout") / "django_verigator"
    shutil.copytree(ROOT, target, ignore=LEFT_BEHIND)
    return target


@pytest.fixture(scope="module")
def built(tree: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with the sdist, and the wheel built from that sdist; the checkout had a developer's junk in it."""
    littered = tmp_path_factory.mktemp("littered") / "django_verigator"
    shutil.copytree(tree, littered)
    for name in JUNK:
        (littered / name).parent.mkdir(exist_ok=True)
        (littered / name).write_bytes(b"junk")
    target = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", target, littered, cwd=target)
    return target


@pytest.fixture(scope="module")
def wheel(built: Path) -> Path:
    (wheel,) = built.glob("*.whl")
    return wheel


@pytest.fixture(scope="module")
def in_wheel(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return {name for name in archive.namelist() if not name.endswith("/")}


@pytest.fixture(scope="module")
def in_sdist(built: Path) -> set[str]:
    (sdist,) = built.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        return {PurePosixPath(*PurePosixPath(m.name).parts[1:]).as_posix() for m in archive if m.isfile()}


@pytest.fixture(scope="module")
def metadata(wheel: Path) -> Message:
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        return email.message_from_bytes(archive.read(name))


@pytest.fixture(scope="module")
def unpacked(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("unpacked")
    shutil.unpack_archive(wheel, target, "zip")
    return target


@pytest.fixture(scope="module")
def bare_python(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Python that has the wheel and nothing else: no Django, no requests."""
    folder = tmp_path_factory.mktemp("bare")
    run(sys.executable, "-m", "venv", folder, cwd=folder)
    python = folder / ("Scripts" if sys.platform == "win32" else "bin") / "python"
    run(python, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", wheel, cwd=folder)
    return python


def test_wheel__holds_every_file_of_the_package(tree: Path, in_wheel: set[str]) -> None:
    package = {name for name in in_wheel if not name.split("/")[0].endswith(".dist-info")}
    assert package == {f"django_verigator/{name}" for name in files_below(tree / "django_verigator")}


@pytest.mark.parametrize("name", IN_WHEEL)
def test_wheel__holds(name: str, in_wheel: set[str]) -> None:
    assert f"django_verigator/{name}" in in_wheel


def test_wheel__holds_nothing_else(in_wheel: set[str]) -> None:
    assert {name.split("/")[0] for name in in_wheel} == {
        "django_verigator",
        f"django_verigator-{django_verigator.__version__}.dist-info",
    }


@pytest.mark.parametrize("folder", ["django_verigator", "tests", "example_project", "docs", "benchmarks"])
def test_sdist__holds_every_file_of(folder: str, tree: Path, in_sdist: set[str]) -> None:
    assert {name for name in in_sdist if name.startswith(f"{folder}/")} == {
        f"{folder}/{name}" for name in files_below(tree / folder)
    }


@pytest.mark.parametrize("name", IN_SDIST)
def test_sdist__holds(name: str, in_sdist: set[str]) -> None:
    assert name in in_sdist


def test_junk_of_a_checkout__is_in_neither(in_wheel: set[str], in_sdist: set[str]) -> None:
    assert not (in_wheel | in_sdist) & set(JUNK)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("Name", "django-verigator"),
        ("Version", django_verigator.__version__),
        ("Requires-Python", ">=3.10"),
        ("License-Expression", "BSD-3-Clause"),
        ("License-File", "LICENSE"),
        ("Description-Content-Type", "text/markdown"),
    ],
)
def test_metadata__says(field: str, value: str, metadata: Message) -> None:
    assert metadata[field] == value


def test_metadata__needs_three_packages_at_run_time(metadata: Message) -> None:
    required = [line for line in metadata.get_all("Requires-Dist", []) if "extra ==" not in line]
    assert {re.split(r"[<>=!~; ]", line)[0] for line in required} == {
        "Django",
        "phonenumberslite",
        "requests",
    }


def test_wheel__carries_its_licence(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        name = f"django_verigator-{django_verigator.__version__}.dist-info/licenses/LICENSE"
        assert archive.read(name) == (ROOT / "LICENSE").read_bytes()


# --- where it is installed --------------------------------------------------------------------------------------------


def imported_by(statement: str, folder: Path) -> set[str]:
    """The packages of others that a fresh Python has loaded after ``statement``; the wheel's files go before all."""
    program = f"{statement}; import sys; print(*sys.modules); print(sys.modules['django_verigator'].__file__)"
    modules, found_at = run(
        *(sys.executable, "-W", "error", "-c", f"import sys; sys.path.insert(0, {str(folder)!r}); {program}"),
        cwd=folder,
    ).splitlines()
    assert Path(found_at).is_relative_to(folder)
    return {name.split(".")[0] for name in modules.split()} - {"django_verigator"}


def test_package__imports_nothing_by_itself(unpacked: Path) -> None:
    assert not imported_by("import django_verigator", unpacked) & {"django", "requests", "urllib3", "phonenumbers"}


def test_client__needs_no_django(unpacked: Path) -> None:
    loaded = imported_by("from django_verigator.client import Api; Api('user', 'password').close()", unpacked)
    assert "django" not in loaded
    assert "requests" in loaded


def test_package__is_importable_alone(bare_python: Path, tmp_path: Path) -> None:
    said = run(bare_python, "-c", "import django_verigator as v; print(v.__version__)", cwd=tmp_path)
    assert said.strip() == django_verigator.__version__


def test_sandbox__helps_without_django_and_requests(bare_python: Path, tmp_path: Path) -> None:
    listed = run(bare_python, "-m", "pip", "list", "--format=freeze", cwd=tmp_path)
    assert not re.search(r"(?im)^(django|requests|urllib3|phonenumberslite)=", listed)
    assert "--create-status" in run(bare_python, "-m", "django_verigator.sandbox", "--help", cwd=tmp_path)


@pytest.fixture
def sandbox_url(bare_python: Path, tmp_path: Path) -> Iterator[str]:
    command: list[Any] = [bare_python, "-W", "error", "-m", "django_verigator.sandbox", "--port", "0"]
    with subprocess.Popen(
        [*command, "--username", "u", "--password", "p"], cwd=tmp_path, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout
        too_late = threading.Timer(SECONDS, process.kill)
        too_late.start()
        try:
            ready = re.fullmatch(r"Sandbox ready at (http://127\.0\.0\.1:\d+)/\n", process.stdout.readline())
            assert ready
            yield ready[1]
        finally:
            too_late.cancel()
            process.kill()


def test_sandbox__shows_its_phone_from_the_wheel(sandbox_url: str) -> None:
    directly = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with directly.open(f"{sandbox_url}/", timeout=10) as page:
        assert page.status == HTTPStatus.OK
        names = re.findall(r'(?:href|src)="(/[^"]+\.(?:css|js|svg))"', page.read().decode())
    assert {Path(name).suffix for name in names} >= {".css", ".js"}
    for name in names:
        with directly.open(sandbox_url + name, timeout=10) as answer:
            assert answer.status == HTTPStatus.OK
