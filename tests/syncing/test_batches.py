"""Batches of a bulk run: how many statements they take, how much is held at a time, how soon answers are stored."""

from __future__ import annotations

import itertools
import logging
import threading
import time

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from django_verigator import signals
from django_verigator.backends import backends
from django_verigator.models import VerigatorUser
from django_verigator.records import sync
from django_verigator.records.registration import RegistrationResult
from django_verigator.records.sync import batches, missing_links, stages, workers


@pytest.fixture
def make_links(make_users):
    """Links that wait to be registered; returns their primary keys."""

    def make(count):
        make_users(count)
        missing_links.make_missing_links()
        return list(VerigatorUser.objects.values_list("pk", flat=True))

    return make


@pytest.mark.parametrize("count", [5, 60])
def test_batch__takes_three_statements_however_many_links(make_links, count):
    pks = make_links(count)
    with CaptureQueriesContext(connection) as context:
        leased, others = batches.lease(pks, force=False)
        batches.mark_registered([(link, f"id-{link.pk}") for link in leased])
    verbs = [query["sql"].split()[0] for query in context.captured_queries]
    assert [verb for verb in verbs if verb in ("SELECT", "INSERT", "UPDATE", "DELETE")] == [
        "UPDATE",
        "SELECT",
        "UPDATE",
    ]
    assert (len(leased), others) == (count, [])
    assert VerigatorUser.objects.registered().count() == count


def test_links_without_an_id__are_given_one_and_leased_with_the_others(make_links):
    pks = make_links(5)
    VerigatorUser.objects.filter(pk__in=pks[:2]).update(id_in_service=None)
    leased, others = batches.lease(pks, force=False)
    assert sorted(link.pk for link in leased) == pks
    assert others == []
    assert len({link.id_in_service for link in leased} - {None}) == 5


def test_run__holds_as_many_links_as_its_workers_need(make_links, monkeypatch):
    """However many users there are, so memory stays flat."""
    make_links(200)
    held, most = 0, 0
    fetch, settle = stages.Registering.fetch, stages.Registering.settle

    def count_fetched(stage, count):
        nonlocal held, most
        links = fetch(stage, count)
        held += len(links)
        most = max(most, held)
        return links

    def count_settled(stage, answers):
        nonlocal held
        held -= len(answers)
        return settle(stage, answers)

    monkeypatch.setattr(workers, "_MOST_EACH", 8)
    monkeypatch.setattr(stages.Registering, "fetch", count_fetched)
    monkeypatch.setattr(stages.Registering, "settle", count_settled)
    assert sync.sync_all(workers=4).counts[RegistrationResult.REGISTERED] == 200
    assert held == 0
    assert most <= 2 * 8 * 4


class Waiting(workers.Stage[int]):
    """Three calls that end only once the answer of the fourth is stored."""

    def __init__(self):
        self._items = [1, 2, 3, 4]
        self.stored = threading.Event()
        self.in_vain = False

    def fetch(self, count):
        items, self._items = self._items, []
        return items

    def call(self, item):
        if item != 4 and not self.stored.wait(20):
            self.in_vain = True

    def settle(self, answers):
        self.stored.set()
        return ()


def test_answers__are_stored_soon_however_few_there_are(settings):
    stage = Waiting()
    with workers.WorkerPool(backends.default, 4, 0) as pool:
        pool.run(stage, lambda done: None)
    assert not stage.in_vain


class Measured(workers.Stage[int]):
    """Calls of 10 milliseconds; notes how many are fetched at once."""

    def __init__(self, count):
        self._items = iter(range(count))
        self.fetched, self.settled = [], 0

    def fetch(self, count):
        items = list(itertools.islice(self._items, count))
        self.fetched.append(len(items))
        return items

    def call(self, item):
        time.sleep(0.01)

    def settle(self, answers):
        self.settled += len(answers)
        return ()


def test_batches__are_of_few_sizes():
    """SQLite's driver keeps a prepared statement of each, 128 of them."""
    stage = Measured(400)
    with workers.WorkerPool(backends.default, 3, 0) as pool:
        pool.run(stage, lambda done: None)
    assert stage.settled == 400
    whole = stage.fetched[: stage.fetched.index(0) - 1]
    assert len(whole) > 3
    assert all(size == 2 * 3 or size.bit_count() == 1 for size in whole)


def test_signal__is_sent_also_where_nobody_keeps_the_line_in_the_log(make_links, caplog):
    make_links(3)
    heard = []

    def hear(user, link, **kwargs):
        heard.append((user.pk, link.verigator_id))

    signals.registered.connect(hear)
    try:
        with caplog.at_level(logging.ERROR, logger="django_verigator"):
            sync.sync_all()
    finally:
        signals.registered.disconnect(hear)
    assert sorted(heard) == sorted(VerigatorUser.objects.values_list("user_id", "verigator_id"))
    assert "registered" not in caplog.text
