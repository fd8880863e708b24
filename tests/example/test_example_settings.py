"""The example's settings: a development site by default, a real one when the environment says so."""

from __future__ import annotations

from pathlib import Path

import pytest

from .running import manage

PRODUCTION = {
    "SECRET_KEY": "Rf8^mZq2!vKx7@pLw4#nTb9$cYd6&hGs3*jEu5(aWo1)iXr0-kQ",
    "ALLOWED_HOSTS": "cafe.example",
    "VERIGATOR_USERNAME": "api user",
    "VERIGATOR_PASSWORD": "api password",
    "VERIGATOR_SERVICE_ID": "0f4e5b8e-6f0c-4a50-9f0d-2f6b7f6d1c11",
}
SHOW = (
    "from django.conf import settings as s; from django_verigator.backends import backends;"
    "print(s.DEBUG, backends.default.is_stand_in, backends.default.service_id, backends.default.api)"
)


@pytest.mark.threat("L06")
@pytest.mark.parametrize("more", [{}, {"DEBUG": "False"}])
def test_check_deploy__clean(tmp_path: Path, more: dict[str, str]) -> None:
    """With production values Django's deployment checks and ours find nothing."""
    ended = manage(tmp_path, "check", "--deploy", "--fail-level", "WARNING", **PRODUCTION, **more)
    assert ended.returncode == 0, ended.stderr
    assert "no issues (0 silenced)" in ended.stdout


def test_check_deploy__without_credentials(tmp_path: Path) -> None:
    """A real site never falls back to the sandbox: it is told what is missing."""
    given = {name: value for name, value in PRODUCTION.items() if not name.startswith("VERIGATOR_")}
    ended = manage(tmp_path, "check", **given)
    assert ended.returncode == 1
    assert "(verigator.E00" in ended.stderr
    assert "username" in ended.stderr


def test_check__development(tmp_path: Path) -> None:
    """With nothing set the site stands, and says what to do before the first PIN."""
    ended = manage(tmp_path, "check")
    assert ended.returncode == 0
    assert "(cafe.W001)" in ended.stderr
    assert "manage.py demo" in ended.stderr


def test_settings__real_service(tmp_path: Path) -> None:
    """Three variables lead to the real service, also with DEBUG on."""
    ended = manage(tmp_path, "shell", "--command", SHOW, **PRODUCTION, DEBUG="on")
    assert f"True False {PRODUCTION['VERIGATOR_SERVICE_ID']}" in ended.stdout
    assert PRODUCTION["VERIGATOR_PASSWORD"] not in ended.stdout


def test_models__migrated(tmp_path: Path) -> None:
    """The example's migrations and its models agree."""
    ended = manage(tmp_path, "makemigrations", "--check", "--dry-run")
    assert ended.returncode == 0, ended.stdout + ended.stderr
