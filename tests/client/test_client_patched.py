"""N02: the client in processes whose sockets are not Python's own, and transports that raise what nobody expects."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from collections.abc import Callable

import pytest
from conftest import CERTS, Connection, Server

from django_verigator.client import Api, http
from django_verigator.exceptions import ConnectionFailedError

Serve = Callable[..., Server]
Client = Callable[..., Api]
GOOD = b'{"verified": true, "method": "sms"}'

# In the order that servers do it in: before anything is imported, after the import, after the client was made and used.
ASK = r"""
import sys
when, url, refused, silent, ca = sys.argv[1:]

def patch(now):
    if when == now:
        from gevent import monkey
        monkey.patch_all()

patch("first")
from django_verigator.client import Api
from django_verigator.exceptions import VerigatorError
patch("after the import")
api = Api("u", "p", url, ca_bundle=ca)
api.auth.verify("s", "u", "0042")
patch("after a call")

import gevent
from time import monotonic

def verify(api):
    try:
        return api.auth.verify("s", "u", "0042").verified
    except VerigatorError as error:
        return error.reason, error.sent

def all_of(url, **options):
    api = Api("u", "p", url, ca_bundle=ca, **options)
    jobs = [gevent.spawn(verify, api) for _ in range(20)]
    gevent.joinall(jobs, raise_error=True)
    return {job.value for job in jobs}

print(verify(api), all_of(url), all_of(refused))
began = monotonic()
print(all_of(silent, total_timeout=0.5))
print("at once" if monotonic() - began < 5 else "one by one")
"""


def answer(connection: Connection) -> None:
    while connection.request():
        connection.answer(GOOD)


@pytest.mark.fault("N02")
@pytest.mark.skipif(importlib.util.find_spec("gevent") is None, reason="needs gevent")
@pytest.mark.parametrize("when", ["first", "after the import", "after a call"])
@pytest.mark.parametrize("certificate", [None, "good.pem"], ids=["http", "https"])
def test_gevent__calls_are_answered_and_wait_side_by_side(serve: Serve, certificate: str | None, when: str) -> None:
    server = serve(answer, certificate)
    silent = serve(lambda connection: connection.request() and connection.server.stopped.wait(), certificate)
    refused = serve(answer, certificate)
    refused.stop()
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", ASK, when, server.url, refused.url, silent.url, str(CERTS / "ca.pem")],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stderr == ""
    assert done.stdout.splitlines() == [
        "True {True} {('connection', False)}",
        "{('timeout', True)}",
        "at once",
    ]


class Odd(Exception):  # noqa: N818
    """Of no class that a transport is known to raise."""


@pytest.mark.fault("N02")
@pytest.mark.parametrize(
    "place", ["route.connect_to_first", "deadline.DeadlineSocket.sendall", "deadline.DeadlineSocket.recv_into"]
)
@pytest.mark.parametrize("certificate", [None, "good.pem"], ids=["http", "https"])
def test_transport__whatever_it_raises_is_one_of_our_errors(
    serve: Serve, client: Client, monkeypatch: pytest.MonkeyPatch, certificate: str | None, place: str
) -> None:
    def fail(*_: object) -> None:
        raise Odd("canary")

    monkeypatch.setattr(http, "sleep", lambda _: None)
    monkeypatch.setattr(f"django_verigator.client.{place}", fail)
    api = client(serve(answer, certificate).url)
    for call in (lambda: api.auth.verify("s", "u", "0042"), lambda: api.users.get_all("s")):
        with pytest.raises(ConnectionFailedError, match=r"Odd in test_client_patched\.py, line ") as caught:
            call()
        assert caught.value.__context__ is None
        assert "canary" not in str(caught.value)


@pytest.mark.fault("N02")
def test_transport__what_it_raises_in_the_middle_of_a_list_is_one_of_our_errors(
    serve: Serve, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    def list_users(connection: Connection) -> None:
        connection.request()
        connection.sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 99999\r\n\r\n")
        connection.sock.sendall(b'{"users": [' + b'{"id": "uid", "ctime": "x", "id_in_service": "alice"},' * 400)
        connection.server.stopped.wait()

    users = client(serve(list_users).url).users.iter_all("s")
    next(users)

    def fail(*_: object) -> None:
        raise Odd

    monkeypatch.setattr("django_verigator.client.deadline.DeadlineSocket.recv_into", fail)
    with pytest.raises(ConnectionFailedError, match="Odd"):
        list(users)
