"""A site on gunicorn."""

from __future__ import annotations

import contextlib
import http.client
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from http import HTTPStatus

from .processes import PATIENCE, running
from .sites import LOGIN, Site


@contextlib.contextmanager
def serving(site: Site, workers: int, threads: int) -> Iterator[str]:
    """Run gunicorn; yield its host and port when it answers."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = f"127.0.0.1:{free.getsockname()[1]}"
    command = [sys.executable, "-m", "gunicorn", "--bind", address, "--worker-class", "gthread"]
    command += ["--workers", str(workers), "--threads", str(threads), "--log-level", "error"]
    with running([*command, "benchmarks.wsgi:application"], env=site.environment) as process:
        _wait_until_it_answers(process, address)
        yield address


def _wait_until_it_answers(process: subprocess.Popen[str], address: str) -> None:
    ends = time.monotonic() + PATIENCE
    while process.poll() is None and time.monotonic() < ends:
        connection = http.client.HTTPConnection(address, timeout=PATIENCE)
        with contextlib.suppress(ConnectionError), contextlib.closing(connection):
            connection.request("GET", LOGIN)
            if connection.getresponse().status == HTTPStatus.OK:
                return
        time.sleep(0.1)
    raise RuntimeError("gunicorn does not answer")
