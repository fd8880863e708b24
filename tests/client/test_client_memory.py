"""M06: a compressed answer of 200 MB, read by a fresh process whose memory the kernel counts."""

from __future__ import annotations

import gzip
import subprocess
import sys
from collections.abc import Callable

import pytest
from conftest import CERTS, Connection, Server

from django_verigator.client.limits import MAX_RECEIVED

MEGABYTE = 1 << 20
BOMB = 200 * MEGABYTE
MOST = 5 * MEGABYTE

# Peak memory before and after, in KB, with one harmless answer read before.
ASK = r"""
import re, sys
from django_verigator.client import Api, NumberVerification
from django_verigator.exceptions import VerigatorError

url, ca = sys.argv[1:]
old, new = Api("u", "p", url, ca_bundle=ca), NumberVerification("u", "p", url, ca_bundle=ca)

def peak():
    # Not ru_maxrss, which a process takes over from the one that started it.
    with open("/proc/self/status") as status:
        return int(re.search(r"VmHWM:\s+([0-9]+) kB", status.read())[1])

def ask():
    for call in (
        lambda: old.auth.initiate("s", "u", "sms"),
        lambda: old.auth.verify("s", "u", "1234"),
        lambda: old.users.get_all("s"),
        lambda: new.start("+37251234567"),
        lambda: new.pin("abc", "1234"),
    ):
        try:
            call()
        except VerigatorError as error:
            yield error.reason
        else:
            yield "believed"

print(*ask())
before = peak()
for _ in range(4):
    print(*ask())
print(peak() - before)
"""


def bomb() -> bytes:
    """200 MB of blanks in 200 KB, which is less than the sockets let through."""
    return gzip.compress(b" " * (BOMB // 20), 9) * 20


@pytest.mark.threat("M06")
@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
@pytest.mark.parametrize("status", ["200 OK", "401 No"])
def test_bomb_of_200_megabytes__takes_less_than_five(serve: Callable[..., Server], status: str) -> None:
    packed = bomb()
    assert len(packed) < MAX_RECEIVED
    head = f"HTTP/1.1 {status}\r\nContent-Encoding: gzip\r\nContent-Length: {len(packed)}\r\n\r\n".encode()
    harmless = 5

    def script(connection: Connection) -> None:
        while connection.request():
            if len(server.requests) <= harmless:
                connection.answer(b" ")
            else:
                connection.sock.sendall(head + packed)

    server = serve(script, "good.pem")
    done = subprocess.run(
        [sys.executable, "-c", ASK, server.url, str(CERTS / "ca.pem")],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    *answers, grown = done.stdout.split("\n")[:-1]
    reason = "invalid_response" if status == "200 OK" else "wrong_credentials"
    assert answers == [" ".join(["invalid_response"] * 5), *[" ".join([reason] * 5)] * 4]
    assert len(server.requests) == harmless * 5
    assert int(grown) * 1024 < MOST
