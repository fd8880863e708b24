"""No transaction is open while the provider is asked, also where the site wraps each request in one.

That is checked after every test of this folder; here are the ways to the provider that no race takes.
"""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.db import connection, transaction
from django.test import Client

from django_verigator.client import http
from django_verigator.flows import syncing
from django_verigator.models import VerigatorUser

from .conftest import (
    ENROL,
    PASSWORD,
    RESEND,
    give_password,
    let_the_pause_pass,
    link_of,
    logged_in,
    make_user,
    phone_number,
    post_pin,
)

pytestmark = pytest.mark.usefixtures("atomic_requests")


@pytest.mark.threat("R24")
def test_login_resend_and_change_of_phone(provider):
    alice = make_user()
    browser = give_password()
    let_the_pause_pass()
    browser.post(RESEND)
    post_pin(browser, provider.pin(phone_number()))
    browser.post("/accounts/security/phone/", {"phone": phone_number(1), "password": PASSWORD})
    browser.post("/accounts/security/phone/confirm/", {"pin": provider.pin(phone_number(1))})

    assert link_of(alice).phone_number == phone_number(1)
    assert (provider.sends, provider.tries, provider.count("users.create")) == (3, 2, 2)
    assert browser.get("/recent/").status_code == 200


@pytest.mark.threat("R24")
def test_first_phone(provider):
    provider.configure(REQUIRED="all")
    alice = make_user(number="")
    browser = give_password()
    browser.post(ENROL, {"phone": phone_number(1)})
    post_pin(browser, provider.pin(phone_number(1)))

    assert logged_in() == [str(alice.pk)]


@pytest.mark.threat("R24")
def test_sign_up_in_the_admin_and_its_sync_action(provider, atomic_requests):
    boss = make_user("boss")
    get_user_model().objects.filter(pk=boss.pk).update(is_staff=True, is_superuser=True)
    browser = give_password("boss")
    post_pin(browser, provider.pin(phone_number()))
    browser.post(
        "/admin/site/user/add/",
        {"username": "new", "usable_password": "true", "password1": PASSWORD, "password2": PASSWORD},
    )
    new = get_user_model().objects.get(username="new")
    get_user_model().objects.filter(pk=new.pk).update(phone_number=phone_number(1))
    browser.post("/admin/site/user/", {"action": "sync_with_verigator", "_selected_action": [new.pk]}, follow=True)

    # Django's page cannot be taken out of the transaction: there the action leaves its users to the next sync.
    assert provider.count("users.create") == (1 if atomic_requests else 2)
    syncing.sync_all()
    assert link_of(new).state == VerigatorUser.State.REGISTERED
    assert provider.count("users.create") == 2


@pytest.mark.threat("R17")
def test_registration_waits_for_the_commit(provider):
    with transaction.atomic():
        alice = make_user()
        assert provider.count("users.create") == 0

    assert provider.count("users.create") == 1
    assert link_of(alice).state == VerigatorUser.State.REGISTERED


@pytest.mark.threat("R24")
@pytest.mark.skipif(connection.vendor != "postgresql", reason="asks PostgreSQL")
def test_the_server_sees_no_idle_transaction_during_a_call(provider):
    states: list[tuple[Any, ...]] = []
    mine, other = connection, connection.copy()
    pid = _pid(mine)

    def look(method: str, path: str) -> None:
        with other.cursor() as cursor:
            cursor.execute("SELECT %s, state FROM pg_stat_activity WHERE pid = %s", [method, pid])
            states.extend(cursor.fetchall())

    http.before_request.append(look)
    try:
        with transaction.atomic():
            alice = make_user()
        browser = give_password(browser=Client())
        let_the_pause_pass()
        browser.post(RESEND)
        post_pin(browser, provider.pin(phone_number()))
        get_user_model().objects.filter(pk=alice.pk).update(phone_number=phone_number(1))
        browser.post("/accounts/security/phone/?proposed=1", {"password": PASSWORD})
        browser.post("/accounts/security/phone/confirm/", {"pin": provider.pin(phone_number(1))})
        with transaction.atomic():
            alice.delete()
    finally:
        http.before_request.remove(look)
        other.close()

    # Registered, two PINs sent, one checked; the new phone registered, its PIN sent and checked; the deletion waits.
    assert [method for method, _ in states] == ["POST", "POST", "POST", "PUT", "POST", "POST", "PUT"]
    assert {state for _, state in states} == {"idle"}


def _pid(database: Any) -> int:
    with database.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        return int(cursor.fetchone()[0])
