"""Each compiled statement does what the ORM's form of it does, to rows in every state; and the ORM's form is used where
the compiled one was not tried.
"""

from __future__ import annotations

import itertools
import re
import threading
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.db import connection, transaction
from django.db.models import Model
from django.test import Client
from django.test.utils import CaptureQueriesContext

from django_verigator import compiled
from django_verigator.models import Challenge, Counter, VerigatorUser, statements

from .conftest import PHONE, give_password, sent_pin
from .races.crowd import crowd

NOW = datetime(2030, 5, 6, 7, 8, 9, 123456, tzinfo=timezone.utc)
BEFORE, AFTER = NOW - timedelta(seconds=1), NOW + timedelta(seconds=1)
FORM, OTHER_FORM = "f" * 64, "e" * 64
PIN, OTHER_PIN = "0123abcd", "89ef0123"
MAXIMUM = 3
NOBODY = 10**9
"""No user's primary key; MySQL takes no 0."""

Case = tuple[compiled.Update, dict[str, Any]]


@pytest.fixture
def challenges(db: None) -> list[Challenge]:
    """Open, superseded, ended; unsent, expired, valid; with and without tries left; with either last form."""
    user = get_user_model().objects.create(username="alice")
    ends: list[dict[str, Any]] = [
        {},
        {"consumed_at": BEFORE, "outcome": Challenge.Outcome.EXPIRED},
        {"consumed_at": BEFORE, "outcome": Challenge.Outcome.VERIFIED},
    ]
    states = itertools.product(
        ends,
        [None, BEFORE],
        [(None, None), (BEFORE, NOW), (BEFORE, AFTER)],
        [MAXIMUM - 1, MAXIMUM],
        [FORM, OTHER_FORM],
        ["sms", "totp"],
    )
    return Challenge.objects.bulk_create(
        Challenge(
            user=user,
            nonce_digest=f"{number % 5}",
            step=number,
            superseded_at=superseded,
            sent_at=sent,
            expires_at=expires,
            tries=tries,
            last_form=form,
            method=method,
            next_url="/somewhere/",
            **end,
        )
        for number, (end, superseded, (sent, expires), tries, form, method) in enumerate(states)
    )


@pytest.fixture
def links(db: None) -> list[VerigatorUser]:
    """Unconfirmed and confirmed; with failures below, at and above the last; with new, old and no remembered PINs."""
    states = list(
        itertools.product(
            [None, BEFORE],
            [0, MAXIMUM - 1, MAXIMUM, MAXIMUM + 1],
            ["", OTHER_PIN + PIN, OTHER_PIN * 8],
            [None, BEFORE, NOW],
        )
    )
    users = get_user_model().objects.bulk_create(
        get_user_model()(username=f"user{number}") for number in range(len(states))
    )
    users = list(get_user_model().objects.order_by("pk"))
    return VerigatorUser.objects.bulk_create(
        VerigatorUser(
            user_id=user.pk,
            phone_number=PHONE,
            verigator_id=f"remote{number}",
            trust_version="trusted",
            confirmed_at=confirmed,
            consecutive_failures=failures,
            last_pin=pins,
            last_pin_at=at,
            locked_until=AFTER,
        )
        for number, (user, (confirmed, failures, pins, at)) in enumerate(zip(users, states, strict=True))
    )


def written(model: type[Model], write: Callable[[], int], **about: Any) -> tuple[int, list[dict[str, Any]]]:
    """Return what a write returns and leaves behind, and roll it back.

    Args:
        about: lookups of the rows to look at.
    """
    with transaction.atomic():
        count = write()
        rows = list(model._base_manager.filter(**about).order_by("pk").values())
        transaction.set_rollback(True)
    return count, rows


def orm_update(statement: compiled.Update, values: dict[str, Any]) -> int:
    rows, assigned = statement.in_orm(**values)
    return int(rows.update(**assigned))


def assert_as_in_orm(cases: Iterable[Case]) -> set[int]:
    """Return the numbers of rows that the statement has matched, which a test should see more than one of."""
    counts = set()
    for statement, values in cases:
        about = {name: values[name] for name in ("id", "user_id") if name in values}
        mine = written(statement.model, statement(**values).run, **about)
        assert mine == written(statement.model, lambda s=statement, v=values: orm_update(s, v), **about), values
        counts.add(mine[0])
    return counts


def test_statements_on_challenges__are_as_in_the_orm(challenges: list[Challenge]) -> None:
    tries = [
        (statements.count_try, {"id": each.pk, "now": NOW, "maximum": MAXIMUM, "form": FORM, "last": last})
        for each in challenges
        for last in (FORM, "-")
    ]
    assert assert_as_in_orm(tries) == {0, 1}
    ends: list[dict[str, Any]] = [{}, {"valid_at": NOW}, {"method": "recovery"}]
    consumed = [
        (statements.consume_challenge, {"id": each.pk, "now": NOW, **further})
        for each in challenges
        for further in ends
    ]
    assert assert_as_in_orm(consumed) == {0, 1}


def test_statements_on_challenges__of_a_whole_user(challenges: list[Challenge]) -> None:
    user = {"user_id": challenges[0].user_id, "created_at": NOW}
    app = {**user, "own_nonce": "3", "app_method": "totp"}
    counts = assert_as_in_orm([(statements.supersede, user), (statements.supersede, app)])
    assert len(counts) == 2
    nobody = {"user_id": NOBODY, "created_at": NOW}
    assert assert_as_in_orm([(statements.supersede, nobody)]) == {0}


def test_write_challenge__takes_any_fields(challenges: list[Challenge]) -> None:
    values = {"outcome": "sent", "reference": "a'b%s", "sent_at": NOW, "resend_at": None, "next_url": "/ü/?a=%20b"}
    assert assert_as_in_orm([(statements.write_challenge, {"id": challenges[0].pk, **values})]) == {1}


def test_insert_challenge__stores_what_save_does(challenges: list[Challenge]) -> None:
    new = Challenge(user_id=challenges[0].user_id, nonce_digest="n", ip="2001:db8::1", next_url="/ü/?a=%20b", tries=2)
    saved = written(Challenge, lambda: new.save(force_insert=True) or 1, nonce_digest="n")
    new._state.adding = True
    write = new.insert()
    assert write.statement is statements.insert_challenge
    assert written(Challenge, write.run, nonce_digest="n") == saved
    assert not new._state.adding


def test_last_challenge__is_as_in_the_orm(challenges: list[Challenge], django_assert_num_queries: Any) -> None:
    for nonces in (["3"], ["unknown", "4"], ["unknown"]):
        digests = compiled.numbered("digest", nonces)
        expected = statements.last_challenge.in_orm(**digests).first()
        with django_assert_num_queries(1):
            found = statements.last_challenge.first(**digests)
        assert (found is None) == (expected is None) == (nonces == ["unknown"])
        if found is not None:
            assert fields_of(found) == fields_of(expected)
            with django_assert_num_queries(0):
                assert fields_of(found.user) == fields_of(expected.user)
                assert fields_of(found.user.verigator) == fields_of(expected.user.verigator)


def fields_of(instance: Any) -> dict[str, Any]:
    values = {field.attname: getattr(instance, field.attname) for field in instance._meta.concrete_fields}
    return {**values, "types": [type(value) for value in values.values()], "state": instance._state.db}


def test_link_of_user__is_as_in_the_orm(links: list[VerigatorUser]) -> None:
    for each in links[:3]:
        found = statements.link_of_user.first(user_id=each.user_id)
        assert found is not None
        assert fields_of(found) == fields_of(VerigatorUser.objects.get(user_id=each.user_id))
    assert statements.link_of_user.first(user_id=NOBODY) is None


def test_confirmed_by_another__is_as_in_the_orm(links: list[VerigatorUser]) -> None:
    confirmed = [each for each in links if each.confirmed_at]
    VerigatorUser.objects.filter(pk=confirmed[0].pk).update(phone_number="+37255500099")
    found = []
    for number, user_id in [
        (PHONE, NOBODY),
        ("+37255500099", NOBODY),
        ("+37255500099", confirmed[0].user_id),
        ("", NOBODY),
    ]:
        values = {"phone_number": number, "user_id": user_id}
        found.append(statements.confirmed_by_another.first(**values) is not None)
        assert found[-1] == statements.confirmed_by_another.in_orm(**values).exists()
    assert found == [True, True, False, False]


def test_statements_on_links__are_as_in_the_orm(links: list[VerigatorUser]) -> None:
    failed = {"last": MAXIMUM, "failures_auth_hash": "hash"}
    for statement in (statements.count_failure, statements.count_last_failure):
        assert assert_as_in_orm((statement, {"user_id": each.user_id, **failed}) for each in links) == {0, 1}
    proof = {"now": NOW, "remembered_since": NOW, "pin_prefix": PIN}
    ways: list[dict[str, Any]] = [
        {"trusted": "trusted"},
        {"trusted": "another"},
        {"trusted": "trusted", "sent_to_id": "remote3"},
        {"trusted": "trusted", "sent_to_number": PHONE},
        {"trusted": "trusted", "phone_number": "+37255500068", "verigator_id": None, "trust_version": "new"},
    ]
    for way in ways:
        counts = assert_as_in_orm((statements.prove, {"user_id": each.user_id, **proof, **way}) for each in links)
        assert counts == ({0} if way["trusted"] == "another" else {0, 1})


def limits(*digests: str) -> dict[str, Any]:
    return {
        "now": NOW,
        **compiled.numbered("digest", digests),
        **compiled.numbered("scope", ["scope" for _ in digests]),
        **compiled.numbered("maximum", [MAXIMUM - place for place, _ in enumerate(digests)]),
        **compiled.numbered("ends", [NOW + timedelta(hours=place + 1) for place, _ in enumerate(digests)]),
    }


@pytest.fixture
def counters(db: None) -> list[Counter]:
    states = itertools.product([BEFORE, NOW, AFTER], range(MAXIMUM + 2))
    return Counter.objects.bulk_create(
        Counter(digest=f"{number:02}", scope="scope", count=count, expires_at=expires)
        for number, (expires, count) in enumerate(states)
    )


def groups(counters: list[Counter]) -> list[tuple[str, ...]]:
    keys = [each.pk for each in counters]
    return [*((key,) for key in keys), *itertools.pairwise(keys), *itertools.combinations(keys[:6], 3), tuple(keys)]


def test_statements_on_counters__are_as_in_the_orm(counters: list[Counter]) -> None:
    raised = assert_as_in_orm((statements.raise_counters, limits(*group)) for group in groups(counters))
    assert {0, 1, 2, 3} <= raised
    digests = [compiled.numbered("digest", group) for group in groups(counters)]
    assert {0, 1, 2, 3} <= assert_as_in_orm((statements.lower_counters, each) for each in digests)


def test_raise_or_make_counters__raises_as_the_orm_does(counters: list[Counter]) -> None:
    if not statements.can_make_rows():
        pytest.skip("this database makes no rows on the way")
    for group in groups(counters):
        made = written(Counter, statements.raise_or_make_counters(**limits(*group)).run)
        assert made == written(Counter, lambda g=group: orm_update(statements.raise_counters, limits(*g)))


def test_raise_or_make_counters__makes_what_is_missing(counters: list[Counter]) -> None:
    if not statements.can_make_rows():
        pytest.skip("this database makes no rows on the way")
    before = list(Counter.objects.order_by("pk").values())
    count, rows = written(Counter, statements.raise_or_make_counters(**limits("x", "y")).run)
    assert count == 2
    assert rows == [
        *before,
        {"digest": "x", "scope": "scope", "count": 1, "expires_at": NOW + timedelta(hours=1)},
        {"digest": "y", "scope": "scope", "count": 1, "expires_at": NOW + timedelta(hours=2)},
    ]


def test_each_statement__is_compared_above() -> None:
    names = {name for name, found in vars(statements).items() if isinstance(found, compiled._Statement)}
    compared = set(re.findall(r"statements\.(\w+)", Path(__file__).read_text("utf-8")))
    assert names
    assert names <= compared


def test_other_databases__get_the_form_of_the_orm(alice: Any, browser: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: Any) -> None:
        raise AssertionError("compiled")

    monkeypatch.setattr(compiled, "_COMPILING", frozenset())
    monkeypatch.setattr(compiled, "_JOINING", frozenset())
    monkeypatch.setattr(compiled.Update, "_compile", refuse)
    monkeypatch.setattr(compiled.Select, "_compile", refuse)
    monkeypatch.setattr(compiled.Update, "_run_text", refuse)
    monkeypatch.setattr(statements, "can_make_rows", lambda: False)
    give_password(browser)
    assert browser.post("/accounts/verify/", {"pin": sent_pin()}).status_code == 302


def test_later_login__composes_nothing(alice: Any, browser: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    for _ in range(2):  # until the phone is confirmed, more limits are asked
        other = Client()
        give_password(other)
        other.post("/accounts/verify/", {"pin": sent_pin()})

    def refuse(self: Any, *args: Any) -> Any:
        raise AssertionError(f"{self._build.__name__} composed again")

    for kind in (compiled.Update, compiled.Sql, compiled.Select):
        monkeypatch.setattr(kind, "_compile", refuse)
    give_password(browser)
    assert browser.post("/accounts/verify/", {"pin": sent_pin()}).status_code == 302


@pytest.mark.django_db(transaction=True)
def test_compiled_in_one_thread__runs_in_another() -> None:
    user = get_user_model().objects.create(username="alice")
    VerigatorUser.objects.filter(user=user).delete()
    link = VerigatorUser.objects.create(user=user, phone_number=PHONE)
    found = []

    def read() -> None:
        found.append(statements.link_of_user.first(user_id=user.pk))
        connection.close()

    for _ in range(2):
        thread = threading.Thread(target=read)
        thread.start()
        thread.join()
    assert found == [link, link]


def test_write_that_nobody_has_run__is_neither_true_nor_false(challenges: list[Challenge]) -> None:
    for write in (challenges[0].count_try(FORM), challenges[0].consume()):
        with pytest.raises(TypeError, match="has to be run"):
            bool(write)


@pytest.mark.django_db(transaction=True)
def test_threads_that_compile_at_once__get_their_own_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    users = [get_user_model().objects.create(username=f"user{number}", phone_number=PHONE) for number in range(8)]
    monkeypatch.setattr(statements.link_of_user, "_compiled", {})
    monkeypatch.setattr(statements.count_failure, "_compiled", {})

    def work(user: Any) -> None:
        for _ in range(20):
            statements.link_of_user._compiled.clear()
            statements.count_failure._compiled.clear()
            found = statements.link_of_user.first(user_id=user.pk)
            assert found is not None
            assert found.user_id == user.pk
            assert statements.count_failure(user_id=user.pk, last=100, failures_auth_hash=user.username).run() == 1

    crowd(work, users)
    links = VerigatorUser.objects.select_related("user")
    assert {(link.consecutive_failures, link.failures_auth_hash == link.user.username) for link in links} == {
        (20, True)
    }


def test_run_together__is_one_statement_on_postgresql(counters: list[Counter], links: list[VerigatorUser]) -> None:
    writes = [
        statements.count_failure(user_id=links[0].user_id, last=MAXIMUM, failures_auth_hash=""),
        statements.raise_counters(**limits("00", "01")),
        statements.count_failure(user_id=NOBODY, last=MAXIMUM, failures_auth_hash=""),
    ]
    with transaction.atomic(), CaptureQueriesContext(connection) as captured:
        assert compiled.run_together(*writes) == [1, 2, 0]
    assert len(captured) == (1 if connection.vendor == "postgresql" else 3)


def test_run_together__leaves_what_the_single_writes_leave(counters: list[Counter], links: list[VerigatorUser]) -> None:
    writes = [
        statements.count_failure(user_id=links[0].user_id, last=MAXIMUM, failures_auth_hash=""),
        statements.raise_counters(**limits(*(each.pk for each in counters))),
    ]
    for model in (VerigatorUser, Counter):
        together = written(model, lambda: len(compiled.run_together(*writes)))
        assert together == written(model, lambda: len([write.run() for write in writes]))
