"""Registrations on Celery (extra ``celery``).

    VERIGATOR["DISPATCHER"] = "django_verigator.contrib.celery.dispatcher"
    CELERY_IMPORTS = ["django_verigator.contrib.celery"]  # so that the workers know the tasks

Tasks are acknowledged when they are done, so those of a worker that died come back. That one comes twice does no harm:
a link is leased before the provider is asked. What failed is tried again by ``verigator_sync``, not by Celery.
"""

from __future__ import annotations

from celery import shared_task

from ..flows import registration, syncing


@shared_task(name="django_verigator.register_link", acks_late=True, reject_on_worker_lost=True, ignore_result=True)
def register_link(link_pk: int) -> None:
    registration.run_in_worker(link_pk)


@shared_task(name="django_verigator.register_links", acks_late=True, reject_on_worker_lost=True, ignore_result=True)
def register_links(link_pks: list[int]) -> dict[str, int]:
    return syncing.register_batch(link_pks).as_counts()


class Dispatcher:
    """What DISPATCHER names: called with one link after commit, ``batch`` with many by ``verigator_sync --enqueue``."""

    def __call__(self, link_pk: int) -> None:
        # Whoever saved a user does not wait for a broker that is down: verigator_sync finds what was not sent.
        register_link.apply_async((link_pk,), retry=False)

    def batch(self, link_pks: list[int]) -> None:
        register_links.apply_async((link_pks,))


dispatcher = Dispatcher()
