"""Registering many users with ``verigator_sync``, against what the latency allows: users x latency / workers.

``python -m benchmarks.bulk 10000`` takes two minutes; ``postgresql`` behind the number stores the rows there.
"""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from itertools import count

from . import setup

USERS = 3000
LATENCY = 0.02
WORKERS = (8, 16, 32)
USERNAME, PASSWORD = setup.CREDENTIALS
# One thread, so that the machine's other core is enough for it; the sandbox itself would be the narrow place.
SERVER = """
import asyncio, itertools, sys
latency = float(sys.argv[1])
numbers = itertools.count(1)

class Provider(asyncio.Protocol):
    def connection_made(self, transport):
        self.transport, self.received = transport, b""

    def data_received(self, data):
        self.received += data
        head, end, body = self.received.partition(b"\\r\\n\\r\\n")
        length = next((int(line[15:]) for line in head.lower().split(b"\\r\\n") if line[:15] == b"content-length:"), 0)
        if end and len(body) >= length:
            self.received = b""
            asyncio.get_running_loop().call_later(latency, self.answer, body)

    def answer(self, body):
        name = body.split(b'"id_in_service": "')[-1].split(b'"')[0]
        answer = b'{"id": "%d", "id_in_service": "%s", "ctime": "2026-01-01"}' % (next(numbers), name)
        self.transport.write(b"HTTP/1.1 201 Created\\r\\nContent-Type: application/json\\r\\n"
                             b"Content-Length: %d\\r\\n\\r\\n" % len(answer) + answer)

async def main():
    server = await asyncio.get_running_loop().create_server(Provider, "127.0.0.1", 0, backlog=256)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()

asyncio.run(main())
"""


def main(users: int = USERS) -> None:
    from django.conf import settings
    from django.db import connection

    command = [sys.executable, "-c", SERVER, str(LATENCY)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    before = settings.VERIGATOR
    try:
        assert process.stdout is not None
        address = f"http://127.0.0.1:{int(process.stdout.readline())}"
        _use(address)
        rows = []
        for workers in WORKERS:
            limit = users * LATENCY / workers
            bare = _calls(address, workers, users) / limit
            rows.append([str(workers), f"{bare:.2f}", f"{_sync(workers, users) / limit:.2f}"])
    finally:
        _set(before)
        process.terminate()
        process.wait(10)
    title = (
        f"Registering {users} users at {LATENCY * 1000:.0f} ms, rows in {connection.vendor}, as a multiple of the limit"
    )
    setup.table(title, ["workers", "bare pooled calls", "verigator_sync"], rows)


def _use(address: str) -> None:
    from django.conf import settings

    options = {"username": USERNAME, "password": PASSWORD, "endpoint": address, "service_id": "s"}
    backend = {"BACKEND": "django_verigator.backends.verigator.VerigatorBackend", "OPTIONS": options}
    _set({**settings.VERIGATOR, "BACKENDS": {"default": backend}})


def _set(value: object) -> None:
    from django.conf import settings
    from django.core.signals import setting_changed

    settings.VERIGATOR = value
    setting_changed.send(sender=main, setting="VERIGATOR", value=value, enter=True)


def _calls(address: str, workers: int, calls: int) -> float:
    """Seconds of so many calls of our client, and nothing else."""
    from django_verigator.client import Api

    api, numbers = Api(USERNAME, PASSWORD, address), count()

    def work() -> None:
        while (number := next(numbers)) < calls:
            api.users.create("s", "+37255500067", f"u{number}")
        api.close()

    threads = [threading.Thread(target=work) for _ in range(workers)]
    began = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return time.perf_counter() - began


def _sync(workers: int, users: int) -> float:
    """Seconds of a run over links that wait: leased, called for, stored."""
    from django.contrib.auth.models import User

    from django_verigator.models import RemoteDeletion
    from django_verigator.records import sync
    from django_verigator.records.registration import RegistrationResult
    from django_verigator.records.sync import missing_links

    User.objects.all().delete()
    RemoteDeletion.objects.all().delete()
    User.objects.bulk_create(User(username=f"u{n}", first_name=f"+372{55_000_000 + n}") for n in range(users))
    missing_links.make_missing_links()
    began = time.perf_counter()
    report = sync.sync_all(due_only=True, workers=workers)
    seconds = time.perf_counter() - began
    assert report.counts[RegistrationResult.REGISTERED] == users, report
    return seconds


if __name__ == "__main__":
    setup.django("postgresql" if "postgresql" in sys.argv else "sqlite3")
    main(next((int(word) for word in sys.argv[1:] if word.isdigit()), USERS))
