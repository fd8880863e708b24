"""Calls of the client per second, against a new connection for each call and a plain pooled Session."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

from . import setup

SECONDS = 1.5
USERNAME, PASSWORD = setup.CREDENTIALS
SERVER = """
import socketserver, ssl, sys, time
latency, certificate = float(sys.argv[1]), sys.argv[2]
BODY = b'{"id": "s", "name": "n", "ctime": "c"}'
HEAD = b"HTTP/1.1 200 OK\\r\\nContent-Type: application/json\\r\\nContent-Length: %d\\r\\n\\r\\n"
ANSWER = HEAD % len(BODY) + BODY

class Handler(socketserver.BaseRequestHandler):
    def handle(self):
        connection = self.request
        connection.setsockopt(6, 1, 1)
        if certificate:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate, certificate + ".key")
            try:
                connection = context.wrap_socket(connection, server_side=True)
            except OSError:
                return
        try:
            while connection.recv(65536):
                if latency:
                    time.sleep(latency)
                connection.sendall(ANSWER)
        except OSError:
            pass

class Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    request_queue_size = 256

server = Server(("127.0.0.1", 0), Handler)
print(server.server_address[1], flush=True)
server.serve_forever()
"""


def main() -> None:
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        certificate = _certificate(Path(folder))
        for tls in (False, True):
            if tls and certificate is None:
                print("TLS left out: there is no openssl command.\n")
                continue
            for latency, threads in ((0.0, 1), (0.02, 16)):
                rows.append(_row(latency, threads, certificate if tls else None))
    head = [
        "over",
        "latency",
        "threads",
        "a new connection a call",
        "plain pooled Session",
        "our client",
        "of the limit",
    ]
    setup.table("Calls per second, as ratios to a new connection for each call", head, rows)


def _row(latency: float, threads: int, certificate: Path | None) -> list[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", SERVER, str(latency), str(certificate or "")], stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        scheme = "https" if certificate else "http"
        address = f"{scheme}://127.0.0.1:{int(process.stdout.readline())}"
        bundle = str(certificate) if certificate else None
        candidates = [_fresh(address, bundle), _pooled(address, bundle), _ours(address, bundle)]
        rates = [0.0, 0.0, 0.0]
        for _ in range(2):  # in turn, twice
            for place, candidate in enumerate(candidates):
                rates[place] = max(rates[place], _rate(candidate, threads))
    finally:
        process.terminate()
        process.wait(10)
    fresh, pooled, ours = rates
    limit = f"{ours * latency / threads:.2f}" if latency else "-"
    ratios = ["1.0", f"{pooled / fresh:.1f}", f"{ours / fresh:.1f}"]
    return [scheme, f"{latency * 1000:.0f} ms", str(threads), *ratios, limit]


def _rate(make: Callable[[], Callable[[], object]], threads: int) -> float:
    counts = [0] * threads
    ready = threading.Barrier(threads + 1)

    def work(place: int) -> None:
        call = make()
        call()
        ready.wait()
        ends = time.perf_counter() + SECONDS
        while time.perf_counter() < ends:
            call()
            counts[place] += 1

    workers = [threading.Thread(target=work, args=(place,)) for place in range(threads)]
    for worker in workers:
        worker.start()
    ready.wait()
    for worker in workers:
        worker.join()
    return sum(counts) / SECONDS


def _fresh(address: str, bundle: str | None) -> Callable[[], Callable[[], object]]:
    import requests

    def call() -> object:
        with requests.Session() as session:
            return session.get(f"{address}/v1/service/service/s", verify=bundle or True).json()

    return lambda: call


def _pooled(address: str, bundle: str | None) -> Callable[[], Callable[[], object]]:
    import requests

    def make() -> Callable[[], object]:
        session = requests.Session()
        return lambda: session.get(f"{address}/v1/service/service/s", verify=bundle or True).json()

    return make


def _ours(address: str, bundle: str | None) -> Callable[[], Callable[[], object]]:
    from django_verigator.client import Api

    api = Api(USERNAME, PASSWORD, address, ca_bundle=bundle)
    return lambda: lambda: api.services.get("s")


def _certificate(folder: Path) -> Path | None:
    openssl = shutil.which("openssl")
    if openssl is None:
        return None
    path = folder / "server.pem"
    subprocess.run(
        [openssl, "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost",
         "-addext", "subjectAltName=IP:127.0.0.1,DNS:localhost", "-keyout", f"{path}.key", "-out", str(path)],
        check=True,
        capture_output=True,
    )  # fmt: skip
    return path
