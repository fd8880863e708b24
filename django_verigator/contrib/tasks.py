"""Registrations on Django's task framework: ``django.tasks`` (Django 6.0), or ``django-tasks`` on Django 5.2.

    VERIGATOR["DISPATCHER"] = "django_verigator.contrib.tasks.dispatcher"

A task that is lost, or done twice, does no harm: a link is leased before the provider is asked, what failed is tried
again by ``verigator_sync``, and so is what was under way in a worker that died.
"""

from __future__ import annotations

from ..records import dispatching, sync

try:
    from django.tasks import task
except ImportError:  # Django 5.2
    from django_tasks import task  # type: ignore[no-redef]


@task
def register_link(link_pk: int) -> None:
    dispatching.run_in_worker(link_pk)


@task
def register_links(link_pks: list[int]) -> dict[str, int]:
    return sync.register_batch(link_pks).as_counts()


class Dispatcher:
    """What DISPATCHER names: called with one link after commit, ``batch`` with many by ``verigator_sync --enqueue``."""

    def __call__(self, link_pk: int) -> None:
        register_link.enqueue(link_pk)

    def batch(self, link_pks: list[int]) -> None:
        register_links.enqueue(link_pks)


dispatcher = Dispatcher()
