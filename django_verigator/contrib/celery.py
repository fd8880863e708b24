"""Registrations on Celery (extra ``celery``).

    VERIGATOR["DISPATCHER"] = "django_verigator.contrib.celery.dispatcher"
    CELERY_IMPORTS = ["django_verigator.contrib.celery"]  # so that the workers know the tasks

Tasks are acknowledged when they are done, so those of a worker that died come back. That one comes twice does no harm:
a link is leased before the provider is asked. What failed is tried again by ``verigator_sync``, not by Celery.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as WaitedEnough
from contextvars import copy_context
from typing import Any

from celery import shared_task
from django.db import connections

from ..records import dispatching, sync, time_budget

BATCH_SECONDS = 30.0
PAUSE = 30.0
"""Seconds for which a broker that has kept somebody waiting is not asked again by this process."""
MOST_WAITING = 10


class BrokerSilentError(Exception):
    """The broker has not taken a task in time, or not just now; ``verigator_sync`` makes up for it."""


@shared_task(name="django_verigator.register_link", acks_late=True, reject_on_worker_lost=True, ignore_result=True)
def register_link(link_pk: int) -> None:
    dispatching.run_in_worker(link_pk)


@shared_task(name="django_verigator.register_links", acks_late=True, reject_on_worker_lost=True, ignore_result=True)
def register_links(link_pks: list[int]) -> dict[str, int]:
    return sync.register_batch(link_pks).as_counts()


class Broker:
    """Hands tasks over, and waits so long for it and no longer.

    How long a broker that is down or silent is waited for is each transport's own affair: four seconds, ten, or for
    ever. So that is done in a thread, which may wait as long as it likes.
    """

    def __init__(self) -> None:
        self._waiting: list[threading.Thread] = []  # longer than anybody waits for them
        self._asked_again_at = 0.0

    def hand_over(self, task: Any, *arguments: Any, seconds: float, **options: Any) -> None:
        """Send a task; BrokerSilentError if that takes too long, and for a while after that."""
        # In this thread: the task of the app that is current here.
        send = task._get_current_object().apply_async
        if task.app.conf.task_always_eager:
            send(arguments, **options)
            return
        self._waiting = [thread for thread in self._waiting if thread.is_alive()]
        if time.monotonic() < self._asked_again_at or len(self._waiting) >= MOST_WAITING:
            raise BrokerSilentError("the broker did not answer a moment ago")
        context = copy_context()
        done: Future[None] = Future()
        thread = threading.Thread(
            target=_send, args=(done, lambda: context.run(send, arguments, **options)), daemon=True
        )
        thread.start()
        try:
            done.result(seconds)
        except WaitedEnough:
            if done.done():  # the transport's own
                raise
            self._waiting.append(thread)
            self._asked_again_at = time.monotonic() + PAUSE
            raise BrokerSilentError(f"the broker has not answered for {seconds:.1f} seconds") from None


def _send(done: Future[None], send: Callable[[], Any]) -> None:
    try:
        send()
    except BaseException as error:  # noqa: BLE001 - for whoever waits
        done.set_exception(error)
    else:
        done.set_result(None)
    finally:
        connections.close_all()  # those of this thread: a site's receivers of Celery's signals may have asked


class Dispatcher:
    """What DISPATCHER names: called with one link after commit, ``batch`` with many by ``verigator_sync --enqueue``."""

    def __init__(self) -> None:
        self.broker = Broker()

    def __call__(self, link_pk: int) -> None:
        # Whoever saved a user does not wait for a broker that is down: verigator_sync finds what was not sent.
        self.broker.hand_over(register_link, link_pk, seconds=time_budget.current().remaining, retry=False)

    def batch(self, link_pks: list[int]) -> None:
        self.broker.hand_over(register_links, link_pks, seconds=BATCH_SECONDS)


dispatcher = Dispatcher()
