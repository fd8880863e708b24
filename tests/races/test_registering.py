"""One user, one record at the provider, however many save or register the user at once."""

from __future__ import annotations

import threading
from functools import partial

import pytest
from django.contrib.auth import get_user_model
from django.contrib.auth.hashers import make_password

from django_verigator.models import RemoteDeletion, VerigatorUser
from django_verigator.records import links, registration, sync
from django_verigator.records.sync.run import AlreadyRunningError

from .conftest import PASSWORD, give_password, link_of, make_user, phone_number
from .crowd import PATIENCE, crowd, together

State = VerigatorUser.State


def unregistered(count: int = 1):
    """Users written past the signal, as bulk_create leaves them."""
    user_model = get_user_model()
    user_model.objects.bulk_create(
        user_model(username=f"user{number}", phone_number=phone_number(number), password=make_password(PASSWORD))
        for number in range(count)
    )
    return all_users()


def all_users():
    return list(get_user_model().objects.order_by("pk"))


@pytest.mark.threat("R21")
def test_two_workers_register_a_user_once(provider):
    (user,) = unregistered()
    links.ensure(user)
    provider.slow_down()

    def work() -> registration.RegistrationResult:
        return registration.register(VerigatorUser.objects.select_related("user").get())

    outcomes = together(work, work)

    assert provider.count("users.create") == 1
    assert sorted(outcome.name for outcome in outcomes) == ["BUSY", "REGISTERED"]
    assert link_of(user).state == State.REGISTERED
    assert list(provider.records) == [link_of(user).verigator_id]


@pytest.mark.threat("R22")
def test_a_user_saved_by_ten_threads_is_registered_once(provider):
    (user,) = unregistered()
    provider.slow_down()

    crowd(lambda _: get_user_model().objects.get(pk=user.pk).save(), range(10))

    assert provider.count("users.create") == 1
    assert link_of(user).state == State.REGISTERED


@pytest.mark.threat("R21", "R34")
def test_logins_and_two_syncs_at_once_make_one_record_a_user(provider):
    users = unregistered(4)
    provider.slow_down()
    logins = [partial(give_password, user.get_username()) for user in users for _ in range(3)]

    turned_away = []
    second_came = threading.Event()

    def run() -> None:
        try:
            # Where the logins leave it nothing to do, a run would be over before the other one begins.
            sync.sync_all(lambda _: second_came.wait(PATIENCE / 4))
        except AlreadyRunningError as error:
            turned_away.append(error)
            second_came.set()

    together(*logins, run, run)

    assert len(turned_away) == 1
    assert provider.count("users.create") == 4
    assert all(link_of(user).state == State.REGISTERED for user in users)
    assert sorted(provider.records) == sorted(link_of(user).verigator_id for user in users)
    assert not RemoteDeletion.objects.exists()


@pytest.mark.threat("R22")
def test_an_unconfirmed_number_that_changes_while_it_is_registered_leaves_no_stray_record(provider):
    user = make_user()
    provider.slow_down()

    def change(number: int) -> None:
        fresh = get_user_model().objects.get(pk=user.pk)
        fresh.phone_number = phone_number(number)
        fresh.save()

    crowd(change, range(1, 9))
    provider.sandbox.clear_faults()
    sync.sync_all()

    link = link_of(user)
    assert link.state == State.REGISTERED
    assert provider.records == {link.verigator_id: link.id_in_service}
    assert not RemoteDeletion.objects.exists()


@pytest.mark.threat("R37")
def test_users_deleted_while_they_are_registered_leave_no_stray_record(provider):
    users = unregistered(6)
    rows = [links.ensure(user) for user in users]
    provider.slow_down()

    together(*(partial(registration.register, link) for link in rows), *(user.delete for user in all_users()))
    provider.sandbox.clear_faults()
    sync.sync_all()

    assert all_users() == []
    assert provider.records == {}
    assert not RemoteDeletion.objects.exists()


@pytest.mark.threat("R37")
def test_a_link_registered_after_it_was_read_for_deletion_leaves_no_stray_record(provider):
    (user,) = unregistered()
    link = links.ensure(user)
    registration.register(link_of(user))

    link.delete()

    assert RemoteDeletion.objects.get().verigator_id in provider.records


@pytest.mark.threat("R37")
def test_a_user_deleted_in_the_middle_of_a_sync_does_not_stop_it(provider):
    gone, kept = unregistered(2)
    link = links.ensure(gone)
    all_users()[0].delete()

    assert registration.register(link) == registration.RegistrationResult.UNCHANGED
    assert sync.sync_all().counts[registration.RegistrationResult.REGISTERED] == 1
    assert set(provider.records) == {link_of(kept).verigator_id}
