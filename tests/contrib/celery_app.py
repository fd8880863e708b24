"""The Celery app of the site that the environment describes (tests.bulk.site)."""

from __future__ import annotations

import os

from celery import Celery

from tests.bulk import site

site.configure()
BROKER = os.environ.get("VERIGATOR_TEST_REDIS", "redis://127.0.0.1:6379/11")

app = Celery("verigator_tests", broker=BROKER)
app.conf.update(
    imports=["django_verigator.contrib.celery"],
    broker_transport_options={
        "global_keyprefix": os.environ["VERIGATOR_KEYS"],
        # So soon a task of a dead worker comes back; an hour by default.
        "visibility_timeout": 1,
        "unacked_restore_limit": 10,
        "polling_interval": 0.2,
    },
    broker_connection_retry_on_startup=True,
    worker_prefetch_multiplier=1,
)
