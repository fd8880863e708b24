"""What error trackers send of an error, wherever one happens: no PIN, code or number is in a frame's variables."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import pytest
from django.db import connection
from django.db.models import Model, QuerySet
from django.http import QueryDict
from django.test import Client

from django_verigator.client import NumberVerification
from django_verigator.flows import recovery
from django_verigator.models import VerigatorUser
from django_verigator.records import sync
from django_verigator.sandbox import Sandbox

from .conftest import PASSWORD, PHONE, WRONG_PIN, give_password, sent_pin

PIN_PAGE = "/accounts/verify/"
NEW_PHONE = "+37255500099"
OTHER_PHONE = "+37255500098"
TAKE_IT_IN = {
    # What comes from the browser, the site and the database is plain where it comes in, and hidden from there on.
    "forms._HiddenInput.value_from_datadict",
    "forms.EnrolForm.__init__",
    "forms.PinForm.__init__",
    "records.site_phones.phone_of",
    "records.site_phones._follow",
    "models.base.NumberField.from_db_value",
    "django.db.models.query.ModelIterable.__iter__",
    "django.db.models.sql.compiler.SQLCompiler.results_iter",
    "django.db.models.sql.compiler.SQLCompiler.apply_converters",
    "phone.as_text",
    # The numbers library has an object of its own for a number.
    "phone.normalise",
    "phone.kind",
    # A provider for tests.
    "backends.locmem.LocMemBackend.check",
}


def shown(value: Any) -> str:
    # Whatever else there is, shows no more of itself than its class, or is not to be evaluated here: a QuerySet, or a
    # row that is not whole yet, would ask the database, which comes back here.
    if issubclass(type(value), QuerySet) or (issubclass(type(value), Model) and value.get_deferred_fields()):
        return ""
    if type(value).__module__.partition(".")[0] in ("builtins", "django_verigator") or type(value) is QueryDict:
        try:
            return repr(value)
        except AttributeError:  # not whole yet
            pass
    return ""


def stack(frame: FrameType | None) -> Iterator[FrameType]:
    """Yield a frame and what has called it, up to the test and the client that it uses."""
    while frame is not None and not frame.f_globals["__name__"].startswith(("tests.", "django.test.")):
        yield frame
        frame = frame.f_back


def name(frame: FrameType) -> str:
    """Return a function's name, with its class where there is one; this package's own go without the package's."""
    owner = frame.f_locals.get("self")
    parts = [frame.f_globals["__name__"], *([type(owner).__name__] if owner is not None else []), frame.f_code.co_name]
    return ".".join(parts).removeprefix("django_verigator.")


@contextmanager
def watched(*secrets: str) -> Iterator[set[str]]:
    """Collect the functions that show a secret when one of ours is called or ends, or a statement is run."""
    found: set[str] = set()

    def look(frame: FrameType) -> None:
        values = [shown(value) for value in frame.f_locals.values()]
        if any(secret in value for secret in secrets for value in values):
            found.add(name(frame))

    def profile(frame: FrameType, event: str, argument: Any) -> None:
        if not frame.f_globals.get("__name__", "").startswith("django_verigator."):
            return
        sys.setprofile(None)
        if event == "call":
            for each in stack(frame):
                look(each)
        elif event == "return":
            look(frame)
        sys.setprofile(profile)

    def statement(execute: Any, *arguments: Any) -> Any:
        for each in stack(sys._getframe(1)):
            look(each)
        return execute(*arguments)

    with connection.execute_wrapper(statement):
        sys.setprofile(profile)
        try:
            yield found
        finally:
            sys.setprofile(None)


@pytest.mark.fault("X14")
def test_frames_of_a_function__show_no_secret_wherever_it_fails(alice, carol, browser, settings):
    settings.VERIGATOR = {**settings.VERIGATOR, "REQUIRED": "all"}
    code = recovery.renew(alice)[0]
    with watched(f"'{WRONG_PIN}'", PHONE[1:], code, code.replace("-", "")) as found:
        give_password(browser)
        browser.post(PIN_PAGE, {"pin": WRONG_PIN})
        browser.post(f"{PIN_PAGE}recovery/", {"code": code})
        sync.sync_users([alice], seconds=1)
    assert found <= TAKE_IT_IN
    with watched(NEW_PHONE[1:]) as found:
        assert browser.post("/accounts/security/phone/", {"phone": NEW_PHONE, "password": PASSWORD}).status_code == 302
        browser.post("/accounts/security/phone/confirm/", {"pin": sent_pin()})
    assert VerigatorUser.objects.get(user=alice).phone_number == NEW_PHONE
    assert found <= TAKE_IT_IN
    with watched(OTHER_PHONE[1:]) as found:
        give_password(other := Client(), "carol")
        other.post("/accounts/enrol/", {"phone": OTHER_PHONE})
        other.post(PIN_PAGE, {"pin": sent_pin()})
    assert VerigatorUser.objects.get(user=carol).phone_number == OTHER_PHONE
    assert found <= TAKE_IT_IN


@pytest.mark.fault("X14")
@pytest.mark.parametrize("parameters_in", ["query", "body"])
@pytest.mark.parametrize("operation", ["verify.start", "verify.pin", ""])
def test_frames_of_a_call__show_no_parameter_wherever_it_fails(
    transactional_db, django_user_model, browser, settings, parameters_in, operation
):
    """Number Verification has credentials, number and PIN in the query."""
    with Sandbox(username="canary-user", password="canary-password") as sandbox:
        options = {
            "username": "canary-user",
            "password": "canary-password",
            "endpoint": sandbox.url,
            "parameters_in": parameters_in,
        }
        backend = {
            "BACKEND": "django_verigator.backends.number_verification.NumberVerificationBackend",
            "OPTIONS": options,
        }
        settings.VERIGATOR = {**settings.VERIGATOR, "BACKENDS": {"default": backend}}
        django_user_model.objects.create_user("alice", password=PASSWORD, phone_number=PHONE)
        if operation:
            sandbox.add_fault("close", operation=operation)
        with watched(f"'{WRONG_PIN}'", f"={WRONG_PIN}", PHONE[1:], "canary-password") as found:
            give_password(browser)
            browser.post(PIN_PAGE, {"pin": WRONG_PIN})
        calls = [call["operation"] for call in sandbox.calls()]
    assert calls == ["verify.start"] if operation == "verify.start" else ["verify.start", "verify.pin"]
    # The settings are taken in with the password, under a name that Django hides on its pages.
    assert {place for place in found if not place.startswith(("backends.build", "conf."))} <= TAKE_IT_IN


@pytest.mark.fault("X14")
def test_watched__would_have_found_a_parameter(monkeypatch):
    """The control: the same call, with a client that does not hide what it sends."""
    monkeypatch.setattr("django_verigator.client.number_verification.form_text", lambda **values: f"{values}")
    with watched("canary-password") as found:
        NumberVerification("canary-user", "canary-password", "http://127.0.0.1:9")
    assert "client.number_verification._form" in found
