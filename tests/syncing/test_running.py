"""One run at a time; what it shows of itself; what the command prints."""

from __future__ import annotations

import json
from datetime import timedelta
from threading import Event

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone

from django_verigator.exceptions import InternalError
from django_verigator.management import progress
from django_verigator.management.commands import verigator_sync
from django_verigator.models import SyncRun, VerigatorUser
from django_verigator.records import registration, sync
from django_verigator.records.registration import RegistrationResult
from django_verigator.records.sync import missing_links, paging, run

from .conftest import failing


@pytest.mark.threat("R34")
def test_second_run__stops_with_a_message_and_a_code_of_its_own(db, capsys):
    held = run.start_run(dict)
    with pytest.raises(CommandError, match="Another run is under way since") as caught:
        call_command("verigator_sync", "--json")
    assert caught.value.returncode == verigator_sync.ALREADY_RUNNING == 3
    assert json.loads(capsys.readouterr().out)["outcome"] == "already_running"
    held.finish(SyncRun.Outcome.COMPLETE)
    call_command("verigator_sync", verbosity=0)


@pytest.mark.parametrize(("use_tz", "zone"), [(True, " UTC"), (False, "")])
def test_second_run__says_in_which_time_the_first_began(db, settings, use_tz, zone):
    settings.USE_TZ = use_tz
    run.start_run(dict)
    row = SyncRun.objects.get()
    with pytest.raises(CommandError) as caught:
        call_command("verigator_sync")
    assert f"since {row.started_at:%Y-%m-%d %H:%M:%S}{zone} (" in str(caught.value)
    assert f"free at {row.lease_until:%H:%M:%S}{zone}." in str(caught.value)


@pytest.mark.threat("R34")
def test_place_of_a_killed_run__is_free_when_its_lease_has_run_out(db):
    run.start_run(dict)
    SyncRun.objects.update(lease_until=timezone.now() - timedelta(seconds=1))
    assert sync.sync_all().is_complete
    assert list(SyncRun.objects.order_by("pk").values_list("outcome", "slot")) == [("killed", None), ("complete", None)]


@pytest.mark.threat("R33")
def test_lease_of_a_run__outlasts_those_of_its_registrations():
    assert run.LEASE_SECONDS >= registration.LEASE_SECONDS + 2 * run.BEAT_SECONDS


@pytest.mark.threat("R34")
def test_run_that_lost_its_place__stops_and_leaves_the_other_s_row_alone(db):
    slept = run.start_run(dict)
    SyncRun.objects.update(lease_until=timezone.now() - timedelta(seconds=1))
    other = run.start_run(dict)
    slept.beat(5, force=True)
    assert slept.stop.is_set()
    slept.finish(SyncRun.Outcome.COMPLETE)
    assert list(SyncRun.objects.order_by("pk").values_list("outcome", "done")) == [("killed", 0), ("running", 0)]
    other.beat(7, force=True)
    assert SyncRun.objects.get(slot=run.SLOT).done == 7


def test_run__shows_where_it_is_and_what_came_out(make_users, monkeypatch, provider):
    make_users(20)
    monkeypatch.setattr(run, "BEAT_SECONDS", 0)
    seen = []

    def look(progress):
        row = SyncRun.objects.get()
        seen.append((row.phase, progress.done, row.total))

    assert sync.sync_all(look, workers=1).is_complete
    assert [phase for phase, done, total in seen if done == 0] == ["links", "compare", "lost", "register", "delete"]
    assert ("register", 20, 20) in seen
    row = SyncRun.objects.get()
    assert (row.outcome, row.error, row.slot) == ("complete", "", None)
    assert row.counts["registered"] == 20
    assert row.started_at <= row.finished_at


def test_rows_of_old_runs__do_not_pile_up(db, monkeypatch):
    monkeypatch.setattr(run, "KEPT", 3)
    for _ in range(6):
        sync.sync_all(due_only=True)
    assert SyncRun.objects.count() <= 3


@pytest.mark.threat("R33")
def test_run_that_is_told_to_stop__finishes_what_is_under_way_and_leaves_the_rest_due(
    make_users, provider, monkeypatch
):
    make_users(50)
    stop, real = Event(), provider.register

    def stop_at_the_fifth(phone_number, id_in_service, **kwargs):
        if phone_number.endswith("04"):
            stop.set()
        return real(phone_number, id_in_service)

    monkeypatch.setattr(provider, "register", stop_at_the_fifth)
    report = sync.sync_all(workers=1, stop=stop)
    assert (report.counts[RegistrationResult.REGISTERED], report.stopped, report.is_complete) == (5, True, False)
    rest = VerigatorUser.objects.filter(state="pending", leased_until=None, attempts=0)
    assert rest.count() == 45
    assert SyncRun.objects.get().outcome == "stopped"
    assert sync.sync_all().counts[RegistrationResult.REGISTERED] == 45


def test_json__is_all_that_stands_on_stdout(make_users, capsys, provider, monkeypatch):
    make_users(4)
    real = provider.register

    def fail_one(phone_number, id_in_service, **kwargs):
        return failing(InternalError())() if phone_number.endswith("2") else real(phone_number, id_in_service)

    monkeypatch.setattr(provider, "register", fail_one)
    with pytest.raises(CommandError):
        call_command("verigator_sync", "--json")
    report = json.loads(capsys.readouterr().out)
    assert report["outcome"] == "left"
    assert (report["counts"]["registered"], report["counts"]["failed"]) == (3, 1)
    assert report["failures"] == [{"username": "u2", "error": "provider_error"}]
    assert "+372" not in json.dumps(report)


def test_json__of_a_dry_run(make_users, capsys):
    make_users(2)
    with pytest.raises(CommandError):
        call_command("verigator_sync", "--json", "--dry-run")
    assert json.loads(capsys.readouterr().out)["dry_run"]["missing_links"] == 2


def test_progress__is_a_line_now_and_then_where_there_is_no_terminal(make_users, capsys, monkeypatch):
    make_users(30)
    monkeypatch.setattr(progress, "PLAIN_SECONDS", 0)
    call_command("verigator_sync", "--workers", "2")
    lines = capsys.readouterr().err.splitlines()
    assert any(line.startswith("registering: 30 of 30, ") for line in lines)
    assert not any("\r" in line for line in lines)


def test_progress__is_a_moving_line_on_a_terminal(make_users, capsys, monkeypatch):
    make_users(30)
    monkeypatch.setattr("django.core.management.base.OutputWrapper.isatty", lambda self: True)
    monkeypatch.setattr(progress, "TERMINAL_SECONDS", 0)
    call_command("verigator_sync", "--no-color")
    assert f"\r[{'#' * progress.BAR_WIDTH}] registering: 30 of 30, " in capsys.readouterr().err


# --- batches ----------------------------------------------------------------------------------------------------------


class Dispatcher:
    def __init__(self) -> None:
        self.batches: list[list[int]] = []

    def __call__(self, link_pk: int) -> None:
        raise AssertionError("one by one")

    def batch(self, link_pks: list[int]) -> None:
        self.batches.append(link_pks)


dispatcher = Dispatcher()


def test_enqueue__hands_batches_to_the_dispatcher_and_calls_nobody(make_users, settings, monkeypatch, capsys, records):
    settings.VERIGATOR = {**settings.VERIGATOR, "DISPATCHER": "tests.syncing.test_running.dispatcher"}
    monkeypatch.setattr(paging, "BATCH", 4)
    dispatcher.batches.clear()
    make_users(10)
    with pytest.raises(CommandError) as caught:
        call_command("verigator_sync", "--enqueue")
    assert caught.value.returncode == 1
    assert "handed to the task queue: 10" in capsys.readouterr().out
    assert [len(batch) for batch in dispatcher.batches] == [4, 4, 2]
    assert records() == {}

    for batch in dispatcher.batches:
        sync.register_batch(batch)
    first = records()
    assert len(first) == 10
    # Delivered once more, it does nothing.
    sync.register_batch(dispatcher.batches[0])
    assert records() == first
    call_command("verigator_sync", "--enqueue", verbosity=0)


def test_enqueue__needs_a_dispatcher_that_takes_batches(db):
    with pytest.raises(CommandError, match="takes no batches"):
        call_command("verigator_sync", "--enqueue")


def test_batch__keeps_to_the_back_off(make_users, provider, monkeypatch):
    make_users(3)
    missing_links.make_missing_links()
    VerigatorUser.objects.update(next_attempt_at=timezone.now() + timedelta(hours=1))
    monkeypatch.setattr(provider, "register", failing(AssertionError("called")))
    sync.register_batch(list(VerigatorUser.objects.values_list("pk", flat=True)))
