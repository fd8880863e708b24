"""Registrations on Celery: one by one, in batches, and with a worker that dies in the middle."""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Iterator

import pytest

celery = pytest.importorskip("celery", reason="Celery is not installed (extra celery)")
redis = pytest.importorskip("redis", reason="redis-py is not installed (extra celery)")

from django_verigator.contrib import celery as contrib  # noqa: E402
from django_verigator.models import VerigatorUser  # noqa: E402
from tests.bulk import driver  # noqa: E402
from tests.site.models import User  # noqa: E402

from .conftest import kill, wait_for  # noqa: E402

DISPATCHER = "django_verigator.contrib.celery.dispatcher"
BROKER = os.environ.get("VERIGATOR_TEST_REDIS", "redis://127.0.0.1:6379/11")
USERS = 40


@pytest.fixture
def keys() -> Iterator[str]:
    """The prefix of this test's keys on the Redis server."""
    server = redis.Redis.from_url(BROKER)
    try:
        server.ping()
    except redis.ConnectionError:
        server.close()
        pytest.skip(f"no Redis at {BROKER}")
    prefix = f"verigator-{uuid.uuid4().hex}:"
    yield prefix
    for key in server.scan_iter(f"{prefix}*"):
        server.delete(key)
    server.close()


@pytest.fixture
def eager() -> Iterator[None]:
    app = celery.Celery("eager", broker="memory://", set_as_current=True)
    app.conf.task_always_eager = True
    app.set_default()
    yield
    app.close()


def test_saved_user__is_registered_by_a_task(db, settings, eager, django_capture_on_commit_callbacks):
    settings.VERIGATOR = {**settings.VERIGATOR, "DISPATCHER": DISPATCHER}
    with django_capture_on_commit_callbacks(execute=True):
        User.objects.create_user("bob", phone_number="+37255500067")
    link = VerigatorUser.objects.get()
    assert link.state == VerigatorUser.State.REGISTERED
    contrib.register_link(link.pk)
    contrib.register_link(link.pk + 1)
    assert VerigatorUser.objects.get().verigator_id == link.verigator_id


def test_tasks__come_back_when_their_worker_is_lost():
    for task in (contrib.register_link, contrib.register_links):
        assert (task.acks_late, task.reject_on_worker_lost) == (True, True)


def test_R19_worker_that_is_killed_half_way__loses_nobody_and_doubles_nobody(url, slow_site, start, keys):
    site = slow_site(DISPATCHER)
    environment = {"VERIGATOR_KEYS": keys}
    os.environ["VERIGATOR_KEYS"] = keys
    site.do("make_users", USERS)
    assert site.do("enqueue", "tests.contrib.celery_app")["report"]["counts"]["handed_over"] == USERS
    command = ("-m", "celery", "-A", "tests.contrib.celery_app", "worker", "-c", "1", "--without-gossip",
               "--without-mingle", "--without-heartbeat", "-n")  # fmt: skip

    first = start(site, *command, "first@test", **environment)
    wait_for(lambda: driver.calls(url, "users.create") > USERS // 4)
    kill(first)
    made = driver.calls(url, "users.create")
    assert made < USERS

    # The batch comes back to the next worker, which looks for such ones when it starts.
    time.sleep(1.5)
    start(site, *command, "second@test", **environment)
    wait_for(lambda: driver.calls(url, "users.create") > made + USERS // 4)
    # Whom the dead one had in hand is left to the sync.
    result = driver.finish(site, workers=8)

    assert result.problems(USERS) == []
