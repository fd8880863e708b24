"""Registrations on Celery (extra ``celery``).

    VERIGATOR["DISPATCHER"] = "django_verigator.contrib.celery.dispatcher"
    CELERY_IMPORTS = ["django_verigator.contrib.celery"]  # so that the workers know the tasks

Tasks are acknowledged when they are done, so those of a worker that died are delivered again. They are idempotent: a
link is leased before the provider is asked. ``verigator_sync`` retries what failed, not Celery.
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
"""Seconds for which this process asks a broker no more that did not answer in time."""

MOST_WAITING = 10
"""Threads that wait for a silent broker beyond their time limit."""


class BrokerSilentError(Exception):
    """The broker did not take a task in time; ``verigator_sync`` registers the link later."""


@shared_task(name="django_verigator.register_link", acks_late=True, reject_on_worker_lost=True, ignore_result=True)
def register_link(link_pk: int) -> None:
    """Register one link."""
    dispatching.run_in_worker(link_pk)


@shared_task(name="django_verigator.register_links", acks_late=True, reject_on_worker_lost=True, ignore_result=True)
def register_links(link_pks: list[int]) -> dict[str, int]:
    """Register a batch of links, and return the counts by outcome."""
    return sync.register_batch(link_pks).as_counts()


class Broker:
    """Sends tasks within a time limit.

    Each Celery transport waits for a silent broker as long as it chooses: four seconds, ten, or for ever. So a thread
    sends, which may wait as long as the transport does.
    """

    def __init__(self) -> None:
        self._waiting: list[threading.Thread] = []  # beyond their time limit
        self._asked_again_at = 0.0

    def hand_over(self, task: Any, *arguments: Any, seconds: float, **options: Any) -> None:
        """Send a task.

        Args:
            seconds: the time limit.
            options: of Celery's ``apply_async``.

        Raises:
            BrokerSilentError: the broker did not take it in time, or did not answer a moment ago.
        """
        # Resolved in this thread: which Celery app is current depends on the thread.
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
            if done.done():  # the transport's own time-out
                raise
            self._waiting.append(thread)
            self._asked_again_at = time.monotonic() + PAUSE
            raise BrokerSilentError(f"the broker has not answered for {seconds:.1f} seconds") from None


def _send(done: Future[None], send: Callable[[], Any]) -> None:
    try:
        send()
    except BaseException as error:  # noqa: BLE001 - hand_over raises it
        done.set_exception(error)
    else:
        done.set_result(None)
    finally:
        connections.close_all()  # of this thread: a site's receivers of Celery's signals may have opened some


class Dispatcher:
    """The DISPATCHER: called with one link after commit; ``verigator_sync --enqueue`` calls ``batch`` with many."""

    def __init__(self) -> None:
        self.broker = Broker()

    def __call__(self, link_pk: int) -> None:
        # Saving a user must not wait for a broker that is down: verigator_sync finds what was not sent.
        self.broker.hand_over(register_link, link_pk, seconds=time_budget.current().remaining, retry=False)

    def batch(self, link_pks: list[int]) -> None:
        """Send one task for many links; BrokerSilentError as of ``Broker.hand_over``."""
        self.broker.hand_over(register_links, link_pks, seconds=BATCH_SECONDS)


dispatcher = Dispatcher()
