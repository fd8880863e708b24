"""Workers, their pace, and the point at which a provider counts as down."""

from __future__ import annotations

import threading
from datetime import timedelta

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.core.management import CommandError, call_command
from django.utils import timezone

from django_verigator.exceptions import InternalError, InvalidDataError, ThrottledError, WrongCredentialsError
from django_verigator.models import SyncRun, VerigatorUser
from django_verigator.records import registration, sync
from django_verigator.records.registration import RegistrationResult
from django_verigator.records.sync import batches, workers
from django_verigator.records.sync.report import SHOWN_FAILURES

from .conftest import failing

State = VerigatorUser.State


def counted(provider, monkeypatch, answer):
    """Have ``register`` answer so, and return the list that it fills."""
    calls = []

    def register(phone_number, id_in_service, **kwargs):
        calls.append(threading.current_thread().name)
        return answer(len(calls), phone_number, id_in_service)

    monkeypatch.setattr(provider, "register", register)
    return calls


@pytest.mark.threat("R11", "R40")
@pytest.mark.parametrize("error", [InternalError(status=503), WrongCredentialsError(status=401)])
def test_provider_that_is_down__is_left_alone_after_ten_calls(make_users, provider, monkeypatch, error, capsys):
    make_users(200)
    calls = counted(provider, monkeypatch, lambda *args: failing(error)())
    with pytest.raises(CommandError) as caught:
        call_command("verigator_sync", "--workers", "4")
    assert caught.value.returncode == 1
    # Those that were under way when the tenth came back.
    assert workers.DOWN_AFTER <= len(calls) < workers.DOWN_AFTER + 4
    assert f"the provider does not answer ({error.reason})" in capsys.readouterr().err
    assert SyncRun.objects.get().outcome == SyncRun.Outcome.PROVIDER_DOWN
    rest = VerigatorUser.objects.filter(attempts=0, next_attempt_at=None, leased_until=None, state=State.PENDING)
    assert rest.count() == 200 - len(calls)


@pytest.mark.threat("R35")
def test_errors_now_and_then__do_not_end_the_run(make_users, provider, monkeypatch):
    make_users(100)
    real = provider.register

    def every_third(number, phone_number, id_in_service):
        if number % 3 == 0:
            raise InternalError(status=500)
        return real(phone_number, id_in_service)

    counted(provider, monkeypatch, every_third)
    report = sync.sync_all(workers=3)
    assert report.counts[RegistrationResult.REGISTERED] == 67
    assert (report.failed, report.errors, report.down) == (33, {"provider_error": 33}, "")
    assert not report.is_complete


@pytest.mark.threat("R10")
def test_pause_that_the_provider_asks_for__holds_all_workers(make_users, provider, monkeypatch):
    make_users(8)
    pauses = []
    monkeypatch.setattr(workers.Pace, "pause", lambda self, seconds: pauses.append(seconds))
    real = provider.register

    def busy_first(number, phone_number, id_in_service):
        if number == 1:
            raise ThrottledError(status=429, retry_after=20)
        return real(phone_number, id_in_service)

    counted(provider, monkeypatch, busy_first)
    assert sync.sync_all(workers=1).counts[RegistrationResult.REGISTERED] == 7
    assert pauses == [20]


@pytest.mark.threat("R10", "M11")
def test_Retry_After_of_ten_years__ends_the_run_and_parks_nobody(make_users, provider, monkeypatch):
    make_users(20)
    ten_years = ThrottledError(status=429, retry_after=315_360_000)
    calls = counted(provider, monkeypatch, lambda *args: failing(ten_years)())
    assert sync.sync_all(workers=1).down == "throttled"
    assert len(calls) == 1
    parked = VerigatorUser.objects.exclude(next_attempt_at=None).get()
    assert parked.next_attempt_at < timezone.now() + timedelta(hours=7.2)
    assert (parked.last_error, parked.last_error_at is None) == ("throttled", False)


@pytest.mark.threat("R15")
def test_refused_numbers__are_no_sign_that_the_provider_is_down(make_users, provider, monkeypatch):
    make_users(150)
    counted(provider, monkeypatch, lambda *args: failing(InvalidDataError(status=422))())
    report = sync.sync_all()
    assert report.counts[RegistrationResult.REFUSED] == report.failed == 150
    # The report does not grow with them.
    assert len(report.failures) == SHOWN_FAILURES
    assert not VerigatorUser.objects.exclude(state=State.FAILED).exists()


def test_workers__are_so_many_and_end_with_the_run(make_users, provider, monkeypatch):
    make_users(30)
    together = threading.Barrier(3, timeout=10)
    real = provider.register

    def meet(number, phone_number, id_in_service):
        together.wait()
        return real(phone_number, id_in_service)

    calls = counted(provider, monkeypatch, meet)
    closed = []
    monkeypatch.setattr(provider, "close", lambda: closed.append(threading.current_thread()))
    call_command("verigator_sync", "--workers", "3", verbosity=0)
    assert len(calls) == 30
    assert len(closed) == 3
    assert not any(thread.is_alive() for thread in closed)


@pytest.mark.parametrize("number", ["0", "65"])
def test_workers__have_bounds(db, number):
    with pytest.raises(CommandError, match="from 1 to 64"):
        call_command("verigator_sync", "--workers", number)


def test_pace__spreads_the_calls_and_lets_a_late_worker_catch_up_a_little(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(workers.time, "monotonic", lambda: now[0])
    pace = workers.Pace(10)
    first = [round(pace.reserve(), 3) for _ in range(5)]
    assert first == [-0.25, -0.15, -0.05, 0.05, 0.15]
    now[0] += 60
    assert sum(pace.reserve() <= 0 for _ in range(600)) == 3, "a minute of silence buys no burst"
    pace.pause(100)
    assert pace.reserve() >= 100
    assert [workers.Pace(0).reserve() <= 0 for _ in range(3)] == [True] * 3


def test_SYNC_CALLS_PER_SECOND__holds_for_all_workers_together(make_users, settings, monkeypatch):
    settings.VERIGATOR = {**settings.VERIGATOR, "SYNC_CALLS_PER_SECOND": 500, "SYNC_WORKERS": 8}
    paces = []
    real = workers.Pace.__init__
    monkeypatch.setattr(
        workers.Pace, "__init__", lambda self, per_second: paces.append(per_second) or real(self, per_second)
    )
    make_users(20)
    assert sync.sync_all().counts[RegistrationResult.REGISTERED] == 20
    assert paces == [500]


def test_lease_that_is_nearly_over__is_taken_anew_before_a_call(make_users, provider, monkeypatch):
    make_users(5)
    leases = iter([10, 60, 60, 60, 60, 60, 60])
    real = batches.lease

    def lease(pks, *, force):
        monkeypatch.setattr(registration, "LEASE_SECONDS", next(leases))
        return real(pks, force=force)

    monkeypatch.setattr(batches, "lease", lease)
    calls = counted(provider, monkeypatch, lambda number, *args: f"id-{number}")
    assert sync.sync_all(workers=1).counts[RegistrationResult.REGISTERED] == 5
    assert len(calls) == 5


def test_error_that_is_not_the_provider_s__ends_the_run_and_frees_its_place(make_users, provider, monkeypatch):
    make_users(3)
    with monkeypatch.context() as patch:
        patch.setattr(provider, "register", failing(ImproperlyConfigured("no")))
        with pytest.raises(ImproperlyConfigured):
            sync.sync_all()
    assert SyncRun.objects.get().outcome == SyncRun.Outcome.BROKEN
    assert not VerigatorUser.objects.exclude(leased_until=None).exists()
    assert sync.sync_all().counts[RegistrationResult.REGISTERED] == 3


@pytest.mark.threat("R23")
def test_ID_IN_SERVICE_that_fails_for_one__does_not_stop_the_others(make_users, settings, caplog):
    def broken(user):
        return f"{1 / (user.username != 'u1')}"

    settings.VERIGATOR = {**settings.VERIGATOR, "ID_IN_SERVICE": broken}
    make_users(3)
    report = sync.sync_all()
    assert (report.counts[RegistrationResult.REGISTERED], report.failed) == (3, 0)
    assert caplog.text.count("id_failed user=") == 1


@pytest.mark.threat("R28")
def test_database_that_is_locked_for_a_moment__loses_no_answer(transactional_db, make_users, monkeypatch, records):
    from django.db import OperationalError

    make_users(40)
    monkeypatch.setattr("django_verigator.db._LOCKED_PAUSES_SECONDS", (0, 0, 0))
    real, failed = batches.mark_registered, []

    def locked_twice(answers):
        if len(failed) < 2:
            failed.append(1)
            raise OperationalError("database is locked")
        real(answers)

    monkeypatch.setattr(batches, "mark_registered", locked_twice)
    assert sync.sync_all().counts[RegistrationResult.REGISTERED] == 40
    assert set(records()) == set(VerigatorUser.objects.values_list("verigator_id", flat=True))
