"""Erasing a user whose row stays, anonymised: nothing is left of the person, here or at the provider."""

from __future__ import annotations

import json

import pytest
from django.apps import apps
from django.core.cache import cache
from django.core.management import CommandError, call_command
from django.utils import timezone

from django_verigator.backends import backends
from django_verigator.exceptions import RequestTimeoutError
from django_verigator.models import (
    Challenge,
    Counter,
    PhoneChange,
    RecoveryCode,
    RemoteDeletion,
    TrustedBrowser,
    VerigatorUser,
)
from django_verigator.records import erasure
from tests.site.models import User

from .conftest import PASSWORD, PHONE, give_password, sent_pin

OTHER = "+37255500099"
pytestmark = pytest.mark.fault("X16")


@pytest.fixture
def erased_name(alice, browser, settings):
    """Alice has used everything that there is; then the site has made an unknown of her."""
    settings.VERIGATOR = {**settings.VERIGATOR, "TRUSTED_BROWSER_DAYS": 30}
    give_password(browser)
    browser.post("/accounts/verify/", {"pin": sent_pin(), "trust": "on"})
    browser.post("/accounts/security/recovery-codes/", {"password": PASSWORD})
    browser.post("/accounts/security/phone/", {"phone": OTHER, "password": PASSWORD})
    for model in (VerigatorUser, PhoneChange, Challenge, RecoveryCode, TrustedBrowser):
        assert model.objects.filter(user=alice).exists(), model
    User.objects.filter(pk=alice.pk).update(username="gone-1", phone_number="", email="")
    return "gone-1"


def everything_stored():
    """Every value in every table of ours, but the counters' digests."""
    models = [model for model in apps.get_app_config("django_verigator").get_models() if model is not Counter]
    return json.dumps([list(model.objects.values()) for model in models], default=str)


def down(*args, **kwargs):
    raise RequestTimeoutError("no answer", sent=True)


def test_erase__leaves_nothing_of_the_person_here_and_there(alice, carol, erased_name, capsys):
    user_ids = {VerigatorUser.objects.get(user=alice).verigator_id, PhoneChange.objects.get(user=alice).verigator_id}
    assert user_ids <= {user.user_id for user in backends.default.users()}
    call_command("verigator_erase", erased_name)
    assert "Nothing is stored about gone-1 any more. Deleted at the provider: 2." in capsys.readouterr().out
    assert list(backends.default.users()) == []
    stored = everything_stored()
    assert [word for word in ("alice", PHONE, OTHER, "127.0.0.1", "••• 67", "••• 99") if word in stored] == []
    assert [user_id for user_id in user_ids if user_id in stored] == []
    assert VerigatorUser.objects.filter(user=carol).exists()
    for user_id in user_ids:
        call_command("verigator_export", deleted=user_id)
    # Neither a save nor sync brings anything back.
    User.objects.get(pk=alice.pk).save()
    call_command("verigator_sync")
    assert VerigatorUser.objects.get(user=alice).state == "no_phone"
    assert list(backends.default.users()) == []


def test_erase__with_the_provider_down_is_done_here_and_made_up_for_by_sync(alice, erased_name, monkeypatch, capsys):
    with monkeypatch.context() as patch:
        patch.setattr(backends.default, "unregister", down)
        with pytest.raises(CommandError, match="Still to be deleted at the provider: 2") as caught:
            call_command("verigator_erase", erased_name)
    assert caught.value.returncode == 1
    assert not VerigatorUser.objects.filter(user=alice).exists()
    assert not Challenge.objects.exists()
    RemoteDeletion.objects.update(next_attempt_at=timezone.now())
    call_command("verigator_sync", due=True)
    assert list(backends.default.users()) == []
    assert "alice" not in everything_stored()


def test_erase__sees_to_records_of_earlier_numbers_that_still_wait(alice, erased_name, capsys):
    link = VerigatorUser.objects.get(user=alice)
    RemoteDeletion.objects.schedule(link.verigator_id, None)
    RemoteDeletion.objects.schedule("a-stranger's", "")
    call_command("verigator_erase", erased_name)
    assert [row.verigator_id for row in RemoteDeletion.objects.all()] == ["a-stranger's"]


def test_erase__leaves_a_record_whose_reply_was_lost_to_sync(alice, erased_name):
    VerigatorUser.objects.filter(user=alice).update(verigator_id=None, state="pending")
    with pytest.raises(CommandError, match="Still to be deleted at the provider: 1"):
        call_command("verigator_erase", erased_name)
    call_command("verigator_sync")
    assert list(backends.default.users()) == []
    assert "alice" not in everything_stored()


@pytest.mark.parametrize("number", [PHONE, "call me"])
def test_erase__does_nothing_while_the_site_still_has_a_number(alice, number, capsys):
    User.objects.filter(pk=alice.pk).update(phone_number=number)
    with pytest.raises(CommandError, match=r"Take it away first.* Nothing was erased"):
        call_command("verigator_erase", "alice")
    assert VerigatorUser.objects.get(user=alice).phone_number == PHONE


def test_erase__does_nothing_where_nobody_can_say_whether_there_is_a_number(alice, settings):
    settings.VERIGATOR = {**settings.VERIGATOR, "PHONE": broken}
    with pytest.raises(erasure.StillSuppliedError):
        erasure.erase(alice, by="test")
    assert VerigatorUser.objects.filter(user=alice).exists()


def broken(user):
    raise LookupError


def test_erase__ends_the_proofs_of_sessions(alice, browser, erased_name):
    assert browser.get("/private/").status_code == 200
    call_command("verigator_erase", erased_name)
    User.objects.filter(pk=alice.pk).update(phone_number=OTHER)
    cache.clear()  # the guard remembers for a minute what each user owes
    assert browser.get("/private/").status_code == 302


def test_erase__is_logged_without_a_name_and_can_be_done_twice(alice, erased_name, caplog, capsys):
    call_command("verigator_erase", erased_name)
    assert f"erased user={alice.pk} by=command" in caplog.messages
    call_command("verigator_erase", erased_name)
    assert "Deleted at the provider: 0." in capsys.readouterr().out


@pytest.mark.parametrize(("answer", "is_erased"), [("yes", True), ("no", False)])
def test_erase__on_a_terminal_asks_first(alice, erased_name, monkeypatch, answer, is_erased):
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("builtins.input", lambda: answer)
    if is_erased:
        call_command("verigator_erase", erased_name)
    else:
        with pytest.raises(CommandError, match="Nothing was erased"):
            call_command("verigator_erase", erased_name)
    assert VerigatorUser.objects.filter(user=alice).exists() != is_erased


def test_erase__of_nobody_says_so(db):
    with pytest.raises(CommandError, match='no user "nobody"'):
        call_command("verigator_erase", "nobody")
