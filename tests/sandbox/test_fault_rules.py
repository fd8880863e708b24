"""Test how faults are ordered, listed and cancelled, and which calls they apply to."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

import pytest

from django_verigator.sandbox import FaultError, Sandbox

from .http_client import Shop, add_fault, send


def test_times_and_skip__decide_which_calls_fail(shop: Shop) -> None:
    add_fault(shop.sandbox, fault="status", status=500, skip=1, times=2)

    statuses = [shop.send("GET", shop.path).status for _ in range(4)]

    assert statuses == [200, 500, 500, 200]
    assert shop.sandbox.faults()[0]["hits"] == 2


def test_share__applies_to_some_calls_and_to_the_same_ones_for_the_same_seed(shop: Shop) -> None:
    def failed_calls() -> list[int]:
        shop.sandbox.clear_faults()
        add_fault(shop.sandbox, fault="status", status=500, share=0.3, seed=7)
        return [number for number in range(60) if shop.send("GET", shop.path).status == 500]

    first = failed_calls()

    assert 5 < len(first) < 35
    assert failed_calls() == first


def test_filters__exclude_other_operations_users_and_paths(shop: Shop) -> None:
    john, anna = shop.add_user("john"), shop.add_user("anna")
    add_fault(shop.sandbox, fault="status", status=500, operation="users.get", user_id=john.rpartition("/")[2])
    add_fault(shop.sandbox, fault="status", status=418, path="*/users")

    assert [shop.send("GET", path).status for path in (john, anna, f"{shop.path}/users")] == [500, 200, 418]
    assert shop.start(john).status == HTTPStatus.CREATED


def test_faults__do_not_apply_to_the_control_api_and_the_page(sandbox: Sandbox) -> None:
    add_fault(sandbox, fault="status", status=500)

    assert send(sandbox.url, "GET", "/_sandbox/calls").status == HTTPStatus.OK
    assert send(sandbox.url, "GET", "/").status == HTTPStatus.OK


def test_faults__are_listed_and_cancelled_one_by_one_or_all(sandbox: Sandbox) -> None:
    first = add_fault(sandbox, fault="reset", operation="auth.start", times=3)
    add_fault(sandbox, fault="hang")

    faults = send(sandbox.url, "GET", "/_sandbox/faults").json()["faults"]
    assert [(each["fault"], each["operation"], each["times"]) for each in faults] == [
        ("reset", "auth.start", 3),
        ("hang", None, None),
    ]
    send(sandbox.url, "DELETE", f"/_sandbox/faults?id={first['id']}")
    assert [each["fault"] for each in sandbox.faults()] == ["hang"]
    send(sandbox.url, "DELETE", "/_sandbox/faults")
    assert sandbox.faults() == []


@pytest.mark.parametrize(
    ("fault", "word"),
    [
        ({}, "fault"),
        ({"fault": "meteor"}, "latency"),
        ({"fault": []}, "fault"),
        ({"fault": "reset", "second": 1}, "second"),
        ({"fault": "reset", "status": 500}, "status"),
        ({"fault": "latency"}, "seconds"),
        ({"fault": "latency", "seconds": "1"}, "seconds"),
        ({"fault": "latency", "seconds": -1}, "seconds"),
        ({"fault": "latency", "seconds": 10**400}, "seconds"),
        ({"fault": "status"}, "status"),
        ({"fault": "status", "status": 99}, "status"),
        ({"fault": "status", "status": True}, "status"),
        ({"fault": "reset", "times": 0}, "times"),
        ({"fault": "reset", "share": 1.5}, "share"),
        ({"fault": "reset", "when": "never"}, "before, after"),
        ({"fault": "reset", "operation": "auth.begin"}, "auth.start"),
        ({"fault": "status", "status": 500, "headers": {"X": "a\r\nY: b"}}, "headers"),
        ({"fault": "status", "status": 500, "headers": {"X:": "a"}}, "header name"),
        ({"fault": "status", "status": 500, "headers": []}, "headers"),
        ({"fault": "status", "status": 500, "retry_after": "1\n"}, "retry_after"),
        ({"fault": "body", "gzip": 1}, "gzip"),
    ],
)
def test_invalid_fault__is_refused_with_a_reason(sandbox: Sandbox, fault: dict[str, Any], word: str) -> None:
    response = send(sandbox.url, "POST", "/_sandbox/faults", fault)

    assert response.status == HTTPStatus.UNPROCESSABLE_ENTITY
    assert word in response.message
    assert sandbox.faults() == []


def test_add_fault__refuses_what_the_control_api_refuses(sandbox: Sandbox) -> None:
    with pytest.raises(FaultError, match="secs"):
        sandbox.add_fault("latency", secs=1)
