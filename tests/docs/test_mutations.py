"""The table of docs/mutations.md is about the mutations of the catalogue, and these are about the code."""

from __future__ import annotations

import pytest

from tests.mutations import catalogue, source
from tests.mutations.__main__ import problems

from .markdown import DOCS, ROOT, read, rows

SOURCE = """\
LIMIT = 5


class Door:
    # Whom it lets in.
    def admit(self, user):
        \"\"\"Say whether the user gets in.\"\"\"
        if not user.is_active:  # any more
            return False

        # The rest is up to the list.
        return user in self.guests


def admit(user):
    if not user.is_active:
        return False
    return True
"""


def test_catalogue__fits_the_code() -> None:
    assert problems(catalogue.read()) == []


def test_table__has_each_mutation_and_who_noticed_it() -> None:
    table = dict(rows(read(DOCS / "mutations.md")))
    assert list(table) == [mutation.name for mutation in catalogue.read()]
    for noticed_by in table.values():
        path, *_, test = noticed_by.strip("`").split("::")
        # A class of tests may have them from another file of its folder.
        files = (ROOT / "tests" / path).parent.glob("*.py") if "::Test" in noticed_by else [ROOT / "tests" / path]
        assert any(f"def {test}(" in read(file) for file in files), noticed_by


@pytest.mark.parametrize(
    ("place", "lines", "gone", "come"),
    [
        ("door:Door.admit", ["-        if not user.is_active:", "+        if False:"], "is_active:  # any", "False:"),
        ("door:admit", ["-        return False", "+        pass"], "        return False\n    return True", "pass"),
        ("door", ["-LIMIT = 5", "+LIMIT = 500"], "= 5\n", "= 500\n"),
        ("door:Door.admit", ["             return False", "-        return user in self.guests"], "guests", "False"),
        ("door:Door.admit", ["+        return True"], "", '"""\n        return True\n        if'),
    ],
)
def test_edit__is_made_where_its_place_says(place: str, lines: list[str], gone: str, come: str) -> None:
    mutated = catalogue.Edit(place, lines).apply(SOURCE)
    assert come in mutated
    assert not gone or (gone in SOURCE and gone not in mutated)


@pytest.mark.parametrize(
    ("place", "lines", "expected"),
    [
        ("door:Window.admit", ["-    return True"], "Window is there 0 times"),
        ("door:Door.close", ["-    return True"], "close is there 0 times"),
        ("door:Door.admit", ["-    return True"], "these lines are there 0 times:\n    return True"),
        ("door", ["-    return True"], "these lines are there 0 times"),
    ],
)
def test_edit__says_what_is_missing(place: str, lines: list[str], expected: str) -> None:
    with pytest.raises(source.Missing, match=expected):
        catalogue.Edit(place, lines).apply(SOURCE)


def test_module__that_is_missing_is_named() -> None:
    with pytest.raises(source.Missing, match=r"no module flows\.door"):
        source.path_of(ROOT / "django_verigator", "flows.door")
