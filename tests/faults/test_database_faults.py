"""A database that refuses a transaction: tried once more, then the user is told; never a 500, never two logins."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import timedelta
from http import HTTPStatus
from typing import Any

import pytest
from django.contrib.auth import SESSION_KEY
from django.db import IntegrityError, OperationalError, connection, connections, transaction
from django.utils import timezone

from django_verigator import db, rate_limits
from django_verigator.backends import locmem
from django_verigator.db import is_transient
from django_verigator.digests import digest
from django_verigator.exceptions import Reason, Refused
from django_verigator.flows import acceptance, limits
from django_verigator.models import Challenge, Counter, VerigatorUser

from ..conftest import WRONG_PIN, deadlock, give_password, sent_pin, writes

PIN_PAGE, RESEND = "/accounts/verify/", "/accounts/verify/resend/"
pytestmark = pytest.mark.usefixtures("pins", "alice")


@pytest.fixture
def alice(transactional_db: None, django_user_model: Any) -> Any:
    return django_user_model.objects.create_user("alice", password="correct horse", phone_number="+37255500067")


class Deadlocks:
    """Refuses statements that ``matches`` likes, so many times."""

    def __init__(self, times: int, matches: Callable[[str], bool]) -> None:
        self.times = times
        self.matches = matches
        self.refused = 0

    def __call__(self, execute: Any, sql: str, *args: Any) -> Any:
        if self.refused < self.times and self.matches(sql):
            self.refused += 1
            raise deadlock()
        return execute(sql, *args)


def consumes(sql: str) -> bool:
    return writes(sql, "UPDATE", "challenge", setting="consumed_at")


def counts(sql: str) -> bool:
    return writes(sql, table="counter")


@pytest.mark.threat("R28")
@pytest.mark.parametrize(("times", "goes_in"), [(1, True), (2, False)])
def test_deadlock_when_the_pin_is_consumed(browser, times, goes_in):
    give_password(browser)
    deadlocks = Deadlocks(times, consumes)
    with connection.execute_wrapper(deadlocks):
        response = browser.post(PIN_PAGE, {"pin": sent_pin()})
    assert deadlocks.refused == times
    assert response.status_code == (HTTPStatus.FOUND if goes_in else HTTPStatus.OK)
    assert (SESSION_KEY in browser.session) is goes_in
    assert Challenge.objects.filter(outcome=Challenge.Outcome.VERIFIED).count() == goes_in


@pytest.mark.threat("R28")
@pytest.mark.parametrize(("times", "is_asked"), [(1, True), (2, False)])
def test_deadlock_when_a_try_is_reserved__asks_nobody_without_a_reservation(browser, times, is_asked):
    give_password(browser)
    with connection.execute_wrapper(deadlocks := Deadlocks(times, counts)):
        response = browser.post(PIN_PAGE, {"pin": sent_pin()})
    assert deadlocks.refused == times
    assert response.status_code == (HTTPStatus.FOUND if is_asked else HTTPStatus.OK)
    assert (SESSION_KEY in browser.session) is is_asked
    # The try of a transaction that was rolled back is there still.
    assert Challenge.objects.get().tries == is_asked


@pytest.mark.threat("R28")
@pytest.mark.parametrize(("times", "is_sent"), [(1, True), (2, False)])
def test_deadlock_when_a_send_is_reserved__sends_nothing_without_a_reservation(browser, times, is_sent):
    give_password(browser)
    Challenge.objects.update(resend_at=None)
    sent = len(locmem.outbox)
    with connection.execute_wrapper(deadlocks := Deadlocks(times, counts)):
        response = browser.post(RESEND)
    assert deadlocks.refused == times
    assert response.status_code == (HTTPStatus.FOUND if is_sent else HTTPStatus.OK)
    assert len(locmem.outbox) - sent == is_sent
    # What was sent before is good still, or the new one is.
    assert browser.post(PIN_PAGE, {"pin": sent_pin()})["Location"] == "/private/"


@pytest.mark.threat("R28")
@pytest.mark.parametrize("times", [1, 2])
def test_deadlock_at_the_password__leaves_a_login_that_can_be_tried_again(browser, times):
    with connection.execute_wrapper(Deadlocks(times, lambda sql: writes(sql, "INSERT INTO", "challenge"))):
        assert give_password(browser)["Location"] == PIN_PAGE
    page = browser.get(PIN_PAGE)
    assert page.status_code == HTTPStatus.OK
    Challenge.objects.update(resend_at=None)
    assert browser.post(RESEND)["Location"] == PIN_PAGE
    assert browser.post(PIN_PAGE, {"pin": sent_pin()})["Location"] == "/private/"


@pytest.mark.threat("R28")
def test_deadlock_when_the_send_is_settled__does_not_forget_the_text_that_went_out(browser):
    settled = Deadlocks(1, lambda sql: writes(sql, "UPDATE", "challenge", setting="sent_at"))
    with connection.execute_wrapper(settled):
        assert give_password(browser)["Location"] == PIN_PAGE
    assert settled.refused == 1
    assert browser.post(PIN_PAGE, {"pin": sent_pin()})["Location"] == "/private/"


@pytest.mark.threat("C13")
def test_counters_that_were_pruned_under_a_login__count_again(browser):
    give_password(browser)
    Counter.objects.all().delete()
    for _ in range(5):
        browser.post(PIN_PAGE, {"pin": WRONG_PIN})
    assert {row.count for row in Counter.objects.filter(scope__startswith="tries/user")} == {5}


# --- a provider that keeps no records --------------------------------------------------------------------------------


@pytest.fixture
def sent_to_number(alice: Any) -> Challenge:
    """A code that went to alice's number from a provider that keeps no records."""
    now = timezone.now()
    link = VerigatorUser.objects.get(user=alice)
    return Challenge.objects.create(
        user=alice,
        nonce_digest="n",
        trust_version=link.trust_version,
        outcome=Challenge.Outcome.SENT,
        sent_at=now,
        expires_at=now + timedelta(hours=1),
        phone_digest=digest("phone", link.phone_number),
    )


def test_right_pin__is_accepted_at_once_beside_another_write(sent_to_number, monkeypatch):
    """SQLite refuses a write that follows a read, if another connection has written in between."""
    read_number, read = acceptance._number_proved, []

    def write() -> None:
        Counter.objects.create(digest=f"{len(read)}", scope="s", expires_at=timezone.now())
        connections.close_all()

    def read_beside_a_write(challenge: Challenge) -> str:
        found = read_number(challenge)
        read.append(found)
        other = threading.Thread(target=write)
        other.start()
        other.join(5)
        return found

    monkeypatch.setattr(acceptance, "_number_proved", read_beside_a_write)
    acceptance.accept(sent_to_number, "1234", limits.try_limits(sent_to_number.user_id, None))
    assert len(read) == 1, "not done again"
    assert Counter.objects.filter(scope="s").exists()


def test_superseded_code_of_a_number_that_has_changed__stays_superseded(sent_to_number):
    sent_to_number.record({"superseded_at": timezone.now()})
    VerigatorUser.objects.update(phone_number="+37255500099")
    with pytest.raises(Refused) as refused:
        acceptance.accept(sent_to_number, "1234", limits.try_limits(sent_to_number.user_id, None))
    assert refused.value.reason == Reason.SUPERSEDED
    assert Challenge.objects.get().consumed_at is None


@pytest.mark.parametrize("autocommit", [True, False])
def test_reference_that_comes_twice__spoils_no_open_transaction(sent_to_number, autocommit):
    first = Challenge.objects.create(user=sent_to_number.user, nonce_digest="m", reference_digest="same")

    def collide() -> None:
        with pytest.raises(IntegrityError), db.savepoint():
            sent_to_number.record({"reference_digest": "same"})
        assert Challenge.objects.filter(pk=first.pk).update(reference_digest=None)

    if autocommit:
        with transaction.atomic():
            collide()
    else:
        transaction.set_autocommit(False)
        try:
            collide()
        finally:
            transaction.rollback()
            transaction.set_autocommit(True)


def test_refund_of_nothing__is_nothing():
    rate_limits.refund([])


# --- what is none -----------------------------------------------------------------------------------------------------


class DriverError(Exception):
    """As drivers of PostgreSQL raise it."""

    def __init__(self, sqlstate: str | None) -> None:
        super().__init__(f"state {sqlstate}")
        self.sqlstate = sqlstate


def told_by(driver_error: Exception) -> OperationalError:
    error = OperationalError(*driver_error.args)
    error.__cause__ = driver_error
    return error


OTHERS = [
    OperationalError("no such table: django_verigator_counter"),
    OperationalError("disk I/O error"),
    OperationalError(1021, "Disk full (/tmp)"),
    OperationalError(2006, "Server has gone away"),
    OperationalError(4151, "Access denied, this account is locked"),
    told_by(DriverError("53100")),  # disk full
    told_by(DriverError(None)),  # no connection
]


@pytest.mark.fault("N08")
@pytest.mark.parametrize("error", OTHERS, ids=str)
def test_error_of_the_database_that_is_no_deadlock__is_an_error_and_says_which(browser, caplog, error):
    refused = []

    def fail(execute: Any, sql: str, *args: Any) -> Any:
        if counts(sql):
            refused.append(sql)
            raise error
        return execute(sql, *args)

    browser.raise_request_exception = False
    with connection.execute_wrapper(fail):
        response = give_password(browser)
    assert response.status_code == HTTPStatus.INTERNAL_SERVER_ERROR
    assert len(refused) == 1, "not done again"
    assert str(error) in caplog.text
    assert SESSION_KEY not in browser.session


@pytest.mark.fault("N08")
def test_table_that_is_not_there__is_an_error_and_says_which(browser, lose_table, caplog):
    lose_table(Counter)
    browser.raise_request_exception = False
    assert give_password(browser).status_code == HTTPStatus.INTERNAL_SERVER_ERROR
    assert "not_migrated" in caplog.text


PASSING = [
    OperationalError("database is locked"),
    OperationalError("database table is locked: django_verigator_counter"),
    OperationalError(1205, "Lock wait timeout exceeded; try restarting transaction"),
    OperationalError(1213, "Deadlock found when trying to get lock; try restarting transaction"),
    told_by(DriverError("40001")),  # serialization failure
    told_by(DriverError("40P01")),  # deadlock
    told_by(DriverError("55P03")),  # lock time-out
]


@pytest.mark.parametrize("error", PASSING, ids=str)
def test_deadlocks_and_the_like__are_known_by_their_number(error):
    assert is_transient(error)


WAIT_BRIEFLY = {
    "postgresql": "SET lock_timeout = 200",
    "mysql": "SET innodb_lock_wait_timeout = 1",
    "sqlite": "PRAGMA busy_timeout = 200",
}


def test_row_that_another_transaction_keeps_locked__is_one_of_them():
    seen: list[Exception] = []

    def wait() -> None:
        try:
            with connection.cursor() as cursor:
                cursor.execute(WAIT_BRIEFLY[connection.vendor])
            VerigatorUser.objects.update(attempts=2)
        except OperationalError as error:
            seen.append(error)
        finally:
            connections.close_all()

    with transaction.atomic():
        VerigatorUser.objects.update(attempts=1)
        thread = threading.Thread(target=wait)
        thread.start()
        thread.join()
    assert [is_transient(error) for error in seen] == [True]
