"""Registrations on Django's task framework: ``django.tasks`` (Django 6.0), or ``django-tasks`` on Django 5.2.

    VERIGATOR["DISPATCHER"] = "django_verigator.contrib.tasks.dispatcher"

Tasks are idempotent: a link is leased before the provider is asked. ``verigator_sync`` retries what failed, was lost,
or was under way in a worker that died.
"""

from __future__ import annotations

from ..records import dispatching, sync

try:
    from django.tasks import task
except ImportError:  # Django 5.2
    from django_tasks import task  # type: ignore[no-redef]


@task
def register_link(link_pk: int) -> None:
    """Register one link."""
    dispatching.run_in_worker(link_pk)


@task
def register_links(link_pks: list[int]) -> dict[str, int]:
    """Register a batch of links, and return the counts by outcome."""
    return sync.register_batch(link_pks).as_counts()


class Dispatcher:
    """The DISPATCHER: called with one link after commit; ``verigator_sync --enqueue`` calls ``batch`` with many."""

    def __call__(self, link_pk: int) -> None:
        register_link.enqueue(link_pk)

    def batch(self, link_pks: list[int]) -> None:
        """Enqueue one task for many links."""
        register_links.enqueue(link_pks)


dispatcher = Dispatcher()
