"""Settings that name the wrong service, or no provider with user records: told, and nothing is lost by it."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from django_verigator.backends import Circuit, CircuitState, backends
from django_verigator.client import Api
from django_verigator.models import RemoteDeletion, VerigatorUser
from django_verigator.sandbox import Sandbox
from tests.site.models import User

from .conftest import PASSWORD, PHONE, give_password

VERIGATOR = "django_verigator.backends.verigator.VerigatorBackend"
NUMBERS = "django_verigator.backends.number_verification.NumberVerificationBackend"
WRONG = "00000000-0000-4000-8000-000000000000"
State = VerigatorUser.State
ACCOUNT = {"username": "api", "password": "secret"}


@pytest.fixture
def sandbox():
    with Sandbox(**ACCOUNT) as sandbox:
        yield sandbox


@pytest.fixture
def service_id(sandbox):
    return Api(**ACCOUNT, endpoint=sandbox.url).services.create("example.com", "Example").id


@pytest.fixture
def use(sandbox, settings):
    """``use(service_id)`` has the site use that service at Verigator; ``use()`` Number Verification alone."""

    def use(service_id: str = "") -> None:
        options = {**ACCOUNT, "endpoint": sandbox.url}
        entries = {"numbers": {"BACKEND": NUMBERS, "OPTIONS": options}}
        if service_id:
            entries = {"default": {"BACKEND": VERIGATOR, "OPTIONS": {**options, "service_id": service_id}}}
        settings.VERIGATOR = {**settings.VERIGATOR, "BACKENDS": entries}

    return use


@pytest.fixture
def alice(use, service_id, transactional_db):
    use(service_id)
    user = User.objects.create_user("alice", password=PASSWORD, phone_number=PHONE)
    assert user.verigator.state == State.REGISTERED
    return user


def records(service_id: str) -> list[str]:
    return [user.user_id for user in backends.default.users()]


def log_in_and_read(client: Any) -> str:
    give_password(client)
    return client.get("/accounts/verify/").content.decode()


@pytest.mark.fault("X18")
def test_wrong_service_at_a_login__forgets_nobody_and_doubles_nobody(alice, use, service_id, browser, caplog):
    before = VerigatorUser.objects.get()
    use(WRONG)
    page = log_in_and_read(browser)
    assert "We cannot send or check PINs at the moment." in page
    assert "send_failed" in caplog.text
    assert "reason=no_such_service" in caplog.text
    link = VerigatorUser.objects.get()
    assert (link.state, link.verigator_id, link.id_in_service) == (
        State.REGISTERED,
        before.verigator_id,
        before.id_in_service,
    )

    use(service_id)
    call_command("verigator_sync", verbosity=0)
    browser.post("/accounts/verify/cancel/")
    assert "We cannot send" not in log_in_and_read(browser)
    assert records(service_id) == [before.verigator_id]


@pytest.mark.fault("X18")
@pytest.mark.parametrize("options", [{}, {"dry_run": True}, {"due": True}])
def test_wrong_service_at_a_sync__says_what_to_mend_and_loses_nothing(alice, use, service_id, options):
    bob = User.objects.create_user("bob", phone_number="+37255500068")
    bob.delete()
    before = VerigatorUser.objects.get()
    use(WRONG)
    User.objects.create_user("carol", phone_number="+37255500069")
    VerigatorUser.objects.update(next_attempt_at=None)
    with pytest.raises(CommandError, match='mend "service_id"') as caught:
        call_command("verigator_sync", verbosity=0, **options)
    assert "run this again" not in str(caught.value)
    assert VerigatorUser.objects.get(user=alice).verigator_id == before.verigator_id
    assert RemoteDeletion.objects.count() == 1
    assert VerigatorUser.objects.get(user__username="carol").last_error == "no_such_service"

    use(service_id)
    call_command("verigator_sync", verbosity=0)
    registered = VerigatorUser.objects.values_list("verigator_id", flat=True)
    assert sorted(records(service_id)) == sorted(registered)
    assert len(registered) == 2
    assert not RemoteDeletion.objects.exists()


@pytest.mark.fault("X18")
def test_wrong_service__opens_the_circuit_like_wrong_credentials(alice, use, browser, settings, caplog):
    use(WRONG)
    settings.VERIGATOR = {**settings.VERIGATOR, "LIMITS": {"CIRCUIT_FAILURES": 1}}
    log_in_and_read(browser)
    assert Circuit("default").state == CircuitState.OPEN
    assert "circuit_opened" in caplog.text


@pytest.mark.fault("X18")
def test_record_that_is_lost_in_the_right_service__is_made_again(alice, service_id, sandbox, browser):
    lost = alice.verigator.verigator_id
    backends.default.unregister(lost)
    assert "We cannot send" not in log_in_and_read(browser)
    [record] = records(service_id)
    assert record == VerigatorUser.objects.get().verigator_id != lost
    assert len(sandbox.calls(operation="services.get")) == 1
    for _ in range(3):  # the service was there just now
        assert not backends.default.exists(lost)
    assert len(sandbox.calls(operation="services.get")) == 1


@pytest.mark.fault("X18")
def test_service_that_cannot_be_asked_for__forgets_nobody(alice, sandbox, browser):
    backends.default.unregister(alice.verigator.verigator_id)
    sandbox.add_fault("status", status=HTTPStatus.SERVICE_UNAVAILABLE, operation="services.get")
    assert "We cannot send or check PINs at the moment." in log_in_and_read(browser)
    assert VerigatorUser.objects.get().state == State.REGISTERED


@pytest.mark.fault("X17")
@pytest.mark.parametrize("options", [{}, {"due": True}, {"dry_run": True}])
def test_deletions_for_a_provider_that_is_not_listed__are_no_failure_and_wait_for_it(
    alice, use, service_id, options, capsys
):
    alice.delete()
    use()
    call_command("verigator_sync", **options)
    printed = capsys.readouterr().out
    assert "list the entry of BACKENDS whose provider keeps user records" in printed
    call_command("verigator_status")
    assert "to be deleted at a provider that BACKENDS does not list: 1" in capsys.readouterr().out
    call_command("verigator_sync", verbosity=0)
    assert capsys.readouterr().out == ""

    use(service_id)
    assert len(records(service_id)) == 1
    call_command("verigator_sync", verbosity=0)
    assert records(service_id) == []
    assert not RemoteDeletion.objects.exists()
