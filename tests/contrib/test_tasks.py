"""Registrations on Django's task framework: one by one, in batches, and with a worker that dies in the middle."""

from __future__ import annotations

import django
import pytest

if django.VERSION < (6, 0):
    pytest.importorskip("django_tasks", reason="django-tasks is not installed (extra tasks)")

from django_verigator.contrib import tasks as contrib
from django_verigator.models import VerigatorUser
from tests.bulk import driver
from tests.site.models import User

from .conftest import kill, wait_for

DISPATCHER = "django_verigator.contrib.tasks.dispatcher"
USERS = 40


def test_saved_user__is_registered_by_a_task(db, settings, django_capture_on_commit_callbacks):
    settings.VERIGATOR = {**settings.VERIGATOR, "DISPATCHER": DISPATCHER}
    with django_capture_on_commit_callbacks(execute=True):
        User.objects.create_user("bob", phone_number="+37255500067")
    link = VerigatorUser.objects.get()
    assert link.state == VerigatorUser.State.REGISTERED
    contrib.register_link.call(link.pk)
    contrib.register_link.call(link.pk + 1)
    assert VerigatorUser.objects.get().verigator_id == link.verigator_id


@pytest.mark.threat("R19")
def test_worker_that_is_killed_half_way__loses_nobody_and_doubles_nobody(url, slow_site, start):
    pytest.importorskip("django_tasks_db", reason="django-tasks-db is not installed (extra tasks)")
    apps = ["django_tasks_db"] if django.VERSION >= (6, 0) else ["django_tasks", "django_tasks_db"]
    backend = {"default": {"BACKEND": "django_tasks_db.DatabaseBackend"}}
    site = slow_site(DISPATCHER, TASKS=backend, MORE_APPS=apps)
    site.do("make_users", USERS)
    assert site.do("enqueue")["report"]["counts"]["handed_over"] == USERS

    worker = start(site, "-m", "tests.bulk.site", "db_worker")
    wait_for(lambda: driver.calls(url, "users.create") > USERS // 4)
    kill(worker)
    assert driver.calls(url, "users.create") < USERS

    # Nobody delivers that batch again; the sync makes up for it.
    result = driver.finish(site, workers=8)

    assert result.problems(USERS) == []
