"""The translations are complete, and compiled."""

from __future__ import annotations

import gettext
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from django.utils import translation

from django_verigator.forms import EnrolForm

PACKAGE = Path(__file__).resolve().parents[2] / "django_verigator"
LANGUAGES = ["de", "et"]
UPDATE = "cd django_verigator && django-admin makemessages -l de -l et --no-location --no-wrap --no-obsolete"

needs_gettext = pytest.mark.skipif(shutil.which("msgfmt") is None, reason="GNU gettext is not installed")


def source(language: str) -> Path:
    return PACKAGE / "locale" / language / "LC_MESSAGES" / "django.po"


def catalog(compiled: Path) -> dict[Any, str]:
    """All translations; where there are plurals, the key is a pair of the text and the number of its form."""
    with compiled.open("rb") as file:
        return dict(gettext.GNUTranslations(file)._catalog)  # type: ignore[attr-defined]


def run(*command: str | Path, cwd: Path) -> None:
    # The settings of the tests are not to be found from there, and not needed.
    env = {name: value for name, value in os.environ.items() if name != "DJANGO_SETTINGS_MODULE"}
    ended = subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr


def compile_to(target: Path, po: Path) -> dict[Any, str]:
    # Checks the placeholders too. Leaves out what is not translated, and what is marked as fuzzy.
    run("msgfmt", "--check-format", "--output-file", target, po, cwd=target.parent)
    return catalog(target)


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> set[Any]:
    """Every text that code and templates mark for translation."""
    copy = tmp_path_factory.mktemp("texts") / "django_verigator"
    shutil.copytree(PACKAGE, copy, ignore=shutil.ignore_patterns("locale", "__pycache__"))
    (copy / "locale").mkdir()
    run(sys.executable, "-m", "django", "makemessages", "--locale=en", "--no-wrap", cwd=copy)
    found = copy / "locale" / "en" / "LC_MESSAGES" / "django.po"
    run("msgen", "--output-file", found, found, cwd=copy)
    return set(compile_to(copy / "en.mo", found))


@needs_gettext
@pytest.mark.parametrize("language", LANGUAGES)
def test_translation__has_every_text_and_no_other(language: str, texts: set[Any], tmp_path: Path) -> None:
    translated = set(compile_to(tmp_path / "django.mo", source(language)))
    assert translated - texts == set(), UPDATE
    assert texts - translated == set(), UPDATE


@needs_gettext
@pytest.mark.parametrize("language", LANGUAGES)
def test_translation__is_compiled(language: str, tmp_path: Path) -> None:
    expected = compile_to(tmp_path / "django.mo", source(language))
    assert catalog(source(language).with_suffix(".mo")) == expected, "django-admin compilemessages"


@pytest.mark.parametrize("language", LANGUAGES)
def test_translation__keeps_the_markup_and_the_stop(language: str) -> None:
    translations = catalog(source(language).with_suffix(".mo"))
    for key, translated in translations.items():
        text = key if isinstance(key, str) else key[0]
        if text:
            assert sorted(re.findall(r"<.*?>", translated)) == sorted(re.findall(r"<.*?>", text)), text
            assert translated.endswith(".") == text.endswith("."), text
            assert translated == translated.strip(), text


@pytest.mark.parametrize(
    ("language", "label"), [("de", "Telefonnummer"), ("et", "Telefoninumber"), ("en", "Phone number")]
)
def test_form__speaks(language: str, label: str) -> None:
    with translation.override(language):
        assert str(EnrolForm.base_fields["phone"].label) == label
