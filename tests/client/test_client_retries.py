"""R08, R09, R10: what is made again by itself (reading and deleting), how often, how long after, and what never."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import responses
from conftest import Connection, Server

from django_verigator.client import Api, NumberVerification, http, retries
from django_verigator.exceptions import (
    ConnectionFailedError,
    InternalError,
    NoSuchResourceError,
    RequestTimeoutError,
    ThrottledError,
    VerigatorError,
)

Serve = Callable[..., Server]
Client = Callable[..., Api]
ROOT = "https://api.verigator.com/v1/service/service"
USER = f"{ROOT}/sid/users/uid"
FOUND = {"id": "uid", "ctime": "x", "id_in_service": "alice"}

REPEATED = {
    "get a user": ("GET", USER, FOUND, lambda api: api.users.get("sid", "uid")),
    "get a service": (
        "GET",
        f"{ROOT}/sid",
        {"id": "sid", "ctime": "x", "name": "y"},
        lambda api: api.services.get("sid"),
    ),
    "list users": ("GET", f"{ROOT}/sid/users", {"users": []}, lambda api: api.users.get_all("sid") == []),
    "delete a user": ("DELETE", USER, {}, lambda api: api.users.delete("sid", "uid")),
    "delete a service": ("DELETE", f"{ROOT}/sid", {}, lambda api: api.services.delete("sid")),
}
ONCE = {
    "start": ("POST", f"{USER}/auth", lambda api: api.auth.initiate("sid", "uid", "sms")),
    "verify": ("PUT", f"{USER}/auth", lambda api: api.auth.verify("sid", "uid", "0042")),
    "create a user": ("POST", f"{ROOT}/sid/users", lambda api: api.users.create("sid", "+37251234567", "alice")),
    "create a service": ("POST", ROOT, lambda api: api.services.create("example.com", "Shop")),
}
each_repeated = pytest.mark.parametrize("name", REPEATED)


@pytest.fixture
def api() -> Api:
    return Api("canary-user", "canary-pass", total_timeout=8)


@pytest.fixture
def slept(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The pauses, which take no time here."""
    pauses: list[float] = []
    monkeypatch.setattr(http, "sleep", pauses.append)
    return pauses


@pytest.mark.threat("R08")
@each_repeated
@pytest.mark.parametrize("status", [500, 502, 503, 504])
def test_reading_and_deleting__is_repeated_twice(api: Api, slept: list[float], name: str, status: int) -> None:
    method, url, answer, call = REPEATED[name]
    with responses.RequestsMock() as mock:
        for _ in range(2):
            mock.add(method, url, status=status)
        mock.add(method, url, json=answer)
        assert call(api)
        assert len(mock.calls) == 3
    first, second = slept
    assert 0.5 <= first <= 1
    assert 1 <= second <= 2


@pytest.mark.threat("R08")
@each_repeated
def test_reading_and_deleting__is_repeated_no_more_than_twice(api: Api, slept: list[float], name: str) -> None:
    method, url, _, call = REPEATED[name]
    with responses.RequestsMock() as mock:
        mock.add(method, url, status=503)
        with pytest.raises(InternalError) as caught:
            call(api)
        assert len(mock.calls) == 3
    assert (caught.value.status, caught.value.sent, caught.value.__context__) == (503, True, None)


@pytest.mark.threat("R08")
def test_pauses__differ(api: Api, slept: list[float]) -> None:
    with responses.RequestsMock() as mock:
        mock.get(USER, status=503)
        for _ in range(5):
            with pytest.raises(InternalError):
                api.users.get("sid", "uid")
    assert len(set(slept)) == 10


@pytest.mark.threat("R09")
@pytest.mark.parametrize("name", ONCE)
@pytest.mark.parametrize("status", [500, 502, 503, 504, 429])
def test_starting_checking_and_creating__is_never_repeated(
    api: Api, slept: list[float], name: str, status: int
) -> None:
    method, url, call = ONCE[name]
    with responses.RequestsMock() as mock:
        mock.add(method, url, status=status)
        with pytest.raises(VerigatorError):
            call(api)
        assert len(mock.calls) == 1
    assert slept == []


@pytest.mark.threat("R09")
@pytest.mark.parametrize("call", ["start", "pin"])
def test_number_verification__is_never_repeated(slept: list[float], call: str) -> None:
    api = NumberVerification("canary-user", "canary-pass")
    with responses.RequestsMock() as mock:
        mock.post(f"https://api2.messente.com/verify/{call}", status=503)
        with pytest.raises(InternalError):
            api.start("+37251234567") if call == "start" else api.pin("abc", "0042")
        assert len(mock.calls) == 1
    assert slept == []


@pytest.mark.threat("R10")
@each_repeated
@pytest.mark.parametrize("status", [301, 400, 401, 403, 404, 409, 422, 429, 501])
def test_other_statuses__are_final(api: Api, slept: list[float], name: str, status: int) -> None:
    method, url, _, call = REPEATED[name]
    with responses.RequestsMock() as mock:
        mock.add(method, url, status=status, headers={"Retry-After": "1"})
        with pytest.raises(VerigatorError) as caught:
            call(api)
        assert len(mock.calls) == 1
    assert slept == []
    assert isinstance(caught.value, ThrottledError) is (status == 429)


@pytest.mark.threat("M11")
def test_retry_after__is_waited_for_where_it_fits(api: Api, slept: list[float]) -> None:
    with responses.RequestsMock() as mock:
        mock.get(USER, status=503, headers={"Retry-After": "4"})
        mock.get(USER, json=FOUND)
        assert api.users.get("sid", "uid").id == "uid"
    assert slept == [4]


@pytest.mark.threat("M11")
@pytest.mark.parametrize("wait", ["8", "3600", "315360000"])
def test_retry_after__that_is_too_long_ends_it(api: Api, slept: list[float], wait: str) -> None:
    with responses.RequestsMock() as mock:
        mock.get(USER, status=503, headers={"Retry-After": wait})
        with pytest.raises(InternalError) as caught:
            api.users.get("sid", "uid")
        assert len(mock.calls) == 1
    assert caught.value.retry_after == min(int(wait), 3600)
    assert slept == []


def test_deadline__holds_for_all_attempts_together(api: Api, slept: list[float]) -> None:
    with responses.RequestsMock() as mock:
        mock.get(USER, status=503)
        with api.within(0.4), pytest.raises(InternalError):
            api.users.get("sid", "uid")
        assert len(mock.calls) == 1
    assert slept == []


def test_deadline__is_what_later_attempts_have_left(
    serve: Serve, client: Client, clock: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retries, "FIRST_PAUSE", 0.1)

    def script(connection: Connection) -> None:
        connection.request()
        if len(connection.server.requests) == 1:
            connection.answer(b"{}", "503 No")
        else:
            connection.server.stopped.wait()

    server = serve(script)
    api = client(server.url, read_timeout=9, total_timeout=1.5)
    with clock(1.5), pytest.raises(RequestTimeoutError) as caught:
        api.users.get("sid", "uid")
    assert caught.value.sent is True
    assert len(server.requests) == 2


def test_connection__that_broke_is_made_anew(serve: Serve, client: Client, slept: list[float]) -> None:
    def script(connection: Connection) -> None:
        connection.request()
        if len(connection.server.requests) > 2:
            connection.answer(b'{"id": "uid", "ctime": "x", "id_in_service": "alice"}')

    server = serve(script)
    assert client(server.url).users.get("sid", "uid").username == "alice"
    assert len(server.requests) == 3
    assert len(slept) == 2


def test_connection__that_nobody_takes_is_not_asked_for_again(serve: Serve, client: Client, slept: list[float]) -> None:
    server = serve(lambda connection: None)
    server.stop()
    with pytest.raises(ConnectionFailedError) as caught:
        client(server.url).users.get("sid", "uid")
    assert caught.value.sent is False
    assert slept == []


def test_sent__stays_true_once_it_was(serve: Serve, client: Client, slept: list[float]) -> None:
    def script(connection: Connection) -> None:
        connection.request()
        connection.answer(b"{}", "503 No", "Connection: close\r\n")
        connection.server.listener.close()

    server = serve(script)
    with pytest.raises(VerigatorError) as caught:
        client(server.url, read_timeout=0.5).users.get("sid", "uid")
    assert caught.value.sent is True


def test_delete__whose_answer_was_lost_is_done_if_there_is_nothing_left(api: Api, slept: list[float]) -> None:
    with responses.RequestsMock() as mock:
        mock.delete(USER, status=502)
        mock.delete(USER, status=404)
        assert api.users.delete("sid", "uid") is True
    with responses.RequestsMock() as mock:
        mock.delete(USER, status=404)
        with pytest.raises(NoSuchResourceError):
            api.users.delete("sid", "uid")


def test_list__that_breaks_after_its_first_user_is_not_begun_again(
    serve: Serve, client: Client, slept: list[float]
) -> None:
    def script(connection: Connection) -> None:
        connection.request()
        connection.sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n")
        connection.sock.sendall(b'{"users": [{"id": "uid", "ctime": "x", "id_in_service": "alice"},')

    server = serve(script)
    found = client(server.url).users.iter_all("sid")
    assert next(found).id == "uid"
    with pytest.raises(ConnectionFailedError):
        next(found)
    assert len(server.requests) == 1
    assert slept == []
