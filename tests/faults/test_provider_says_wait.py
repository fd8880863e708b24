"""R10: a provider that says how long to leave it alone is left alone, whatever the user clicks."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest

from django_verigator.client import Api
from django_verigator.models import Challenge
from django_verigator.sandbox import Sandbox

from ..conftest import PASSWORD, PHONE, give_password

PIN_PAGE, RESEND = "/accounts/verify/", "/accounts/verify/resend/"
ACCOUNT = {"username": "api", "password": "secret"}


@pytest.fixture
def sandbox(settings: Any, transactional_db: None, django_user_model: Any) -> Iterator[Sandbox]:
    with Sandbox(**ACCOUNT) as sandbox:
        service = Api(**ACCOUNT, endpoint=sandbox.url).services.create("localhost", "faults")
        options = {**ACCOUNT, "endpoint": sandbox.url, "service_id": service.id}
        backend = "django_verigator.backends.verigator.VerigatorBackend"
        settings.VERIGATOR = {**settings.VERIGATOR, "BACKENDS": {"default": {"BACKEND": backend, "OPTIONS": options}}}
        django_user_model.objects.create_user("alice", password=PASSWORD, phone_number=PHONE)
        yield sandbox


@pytest.mark.threat("R10", "M11")
@pytest.mark.parametrize(
    ("asked", "in_words"), [(60, r"Try again in [56]\d seconds"), (315_360_000, r"Try again in 60 minutes")]
)
def test_wait_that_the_provider_asks_for__is_kept_by_the_button(sandbox, browser, asked, in_words):
    sandbox.add_fault("status", status=429, retry_after=str(asked), operation="auth.start", times=1)
    give_password(browser)
    sandbox.clear_calls()

    page = browser.post(RESEND).content.decode()

    assert sandbox.calls(operation="auth.start") == []
    assert re.search(in_words, page)
    assert "A PIN was sent" not in page
    Challenge.objects.update(resend_at=None)
    assert browser.post(RESEND)["Location"] == PIN_PAGE
    assert browser.post(PIN_PAGE, {"pin": sandbox.last_pin(PHONE)})["Location"] == "/private/"


@pytest.mark.threat("R10")
def test_no_wait_asked_for__lets_the_button_try_at_once(sandbox, browser):
    sandbox.add_fault("status", status=429, operation="auth.start", times=1)
    give_password(browser)
    assert browser.post(RESEND)["Location"] == PIN_PAGE
    assert browser.post(PIN_PAGE, {"pin": sandbox.last_pin(PHONE)})["Location"] == "/private/"


@pytest.mark.threat("R11")
@pytest.mark.parametrize("status", [401, 403])
def test_revoked_credentials__are_told_to_the_operator_and_not_to_the_user(sandbox, browser, caplog, status):
    sandbox.add_fault("status", status=status, body={"error": "canary"}, operation="auth.start")
    give_password(browser)
    page = browser.get(PIN_PAGE).content.decode()

    assert "We cannot send or check PINs" in page
    assert not any(word in page for word in ("canary", "credential", "password", str(status)))
    told = [record for record in caplog.records if record.getMessage().startswith("send_failed")]
    assert [record.levelname for record in told] == ["WARNING"]
    assert f"status={status}" in told[0].getMessage()
    assert len(sandbox.calls(operation="auth.start")) == 1


@pytest.mark.threat("R14")
def test_foreign_record_under_our_id__is_left_alone_and_never_adopted(sandbox, browser, django_user_model):
    # Whatever the id, the first one is taken: by somebody else's phone.
    sandbox.add_fault("status", status=409, operation="users.create", times=1)
    bob = django_user_model.objects.create_user("bob", password=PASSWORD, phone_number="+37255500011")

    assert bob.verigator.state == "registered"
    assert len(sandbox.calls(operation="users.create")) == 3  # alice, and bob twice
    give_password(browser, "bob")
    assert browser.post(PIN_PAGE, {"pin": sandbox.last_pin("+37255500011")})["Location"] == "/private/"
