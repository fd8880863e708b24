"""A login, a guarded page and the sync's pages cost no more with a million rows: their statements use indexes.

On PostgreSQL alone, with VERIGATOR_TEST_ROWS rows in each table: 30,000 if nothing is said.
"""

from __future__ import annotations

import os
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.contrib.auth.hashers import make_password
from django.db import connection
from django.test import Client
from django.utils import timezone

from django_verigator.backends import RemoteUser, locmem
from django_verigator.flows import support
from django_verigator.models import Challenge, PhoneChange, VerigatorUser
from django_verigator.records import dispatching, statistics
from django_verigator.records.sync import batches, comparing, paging, phases

from ..conftest import PASSWORD
from .crowd import FIRST, fill
from .plans import Plans, planned

pytestmark = [
    pytest.mark.server,
    pytest.mark.skipif(connection.vendor != "postgresql", reason="reads PostgreSQL's plans"),
]
ROWS = int(os.environ.get("VERIGATOR_TEST_ROWS", 30_000))
# Of a small table half is read sooner in one go; a real page has 500.
PAGE = 500 if ROWS >= 500_000 else 50
_NAMES = ("verigatoruser", "challenge", "counter", "phonechange", "recoverycode", "trustedbrowser", "remotedeletion")
TABLES = [*(f"django_verigator_{name}" for name in _NAMES), "site_user"]


@pytest.fixture(scope="module")
def crowd(django_db_setup: None, django_db_blocker: Any) -> Any:
    with django_db_blocker.unblock():
        fill(ROWS)
        yield
        with connection.cursor() as cursor:
            cursor.execute(f"TRUNCATE {', '.join(TABLES)} CASCADE")


@pytest.fixture
def alice(crowd: None, db: None) -> Any:
    """One of the crowd, and her password."""
    user = get_user_model().objects.get(pk=FIRST + ROWS // 2 + 1)
    user.password = make_password(PASSWORD)
    user.save(update_fields=["password"])
    PhoneChange.objects.filter(user=user).delete()
    link = VerigatorUser.objects.get(user=user)
    memory = locmem._memories.setdefault("default", locmem._Memory())
    memory.phones[link.verigator_id] = link.phone_number
    return user


def no_scan(plans: Plans) -> None:
    assert len(plans) > 0
    found = plans.scanning(*TABLES)
    assert not found, "\n".join(found)


def log_in(user: Any) -> Client:
    browser = Client()
    given = {"username": user.username, "password": PASSWORD}
    assert browser.post("/accounts/login/", given)["Location"] == "/accounts/verify/"
    assert browser.get("/accounts/verify/").status_code == 200
    return browser


def give_pin(browser: Client, **more: str) -> None:
    assert browser.post("/accounts/verify/", {"pin": locmem.outbox[-1].pin, **more}).status_code == 302


def test_login_and_guarded_pages__use_indexes(alice: Any, settings: Any) -> None:
    settings.VERIGATOR = {**settings.VERIGATOR, "TRUSTED_BROWSER_DAYS": 30}
    with planned() as plans:
        browser = log_in(alice)
        browser.post("/accounts/verify/", {"pin": "0000" if locmem.outbox[-1].pin != "0000" else "1111"})
        Challenge.objects.filter(user=alice).update(resend_at=timezone.now() - timedelta(seconds=1))
        browser.post("/accounts/verify/resend/")
        give_pin(browser, trust="on")
        for page in ("/verified/", "/recent/", "/accounts/security/"):
            assert browser.get(page).status_code == 200
        give_pin(log_in(alice))
        again = Client()
        again.cookies = browser.cookies
        again.logout()
        again.post("/accounts/login/", {"username": alice.username, "password": PASSWORD})
    assert len(plans) > 60
    no_scan(plans)


def test_change_of_phone_and_recovery_codes__use_indexes(alice: Any) -> None:
    browser = log_in(alice)
    give_pin(browser)
    with planned() as plans:
        codes = browser.post("/accounts/security/recovery-codes/", {"password": PASSWORD}).context_data["codes"]
        browser.post("/accounts/security/phone/", {"phone": "+37259999999", "password": PASSWORD})
        give_pin(browser)
        other = log_in(alice)
        assert other.post("/accounts/verify/recovery/", {"code": codes[0]}).status_code == 302
    no_scan(plans)


def test_saving_and_deleting_a_user__use_indexes(alice: Any) -> None:
    with planned() as plans:
        alice.first_name = "Alice"
        alice.save()
        user = get_user_model().objects.create_user("new", phone_number="+37259999998")
        dispatching.run_now(user.verigator.pk)
        user.delete()
        support.reset(alice, by="test")
    no_scan(plans)


def test_pages_of_the_sync__use_indexes(alice: Any) -> None:
    some = VerigatorUser.objects.filter(user_id__gt=FIRST + ROWS // 2).order_by("pk")[:PAGE]
    listed = [RemoteUser(link.verigator_id or "", link.id_in_service or "") for link in some]
    VerigatorUser.objects.filter(pk__in=[link.pk for link in some[:20]]).update(
        state="pending", verigator_id=None, next_attempt_at=timezone.now()
    )
    with planned() as plans:
        assert comparing.compare(listed) == ([], [])
        comparing.adopt(listed)
    assert VerigatorUser.objects.filter(state="pending").count() == 0
    VerigatorUser.objects.filter(pk__in=[link.pk for link in some[:20]]).update(state="pending", verigator_id=None)
    with planned() as more:
        pks = list(paging.pks(phases.waiting()))
        leased, others = batches.lease(pks, force=True)
        batches.mark_registered([(link, f"new{link.pk}") for link in leased])
    assert (len(pks), len(others)) == (20, 0)
    no_scan(plans)
    no_scan(more)


def test_what_is_due__is_found_by_an_index(alice: Any) -> None:
    VerigatorUser.objects.filter(user=alice).update(state="pending", verigator_id=None)
    with planned() as plans:
        assert list(paging.pks(phases.waiting().due(timezone.now())))
    no_scan(plans)


def test_glance__is_counted_over_an_index(alice: Any) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL enable_seqscan = off")  # a small table is read as quickly in one go
    with planned() as plans:
        found = statistics.collect()
    assert sum(standing.count for standing in found.states) == ROWS
    assert "Index Only Scan using verigator_glance" in plans[0].plan
