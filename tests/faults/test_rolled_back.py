"""What was rolled back is not shown on an instance as stored: a write that is done again begins from what is."""

from __future__ import annotations

import inspect
from contextlib import contextmanager, suppress

import pytest
from django.apps import apps
from django.contrib.auth import get_user_model
from django.db import OperationalError, connection, models, transaction
from django.template import Context, Template
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from django_verigator import db as database
from django_verigator.models import Challenge, Counter, PhoneChange, RemoteDeletion, VerigatorUser
from django_verigator.models.deletion import RemoteDeletionQuerySet
from django_verigator.records import links, registration, site_phones

pytestmark = pytest.mark.django_db(transaction=True)
DEADLOCK = (1213, "Deadlock found when trying to get lock")


@pytest.fixture(autouse=True)
def no_pause(monkeypatch):
    monkeypatch.setattr(database, "_LOCKED_PAUSES_SECONDS", (0, 0, 0, 0, 0))
    monkeypatch.setattr(database, "RETRY_PAUSE_SECONDS", 0)


def make_link(name, **fields):
    get_user_model().objects.bulk_create([get_user_model()(username=name)])
    user = get_user_model().objects.get(username=name)
    return VerigatorUser.objects.create(user=user, **{"phone_number": "+37255500001", "state": "pending", **fields})


@pytest.fixture
def schedule_fails_once(monkeypatch):
    """The database goes away between the UPDATE and the INSERT of one transaction."""
    real, calls = RemoteDeletionQuerySet.schedule, []

    def schedule(self, *args):
        calls.append(args)
        if len(calls) == 1:
            raise OperationalError("server closed the connection unexpectedly")
        return real(self.get_queryset(), *args)

    monkeypatch.setattr(type(RemoteDeletion.objects), "schedule", schedule)


def test_fresh_id__is_stored_before_it_is_used(schedule_fails_once):
    link = make_link("a", id_in_service="old-1")
    database.retry_while_locked(lambda: link.replace_id("fresh-2"))
    assert link.id_in_service == VerigatorUser.objects.get(pk=link.pk).id_in_service == "fresh-2"
    assert RemoteDeletion.objects.filter(id_in_service="old-1").exists()


def test_changed_number__is_followed_after_the_database_was_away(schedule_fails_once, monkeypatch):
    link = make_link("b", id_in_service="old-1", verigator_id="v1", state="registered")
    monkeypatch.setattr(site_phones, "phone_of", lambda user: "+37255500002")
    database.retry_while_locked(lambda: links.follow_site_phone(link, link.user))
    assert VerigatorUser.objects.get(pk=link.pk).phone_number == "+37255500002"
    assert RemoteDeletion.objects.filter(verigator_id="v1").exists()


def test_record_of_another_user__is_not_shown_after_a_rollback(monkeypatch):
    link = make_link("c", id_in_service="c-1")
    other = make_link("d", id_in_service="d-1", phone_number="+37255500009")
    real, begun = database.atomic, []

    @contextmanager
    def refused_at_commit(**kwargs):
        begun.append(1)
        if len(begun) > 1:
            with real(**kwargs):
                yield
            return
        with suppress(ZeroDivisionError), real(**kwargs):
            yield
            raise ZeroDivisionError
        VerigatorUser.objects.filter(pk=other.pk).update(verigator_id="taken", state="registered")
        raise OperationalError(*DEADLOCK)

    monkeypatch.setattr(database, "atomic", refused_at_commit)
    registration.mark_registered(link, "taken")
    stored = VerigatorUser.objects.get(pk=link.pk)
    assert (link.state, link.verigator_id) == (stored.state, stored.verigator_id) == ("pending", None)


def test_write_that_fails_twice__is_tried_no_third_time(monkeypatch, caplog):
    link = make_link("e")
    calls = []

    def update(self, **values):
        calls.append(values)
        raise OperationalError(*DEADLOCK)

    monkeypatch.setattr(models.QuerySet, "update", update)
    with pytest.raises(database.RetriesExhaustedError):
        site_phones.dismiss_change(link.user)
    assert len(calls) == 2
    assert caplog.text.count("transaction_failed") == 1


def test_update_in_a_transaction_without_a_block__is_not_done_again(monkeypatch):
    """On MariaDB a deadlock rolls back what came before in the transaction, too."""
    real, calls = models.QuerySet.update, []

    def update(self, **values):
        calls.append(values)
        if len(calls) == 1:
            raise OperationalError(*DEADLOCK)
        return real(self, **values)

    transaction.set_autocommit(False)
    try:
        Counter.objects.bulk_create([Counter(digest="a", scope="s", expires_at=timezone.now())])
        monkeypatch.setattr(models.QuerySet, "update", update)
        with suppress(OperationalError):
            Counter.objects.filter(pk="a").update(count=7)
    finally:
        transaction.rollback()
        transaction.set_autocommit(True)
    assert len(calls) == 1


def callable_from_a_template(cls):
    """Names of the methods of our own that need no argument."""
    for name, method in inspect.getmembers(cls, inspect.isfunction):
        parameters = list(inspect.signature(method).parameters.values())[1:]
        needed = [one for one in parameters if one.default is one.empty and one.kind is not one.VAR_KEYWORD]
        if not name.startswith("_") and method.__module__.startswith("django_verigator.") and not needed:
            yield name


@pytest.mark.parametrize("model", list(apps.get_app_config("django_verigator").get_models()))
def test_template__changes_no_row(model):
    link = make_link("f")
    Challenge.objects.create(user=link.user, nonce_digest="n", tries=5)
    PhoneChange.objects.create(user=link.user, phone_number="+37255500003", expires_at=timezone.now())
    things = [(model.objects.all(), type(model.objects.all())), *((row, model) for row in model.objects.all())]
    for thing, cls in things:
        names = list(callable_from_a_template(cls))
        # A Write that a method returns has a ``run``.
        for name in [*names, *(f"{name}.run" for name in names)]:
            with CaptureQueriesContext(connection) as queries:
                Template("{{ thing." + name + " }}").render(Context({"thing": thing}))
            assert all(query["sql"].startswith("SELECT") for query in queries), name
