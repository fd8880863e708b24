"""Where one of many links does not fit, the others are none the worse, and the report says which."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone

from django_verigator.models import RemoteDeletion, VerigatorUser
from django_verigator.records import sync
from django_verigator.records.registration import RegistrationResult
from django_verigator.records.sync import batches, missing_links
from tests.site.models import User

State = VerigatorUser.State


@pytest.fixture
def links(make_users: Any) -> list[VerigatorUser]:
    """Five, waiting."""
    make_users(5)
    missing_links.make_missing_links()
    return list(VerigatorUser.objects.order_by("pk"))


def lease(link: VerigatorUser) -> None:
    VerigatorUser.objects.filter(pk=link.pk).update(leased_until=timezone.now() + timedelta(seconds=30))


@pytest.mark.fault("X20")
def test_registration_in_other_hands__is_counted_and_left_alone(links, records, capsys):
    for link in links[:2]:
        lease(link)
    with pytest.raises(CommandError, match="Something is left to do") as caught:
        call_command("verigator_sync", "--due", "--json")
    assert caught.value.returncode == 1
    counts = json.loads(capsys.readouterr().out)["counts"]
    assert (counts["busy"], counts["registered"], counts["failed"]) == (2, 3, 2)
    assert len(records()) == 3

    with pytest.raises(CommandError):
        call_command("verigator_sync", "--due")
    printed = capsys.readouterr()
    assert "in other hands: 2" in printed.out
    assert f"not registered: {links[0].user.get_username()} (in other hands)" in printed.err


@pytest.mark.fault("X20")
def test_link_in_other_hands__keeps_the_others_of_its_batch_from_nothing(links):
    lease(links[2])
    leased, others = batches.lease([link.pk for link in links], force=True)
    assert [link.pk for link in others] == [links[2].pk]
    assert sorted(link.pk for link in leased) == sorted(link.pk for link in links if link != links[2])
    assert all(link.leased_until > timezone.now() for link in leased)


@pytest.mark.fault("X20")
def test_UserID_that_another_link_has__is_refused_alone(links, provider, monkeypatch):
    """The answers of a batch are written in one statement, which fails as a whole."""
    real = provider.register
    first = real(links[0].phone_number, "elsewhere")
    other = User.objects.create_user("other")
    VerigatorUser.objects.filter(user=other).update(verigator_id=first, state=State.REGISTERED)
    monkeypatch.setattr(
        provider,
        "register",
        lambda phone_number, *args, **kwargs: (
            first if phone_number == links[4].phone_number else real(phone_number, *args, **kwargs)
        ),
    )
    report = sync.register_batch([link.pk for link in links], workers=1)
    assert (report.counts[RegistrationResult.REGISTERED], report.failed) == (4, 1)
    assert VerigatorUser.objects.filter(pk__in=[link.pk for link in links[:4]], state=State.REGISTERED).count() == 4
    links[4].refresh_from_db()
    assert (links[4].state, links[4].verigator_id, links[4].last_error) == (State.PENDING, None, "error")


@pytest.mark.fault("X20")
def test_user_who_is_deleted_during_the_calls__is_noted_for_deletion_and_the_others_are_registered(
    links, provider, monkeypatch, records
):
    real = provider.register

    def register(phone_number: str, *args: Any, **kwargs: Any) -> str:
        answer = real(phone_number, *args, **kwargs)
        gone.append(answer if phone_number == links[1].phone_number else "")
        return answer

    gone: list[str] = []
    monkeypatch.setattr(provider, "register", register)
    settle = batches.mark_registered

    def settle_late(answers: Any) -> None:
        User.objects.filter(pk=links[1].user_id).delete()
        settle(answers)

    monkeypatch.setattr(batches, "mark_registered", settle_late)
    report = sync.register_batch([link.pk for link in links], workers=1)
    assert report.counts[RegistrationResult.REGISTERED] == 4
    assert VerigatorUser.objects.filter(state=State.REGISTERED).count() == 4
    assert set(filter(None, gone)) <= set(RemoteDeletion.objects.values_list("verigator_id", flat=True))
    monkeypatch.undo()
    sync.sync_all()
    assert set(records()) == set(VerigatorUser.objects.values_list("verigator_id", flat=True))
