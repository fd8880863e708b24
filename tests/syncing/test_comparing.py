"""The provider's list against what is stored here: missing, lost, vanished, doubled, unknown."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.core.management import call_command
from django.utils import timezone

from django_verigator.exceptions import InternalError, RequestTimeoutError, ResourceAlreadyExistsError
from django_verigator.flows import syncing
from django_verigator.flows.registration import Outcome
from django_verigator.models import PhoneChange, RemoteDeletion, VerigatorUser
from tests.conftest import PHONE
from tests.site.models import User

from .conftest import failing

State = VerigatorUser.State


@pytest.fixture
def doubled(provider, monkeypatch):
    """``doubled(name)`` has the provider list one more record under an id that it has already."""
    real, more = provider.users, []

    def users():
        moved = {record.user_id for record in more}
        yield from (record for record in real() if record.user_id not in moved)
        yield from more

    monkeypatch.setattr(provider, "users", users)

    def double(name):
        user_id = provider.register(PHONE, f"{name}-for-a-moment")
        record = next(record for record in real() if record.user_id == user_id)
        more.append(type(record)(user_id, name))
        return user_id

    return double


@pytest.mark.threat("R39")
def test_second_record_of_one_user_and_phone__is_deleted_and_the_one_in_use_kept(alice, doubled, records):
    link = alice.verigator
    surplus = doubled(link.id_in_service)
    assert set(records()) == {link.verigator_id, surplus}
    report = syncing.sync_all()
    assert (report.deleted, report.unknown) == (1, 0)
    link.refresh_from_db()
    assert list(records()) == [link.verigator_id]


@pytest.mark.threat("R13")
def test_deletion_by_name__takes_each_record_of_that_name(alice, provider, doubled, records):
    name = alice.verigator.id_in_service
    doubled(name)
    alice.delete()
    assert syncing.sync_all().deleted == 2
    assert records() == {}
    assert not RemoteDeletion.objects.exists()


@pytest.mark.threat("R18")
def test_lost_reply_that_left_two_records__adopts_one_and_deletes_the_other(alice, doubled, records):
    doubled(alice.verigator.id_in_service)
    VerigatorUser.objects.update(state=State.PENDING, verigator_id=None, registered_at=None)
    report = syncing.sync_all()
    assert report.is_complete
    assert list(records()) == [VerigatorUser.objects.get().verigator_id]


@pytest.mark.threat("R39")
def test_list_that_came_out_short__registers_nobody_anew(alice, provider, monkeypatch, records):
    before = records()
    monkeypatch.setattr(provider, "users", lambda: iter(()))
    assert syncing.sync_all().is_complete
    assert VerigatorUser.objects.get().state == State.REGISTERED
    assert records() == before


@pytest.mark.threat("R39")
def test_record_that_is_neither_listed_nor_to_be_asked_for__is_left_to_a_later_run(alice, provider, monkeypatch):
    monkeypatch.setattr(provider, "users", lambda: iter(()))
    monkeypatch.setattr(provider, "exists", failing(InternalError(status=500)))
    report = syncing.sync_all()
    assert (report.unchecked, report.is_complete) == (1, False)
    assert VerigatorUser.objects.get().state == State.REGISTERED


@pytest.mark.threat("R13", "R14")
def test_id_that_is_taken_during_a_sync__is_given_up_and_the_same_run_cleans_up(
    make_users, provider, monkeypatch, records
):
    """The provider makes the record, and says 409 all the same: what is left of that is gone when the run ends."""
    make_users(3)
    real, calls = provider.register, []

    def taken_once(phone_number, id_in_service, **kwargs):
        calls.append(id_in_service)
        user_id = real(phone_number, id_in_service)
        if len(calls) == 2:
            raise ResourceAlreadyExistsError(status=409)
        return user_id

    monkeypatch.setattr(provider, "register", taken_once)
    report = syncing.sync_all(workers=1)
    assert len(calls) == 4
    assert (report.counts[Outcome.REGISTERED], report.deleted) == (3, 1)
    assert report.is_complete
    assert records() == dict(VerigatorUser.objects.values_list("verigator_id", "id_in_service"))


@pytest.mark.threat("R14")
def test_id_that_is_taken_twice__is_left_to_a_later_run(make_users, provider, monkeypatch):
    make_users(1)
    calls = []

    def always_taken(phone_number, id_in_service, **kwargs):
        calls.append(id_in_service)
        raise ResourceAlreadyExistsError(status=409)

    monkeypatch.setattr(provider, "register", always_taken)
    report = syncing.sync_all()
    assert len(calls) == len(set(calls)) == 2
    assert report.errors == {"already_exists": 1}


@pytest.mark.threat("R19")
def test_registration_that_somebody_died_with__is_waited_for_and_adopted(make_users, provider, records):
    make_users(1)
    syncing.make_missing_links()
    link = VerigatorUser.objects.get()
    provider.register(link.phone_number, link.id_in_service)
    VerigatorUser.objects.update(leased_until=timezone.now() + timedelta(seconds=0.7))
    assert syncing.sync_all().is_complete
    assert records() == {VerigatorUser.objects.get().verigator_id: link.id_in_service}


@pytest.mark.threat("R18")
def test_restored_backup__is_in_order_after_one_run(make_users, records, provider):
    """Of before: nobody was registered yet, one user was not there, and one has been deleted since."""
    make_users(6)
    syncing.make_missing_links()
    ids = dict(VerigatorUser.objects.values_list("pk", "id_in_service"))
    syncing.sync_all()
    User.objects.last().delete()
    # The backup's rows: the deleted user stays away, the others are as they were.
    RemoteDeletion.objects.all().delete()
    VerigatorUser.objects.update(state=State.PENDING, verigator_id=None, registered_at=None, seen_at=None)
    report = syncing.sync_all()
    assert dict(VerigatorUser.objects.values_list("pk", "id_in_service")).items() <= ids.items()
    assert report.unknown == 1, "of the user whom this database has never seen deleted"
    assert report.is_complete
    assert set(VerigatorUser.objects.values_list("verigator_id", flat=True)) < set(records())


@pytest.mark.threat("R18")
def test_backup_from_before_a_user_was_registered__registers_anew_what_is_gone(alice, provider, records):
    provider.unregister(alice.verigator.verigator_id)
    report = syncing.sync_all()
    assert report.counts[Outcome.REPAIRED] == 1
    assert list(records()) == [VerigatorUser.objects.get().verigator_id]


@pytest.mark.threat("R39")
def test_half_a_list__deletes_no_note_and_repairs_nobody(alice, provider, monkeypatch):
    RemoteDeletion.objects.create(id_in_service="of-a-lost-reply")

    def cut():
        yield from ()
        raise RequestTimeoutError

    monkeypatch.setattr(provider, "users", cut)
    report = syncing.sync_all()
    assert (report.error, report.deletions_left) == ("timeout", 1)
    assert VerigatorUser.objects.get().state == State.REGISTERED


# --- unknown records --------------------------------------------------------------------------------------------------


@pytest.fixture
def strangers(provider):
    return [provider.register(f"+3725550001{number}", f"strange-{number}") for number in range(3)]


@pytest.fixture
def terminal(monkeypatch):
    """``terminal(answer)``: somebody is there, and answers so."""

    def sit_down(answer):
        monkeypatch.setattr("sys.stdin.isatty", lambda: True)
        monkeypatch.setattr("builtins.input", lambda: answer)

    return sit_down


@pytest.mark.threat("R39")
def test_unknown_records__are_only_counted(alice, strangers, records, capsys):
    call_command("verigator_sync")
    assert "known to the provider, unknown here: 3" in capsys.readouterr().out
    assert set(strangers) < set(records())


@pytest.mark.threat("R39")
def test_fix_unknown__refuses_where_nobody_can_be_asked(alice, strangers, provider, monkeypatch):
    monkeypatch.setattr("sys.stdin.isatty", lambda: False)
    monkeypatch.setattr(provider, "users", failing(AssertionError("asked")))
    with pytest.raises(Exception, match="--noinput"):
        call_command("verigator_sync", "--fix-unknown")


@pytest.mark.threat("R39")
@pytest.mark.parametrize("answer", ["", "no", "y", "Yes"])
def test_fix_unknown__does_nothing_without_a_yes(alice, strangers, records, terminal, answer, capsys):
    terminal(answer)
    call_command("verigator_sync", "--fix-unknown")
    assert "Delete these 3 records" in capsys.readouterr().err
    assert set(strangers) < set(records())


@pytest.mark.threat("R39")
def test_fix_unknown__deletes_them_after_a_yes_and_nothing_else(alice, strangers, records, terminal, provider, capsys):
    change = PhoneChange.objects.create(
        user=alice, phone_number="+37255500099", id_in_service="on-its-way", expires_at=timezone.now()
    )
    change.verigator_id = provider.register(change.phone_number, change.id_in_service)
    change.save()
    terminal("yes")
    call_command("verigator_sync", "--fix-unknown")
    captured = capsys.readouterr()
    assert "Delete these 3 records" in captured.err
    assert "unknown here: 3\nof these to be deleted: 3" in captured.out
    assert set(records()) == {alice.verigator.verigator_id, change.verigator_id}


@pytest.mark.threat("R39")
def test_fix_unknown__deletes_no_more_than_was_agreed_to(alice, strangers, records):
    report = syncing.delete_unknown(2)
    assert (report.unknown_deleted, report.deleted) == (2, 2)
    assert len(records()) == 2


@pytest.mark.threat("R39")
def test_fix_unknown_noinput__asks_nothing(alice, strangers, records):
    call_command("verigator_sync", "--fix-unknown", "--noinput", verbosity=0)
    assert list(records()) == [alice.verigator.verigator_id]


@pytest.mark.threat("R39")
def test_fix_unknown__needs_the_list(db):
    with pytest.raises(Exception, match="--due does not read"):
        call_command("verigator_sync", "--fix-unknown", "--due", "--noinput")
