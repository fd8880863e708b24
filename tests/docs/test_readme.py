"""What the README promises: two commands, a true settings table, settings that pass the checks, no locked-out admin."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from django.core.management import get_commands
from django.urls import reverse

from django_verigator import conf, testing

from . import settings_table
from .markdown import README, Block, all_text, blocks, code, read, rows, section

PASSWORD = "correct horse"


@pytest.mark.parametrize(("title", "ends"), [("Run it", "demo"), ("Test it", "pytest -n 2 -m fast")])
def test_sections__have_one_command_line_in_their_first_console_block(title: str, ends: str) -> None:
    fence = section(README, title).split("```console\n")[1].split("```")[0]
    lines = fence.splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("python3 -m venv .venv && ")
    assert lines[0].endswith(ends)


@pytest.mark.parametrize(("path", "cls"), settings_table.PLACES.items())
def test_settings_table__is_what_conf_declares(path: Path, cls: type) -> None:
    _, between, _ = settings_table.split(read(path))
    assert [row[0].strip("`") for row in rows(between)] == list(cls.__dataclass_fields__)
    assert between == settings_table.table(cls), "run: python -m tests.docs.settings_table"


def _settings_blocks() -> list[Block]:
    return [block for block in blocks(README) if block.info == ("python",) and "VERIGATOR = {" in block.text]


def test_settings_shown__can_be_used_and_those_for_tests_keep_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MESSENTE_USERNAME", "user")
    monkeypatch.setenv("MESSENTE_PASSWORD", "secret")
    names: dict[str, Any] = {"os": os}
    shown = []
    for block in _settings_blocks():
        exec(block.text, names)  # noqa: S102
        assert conf.problems(names["VERIGATOR"]) == []
        shown.append(names["VERIGATOR"])
        names["VERIGATOR"] = {**names["VERIGATOR"], "PHONE": "profile.phone", "REQUIRED": "all"}
    of_tests = shown[-1]
    assert of_tests["STAND_IN"]
    assert (of_tests["PHONE"], of_tests["REQUIRED"]) == ("profile.phone", "all")


def test_commands__are_all_named() -> None:
    text = all_text()
    assert [name for name, app in get_commands().items() if app == "django_verigator" and name not in text] == []


@pytest.fixture
def root(db, django_user_model):
    return django_user_model.objects.create_superuser("root", password=PASSWORD)


def _asks_for_a_phone(word: str) -> bool:
    said = {name: row[1] for row in rows(section(README, "Add it to your site")) for name in code(row[0])}
    return said[f'"{word}"'].startswith("is asked for a phone")


@pytest.mark.parametrize("word", conf.REQUIRED_WORDS)
@pytest.mark.parametrize("page", ["verigator:login", "admin:login"])
def test_superuser_without_a_phone__gets_in_as_the_table_says(client, root, settings, word: str, page: str) -> None:
    settings.VERIGATOR = {**settings.VERIGATOR, "REQUIRED": word}
    given = {"username": "root", "password": PASSWORD, "next": "/admin/"}
    response = client.post(reverse(page), given, follow=True)
    if not _asks_for_a_phone(word):
        assert response.redirect_chain[-1][0] == "/admin/"
        return
    assert response.redirect_chain[-1][0] == "/accounts/enrol/"
    client.post("/accounts/enrol/", {"phone": "+372 5550 0099", "password": PASSWORD})
    response = client.post("/accounts/verify/", {"pin": testing.last_pin("+37255500099")})
    assert response["Location"] == "/admin/"
    assert client.get("/admin/").status_code == 200
