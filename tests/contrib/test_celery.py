"""Registrations on Celery: one by one, in batches, and with a worker that dies in the middle."""

from __future__ import annotations

import os
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator

import pytest

from django_verigator.records import time_budget

celery = pytest.importorskip("celery", reason="Celery is not installed (extra celery)")
redis = pytest.importorskip("redis", reason="redis-py is not installed (extra celery)")

from django_verigator.contrib import celery as contrib  # noqa: E402
from django_verigator.models import VerigatorUser  # noqa: E402
from tests.bulk import driver  # noqa: E402
from tests.deadlines import in_time  # noqa: E402
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


SILENT_BROKERS = ["redis://127.0.0.1:{port}/0", "amqp://127.0.0.1:{port}//"]


@pytest.fixture
def silent_port() -> Iterator[int]:
    """Connections are accepted, and nothing is ever answered."""
    with socket.create_server(("127.0.0.1", 0), backlog=50) as server:
        yield server.getsockname()[1]


@pytest.fixture
def use_broker(settings, monkeypatch) -> Iterator[Callable[[str], None]]:
    """``use_broker(address)`` has saved users registered through it; half a second is as long as anybody waits."""
    settings.VERIGATOR = {**settings.VERIGATOR, "DISPATCHER": DISPATCHER}
    monkeypatch.setattr(time_budget, "IN_PROCESS_SECONDS", 0.5)
    monkeypatch.setattr(contrib.dispatcher, "broker", contrib.Broker())
    apps = []

    def use(address: str) -> None:
        apps.append(celery.Celery("elsewhere", broker=address, set_as_current=True))

    yield use
    for app in apps:
        app.close()


@pytest.mark.fault("N04")
@pytest.mark.parametrize("address", SILENT_BROKERS)
def test_broker_that_swallows_packets__holds_no_save_up(transactional_db, use_broker, silent_port, caplog, address):
    use_broker(address.format(port=silent_port))
    with in_time(0.5):
        User.objects.create_user("bob", phone_number="+37255500067")
    assert "dispatch_failed" in caplog.text
    assert "BrokerSilentError" in caplog.text
    threads = threading.active_count()
    for number in range(10):
        User.objects.create_user(f"user{number}", phone_number=f"+3725550006{number}")
    assert threading.active_count() <= threads, "it is not asked again so soon, so nobody else waits for it"
    assert VerigatorUser.objects.filter(state=VerigatorUser.State.PENDING).count() == 11


@pytest.mark.fault("N04")
def test_broker_that_swallows_packets__is_asked_again_later_and_not_without_end(
    transactional_db, use_broker, silent_port, monkeypatch, caplog
):
    use_broker(SILENT_BROKERS[0].format(port=silent_port))
    monkeypatch.setattr(contrib, "PAUSE", 0)
    monkeypatch.setattr(contrib, "MOST_WAITING", 2)
    threads = threading.active_count()
    with in_time(6 * 0.5):  # two of ten wait, and what is done for the first time takes long on a busy machine
        for number in range(10):
            User.objects.create_user(f"user{number}", phone_number=f"+3725550006{number}")
    assert threading.active_count() <= threads + 2


@pytest.mark.fault("N04")
@pytest.mark.parametrize("address", SILENT_BROKERS)
def test_broker_that_is_down__holds_no_save_up(transactional_db, use_broker, address):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    use_broker(address.format(port=port))
    with in_time(0.5):
        User.objects.create_user("bob", phone_number="+37255500067")
    assert VerigatorUser.objects.get().state == VerigatorUser.State.PENDING


@pytest.mark.fault("N04")
def test_batches__wait_for_a_silent_broker_no_longer_than_that(use_broker, silent_port, monkeypatch):
    use_broker(SILENT_BROKERS[0].format(port=silent_port))
    monkeypatch.setattr(contrib, "BATCH_SECONDS", 0.5)
    with in_time(0.5), pytest.raises(contrib.BrokerSilentError):
        contrib.dispatcher.batch([1, 2, 3])


def test_broker_that_refuses__is_told_as_it_says(use_broker, monkeypatch):
    """What the transport raises, time-outs too, reaches the log as it is."""
    use_broker("memory://")

    def refuse(*args, **kwargs):
        raise TimeoutError("the broker's own")

    monkeypatch.setattr(type(contrib.register_link._get_current_object()), "apply_async", refuse)
    with pytest.raises(TimeoutError, match="the broker's own"):
        contrib.dispatcher(1)


def test_tasks__come_back_when_their_worker_is_lost():
    for task in (contrib.register_link, contrib.register_links):
        assert (task.acks_late, task.reject_on_worker_lost) == (True, True)


@pytest.mark.threat("R19")
def test_worker_that_is_killed_half_way__loses_nobody_and_doubles_nobody(url, slow_site, start, keys):
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
