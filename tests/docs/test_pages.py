"""The tables of docs/ are those of the code."""

from __future__ import annotations

import argparse
import inspect
import re

import pytest
from django.core.management import call_command

from django_verigator import check_ids, exceptions, testing, urls
from django_verigator.backends.base import BaseBackend
from django_verigator.backends.number_verification import NumberVerificationBackend
from django_verigator.backends.omnichannel import OmnichannelBackend
from django_verigator.backends.twilio_verify import TwilioVerifyBackend
from django_verigator.backends.verigator import VerigatorBackend
from django_verigator.checks import deploy
from django_verigator.client import errors
from django_verigator.exceptions import Reason
from django_verigator.models import Challenge, RemoteDeletion, VerigatorUser
from django_verigator.sandbox import Sandbox, faults
from django_verigator.sandbox.__main__ import add_arguments
from django_verigator.sandbox.control_api import ControlApi
from django_verigator.sandbox.routing import OPERATIONS

from ..conftest import give_password
from .markdown import DOCS, ROOT, code, first_column, read, rows, section

_CHECK_ID = re.compile(r"id=check_ids\.(\w+)")
TEMPLATES = ROOT / "django_verigator" / "templates"


def test_checks__are_all_explained() -> None:
    package = ROOT / "django_verigator"
    sources = map(read, [*(package / "checks").glob("*.py"), *(package / "backends").glob("*.py")])
    ids = {value for name, value in vars(check_ids).items() if name.isupper()}
    page = rows(read(DOCS / "checks.md"))
    assert {row[0].strip("`") for row in page} == ids
    assert {getattr(check_ids, name) for source in sources for name in _CHECK_ID.findall(source)} == ids
    functions = (deploy.check_deploy, deploy._check_numbers, deploy._check_phone_of_users)
    named = _CHECK_ID.findall("".join(map(inspect.getsource, functions)))
    assert {row[0].strip("`") for row in page if "*deploy*" in row[1]} == {getattr(check_ids, name) for name in named}


def test_exceptions__are_all_listed_with_their_reason() -> None:
    classes = [
        cls for cls in vars(exceptions).values() if isinstance(cls, type) and issubclass(cls, exceptions.VerigatorError)
    ]
    page = rows(section(DOCS / "client.md", "Exceptions"))
    assert [(row[0].strip("`"), row[1].strip("`")) for row in page] == [(cls.__name__, cls.reason) for cls in classes]


def test_words_for_a_connection_that_failed__are_all_listed() -> None:
    page = rows(section(DOCS / "client.md", "Why a connection failed"))
    assert {word for row in page for word in code(row[0])} == {*errors.WHY, "proxy_", "unexpected"}


def test_reasons__exist() -> None:
    first = section(DOCS / "signals-and-log.md", "Reasons").split(".")[0]
    assert set(code(first)) - {"reason", "verification_failed"} <= {reason.value for reason in Reason}


@pytest.mark.parametrize(
    ("title", "backend"),
    [
        ("Verigator", VerigatorBackend),
        ("Number Verification", NumberVerificationBackend),
        ("Twilio Verify", TwilioVerifyBackend),
        ("Omnichannel", OmnichannelBackend),
    ],
)
def test_backend_options__are_those_of_the_backend(title: str, backend: type[BaseBackend]) -> None:
    parameters = inspect.signature(backend).parameters
    options = [p.name for p in parameters.values() if p.kind is p.KEYWORD_ONLY]
    page = rows(section(DOCS / "backends.md", title))
    assert [name for row in page for name in code(row[0])] == options
    for row in page:
        shown = row[1].strip("`")
        for name in code(row[0]):
            default = parameters[name].default
            assert shown == (str(default) if default != "" else "none")


def test_backend_methods__are_those_of_the_base_class() -> None:
    page = first_column(section(DOCS / "adding-a-backend.md", "The methods"))
    for call in page:
        name, _, given = call.rstrip(")").partition("(")
        wanted = [part.partition("=")[0] for part in given.split(", ") if part not in ("", "*")]
        assert list(inspect.signature(getattr(BaseBackend, name)).parameters)[1:] == wanted
    methods = [name for name, value in vars(BaseBackend).items() if inspect.isfunction(value) and name[0] != "_"]
    assert [call.partition("(")[0] for call in page] == methods


def test_states__are_those_of_the_link() -> None:
    page = rows(section(DOCS / "registration.md", "States"))
    assert [(row[0].strip("`"), row[1]) for row in page] == [(s.value, str(s.label)) for s in VerigatorUser.State]


def test_support_page__names_states_and_outcomes_as_they_are_shown() -> None:
    first = [name for row in rows(section(DOCS / "support.md", '"No SMS comes"')) for name in row[0].split(", ")]
    labels = [str(choice.label) for choices in (Challenge.Outcome, VerigatorUser.State) for choice in choices]
    assert [name for name in first if name not in labels] == []
    assert {str(state.label) for state in VerigatorUser.State} <= set(first)


def test_pages__are_all_listed() -> None:
    page = rows(section(DOCS / "customising.md", "Pages"))
    listed = {row[0].strip("`"): row[1].strip("`") for row in page}
    assert listed == {f"verigator:{pattern.name}": str(pattern.pattern) for pattern in urls.urlpatterns}


def test_template_blocks__are_all_listed() -> None:
    page = rows(section(DOCS / "customising.md", "Templates"))
    listed = {row[0].strip("`"): set(code(row[1])) for row in page if ".html" in row[0]}
    found = {
        str(path.relative_to(TEMPLATES)): set(re.findall(r"{% block (\w+) %}", read(path)))
        for path in (TEMPLATES / "django_verigator").glob("*.html")
    }
    base = found["django_verigator/base.html"]
    assert listed == {name: blocks if "base" in name else blocks - base for name, blocks in found.items()}


def test_languages__are_those_that_come_with_the_package() -> None:
    languages = [path.name for path in (ROOT / "django_verigator" / "locale").iterdir() if path.is_dir()]
    assert set(code(section(DOCS / "customising.md", "Texts"))) - {"LOCALE_PATHS"} == set(languages)


def test_variables_of_the_pin_page__are_all_listed(client, alice) -> None:
    give_password(client)
    known = set(client.get("/accounts/verify/").context_data) - {"view"}
    page = [row for row in rows(section(DOCS / "customising.md", "Templates")) if ".html" not in row[0]]
    assert {name for row in page for name in code(row[0])} == known


def test_sandbox_options__are_all_listed() -> None:
    parser = argparse.ArgumentParser(add_help=False)
    add_arguments(parser)
    options = {option: action for action in parser._actions for option in action.option_strings}
    page = rows(section(DOCS / "sandbox.md", "Options"))
    assert {name for row in page for name in code(row[0])} == set(options)
    for row in page:
        for name, shown in zip(code(row[0]), code(row[1]), strict=False):
            assert str(options[name].default) == shown


def test_sandbox_calls__are_all_listed() -> None:
    listed = set()
    for row in rows(section(DOCS / "sandbox.md", "The phone page and its API")):
        words = re.sub(r"[`,]", "", row[0]).split()
        name = words[-1].removeprefix("/_sandbox/").partition("?")[0]
        listed |= {(method, name) for method in words[:-1]}
    with Sandbox(username="user", password="secret") as sandbox:
        calls = ControlApi(sandbox).operations
    assert listed == {(method, name) for name, methods in calls.items() for method in methods}


def test_faults__are_all_listed() -> None:
    text = section(DOCS / "sandbox.md", "Faults")
    assert first_column(text) == list(faults.KEYS)
    words = set(code(text))
    assert {key for keys in faults.KEYS.values() for key in keys} <= words
    assert faults.COMMON_KEYS - {"fault"} <= words
    assert set(OPERATIONS) <= words


def test_test_helpers__are_all_listed() -> None:
    names = {call.partition("(")[0] for call in first_column(read(DOCS / "testing.md"))}
    assert names == set(testing.__all__) - {"Message"}


@pytest.mark.django_db
def test_new_number__is_taken_over_after_a_reset_alone(client, alice) -> None:
    testing.login_verified(client, alice)
    old = alice.verigator.verigator_id
    alice.phone_number = "+37255500068"
    alice.save()
    assert VerigatorUser.objects.get(user=alice).phone_number == "+37255500068"  # nobody had confirmed the old one
    give_password(client)
    client.post("/accounts/verify/", {"pin": testing.last_pin("+37255500068")})
    alice.phone_number = "+37255500069"
    alice.save()
    assert VerigatorUser.objects.get(user=alice).phone_number == "+37255500068"
    call_command("verigator_reset", "alice")
    give_password(client)
    assert testing.outbox[-1].to == "+37255500069"
    assert RemoteDeletion.objects.filter(verigator_id=old).exists()
