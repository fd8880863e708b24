"""Nothing that is to happen after commit makes a save fail, or holds it up for long."""

from __future__ import annotations

import sys
import time
from contextlib import contextmanager
from typing import Any

import pytest
from asgiref.sync import async_to_sync, sync_to_async
from django.contrib.auth.models import AnonymousUser
from django.contrib.sessions.backends.db import SessionStore
from django.core.management import call_command
from django.db import OperationalError, connection, transaction
from django.http import HttpResponse
from django.test import AsyncRequestFactory, RequestFactory

from django_verigator.backends import backends
from django_verigator.middleware import VerigatorMiddleware
from django_verigator.models import VerigatorUser
from django_verigator.records import time_budget
from tests.site.models import User

from .conftest import PHONE
from .deadlines import in_time

State = VerigatorUser.State
pytestmark = pytest.mark.django_db(transaction=True)


def fails(link_pk: int) -> None:
    raise RuntimeError(f"no queue for {PHONE}")


def fails_in_its_transaction(link_pk: int) -> None:
    with transaction.atomic():
        User.objects.update(first_name="half way")
        raise OperationalError("gone away")


def loses_the_connection(link_pk: int) -> None:
    connection.close()
    raise OperationalError("gone away")


def takes_nothing() -> None:
    pass


HERE = "tests.test_dispatching."
FAILING = [f"{HERE}{function.__name__}" for function in (fails, fails_in_its_transaction, loses_the_connection)]
FAILING += [f"{HERE}takes_nothing", f"{HERE}is_not_there", "there.is.no.such.module", "tests.broken_queue.dispatcher"]


@pytest.fixture(autouse=True)
def _broken_module(monkeypatch: pytest.MonkeyPatch) -> None:
    """A module that fails in its own way while it is imported."""

    class Finder:
        def find_spec(self, name: str, *args: Any) -> None:
            if name == "tests.broken_queue":
                raise OSError("no address of the broker in the environment")

    monkeypatch.setattr(sys, "meta_path", [Finder(), *sys.meta_path])


@contextmanager
def autocommit():
    yield


@pytest.mark.fault("N03")
@pytest.mark.parametrize("saving_in", [autocommit, transaction.atomic])
@pytest.mark.parametrize("dispatcher", FAILING)
def test_dispatcher_that_fails__fails_no_save_and_no_hook_of_the_site(settings, caplog, dispatcher, saving_in):
    settings.VERIGATOR = {**settings.VERIGATOR, "DISPATCHER": dispatcher}
    hooks = []
    with saving_in():
        user = User.objects.create_user("bob", phone_number=PHONE)
        transaction.on_commit(lambda: hooks.append("run"))
    assert hooks == ["run"]
    assert VerigatorUser.objects.get().state == State.PENDING
    assert f"dispatch_failed user={user.pk} error=" in caplog.text
    assert "Traceback" in caplog.text
    assert PHONE[1:] not in caplog.text
    assert not connection.in_atomic_block
    call_command("verigator_sync", "--due", verbosity=0)
    assert VerigatorUser.objects.get().state == State.REGISTERED


@pytest.mark.fault("N03")
@pytest.mark.parametrize("saving_in", [autocommit, transaction.atomic])
def test_first_query_that_fails__fails_no_save_and_no_hook_of_the_site(monkeypatch, saving_in):
    hooks = []

    def lose(execute, sql, *args):
        if sql.startswith("SELECT") and "INNER JOIN" in sql:  # what the registration begins with
            hooks.append("lost")
            raise OperationalError("server closed the connection unexpectedly")
        return execute(sql, *args)

    with connection.execute_wrapper(lose), saving_in():
        User.objects.create_user("bob", phone_number=PHONE)
        transaction.on_commit(lambda: hooks.append("run"))
    assert hooks == ["lost", "run"]
    assert VerigatorUser.objects.get().state == State.PENDING


@pytest.mark.fault("N03")
def test_site_that_commits_by_itself__can_save_users():
    transaction.set_autocommit(False)
    try:
        User.objects.create_user("bob", phone_number=PHONE)
        transaction.commit()
    finally:
        transaction.set_autocommit(True)
    assert VerigatorUser.objects.get().state == State.PENDING
    call_command("verigator_sync", "--due", verbosity=0)
    assert VerigatorUser.objects.get().state == State.REGISTERED


# --- many users at a time ---------------------------------------------------------------------------------------------


@pytest.fixture
def slow_provider(monkeypatch: pytest.MonkeyPatch) -> None:
    """A tenth of what is so in the world: 0.03 seconds for each record, 0.2 for all of them."""
    provider = backends.default
    register = provider.register

    def slowly(*args: Any, **kwargs: Any) -> str:
        time.sleep(0.03)
        return register(*args, **kwargs)

    monkeypatch.setattr(provider, "register", slowly)
    monkeypatch.setattr(time_budget, "IN_PROCESS_SECONDS", 0.2)


def make_users(many: int = 30) -> None:
    for number in range(many):
        User.objects.create_user(f"user{number}", phone_number=f"+372555000{number:02}")


def import_users(request: Any) -> HttpResponse:
    make_users()
    return HttpResponse("imported")


def import_users_at_once(request: Any) -> HttpResponse:
    with transaction.atomic():
        return import_users(request)


async def import_users_async(request: Any) -> HttpResponse:
    await sync_to_async(make_users)()
    return HttpResponse("imported")


def with_session(request: Any) -> Any:
    request.user, request.session = AnonymousUser(), SessionStore()
    return request


@pytest.mark.fault("N06")
@pytest.mark.parametrize("how", [import_users, import_users_at_once, import_users_async, "a script's transaction"])
def test_many_users_saved__wait_for_the_provider_no_longer_than_one(slow_provider, caplog, how):
    with in_time(3):  # thirty users take long by themselves on a busy machine; how long is waited, the count below says
        if how == import_users_async:
            async_to_sync(VerigatorMiddleware(how))(with_session(AsyncRequestFactory().get("/")))
        elif callable(how):
            VerigatorMiddleware(how)(with_session(RequestFactory().get("/")))
        else:
            with transaction.atomic():
                make_users()
    registered = VerigatorUser.objects.filter(state=State.REGISTERED).count()
    assert 1 <= registered <= 7
    assert VerigatorUser.objects.filter(state=State.PENDING, attempts=0).count() == 30 - registered
    assert caplog.text.count("left_to_sync user=") == 1
    call_command("verigator_sync", "--due", verbosity=0)
    assert VerigatorUser.objects.filter(state=State.REGISTERED).count() == 30


@pytest.mark.fault("N06")
def test_next_request_and_next_transaction__have_their_own_time(slow_provider):
    for name in ("first", "second"):
        VerigatorMiddleware(import_users)(with_session(RequestFactory().get("/")))
        assert VerigatorUser.objects.filter(state=State.REGISTERED).exists(), f"in the {name} request"
        User.objects.all().delete()
    for name in ("first", "second"):
        with transaction.atomic():
            make_users()
        assert VerigatorUser.objects.filter(state=State.REGISTERED).exists(), f"in the {name} transaction"
        User.objects.all().delete()


def test_script_that_saves_one_by_one__has_each_registered(slow_provider):
    make_users(10)
    assert VerigatorUser.objects.filter(state=State.REGISTERED).count() == 10


@pytest.mark.fault("N06")
def test_registration_in_process__gets_what_is_left_of_the_time(monkeypatch):
    timeouts = []
    provider = backends.default
    register = provider.register

    def slowly(*args: Any, timeout: float, **kwargs: Any) -> str:
        timeouts.append(timeout)
        time.sleep(0.03)
        return register(*args, timeout=timeout, **kwargs)

    monkeypatch.setattr(provider, "register", slowly)
    with transaction.atomic():
        make_users(3)
    first, second, third = timeouts
    assert 1.5 < third < second - 0.03 < first - 0.06 <= 2.0
