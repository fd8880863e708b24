"""Calls of the client per second, against a plain pooled ``requests.Session``."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from .provider import LATENCY, TIMEOUT, api, far_away, phone, pooled_session, with_service
from .table import Effort, Row, in_rounds, ratios, spread

THREADS = 16


def rows(provider: dict[str, str], effort: Effort) -> list[Row]:
    """Compare starts of an authentication."""
    provider = with_service(provider, "calls")
    client, service_id = api(provider), provider["service_id"]
    user_id = client.users.create(service_id, phone(0), "calls").id
    session = pooled_session(provider)
    path = f"{provider['endpoint']}/v1/service/service/{service_id}/users/{user_id}/auth"

    def by_hand() -> None:
        session.post(path, json={"method": "sms"}, timeout=TIMEOUT).raise_for_status()

    def ours() -> None:
        client.auth.initiate(service_id, user_id, "sms")

    def in_turn(threads: int) -> dict[str, list[float]]:
        return in_rounds(
            effort.rounds,
            {
                "by_hand": lambda: calls_per_second(by_hand, threads, effort.seconds / 2),
                "ours": lambda: calls_per_second(ours, threads, effort.seconds / 2),
            },
        )

    near = in_turn(1)
    with far_away(provider):
        shares = {
            side: spread([rate * LATENCY / THREADS for rate in rates]) for side, rates in in_turn(THREADS).items()
        }
    session.close()
    client.close()
    return [
        Row(
            "calls of the client per second, https, 0 ms, 1 thread, times requests.Session",
            "1.00",
            "1.00",
            ratios(near["ours"], near["by_hand"]),
            "at least 1.41",
        ),
        Row(
            f"the same, {LATENCY * 1000:.0f} ms, {THREADS} threads, of threads / latency",
            "1.00",
            shares["by_hand"],
            shares["ours"],
            "at least 0.94",
        ),
    ]


def calls_per_second(call: Callable[[], object], threads: int, seconds: float) -> float:
    """Have so many threads call again and again, each after a first call that opens its connection."""
    counts = [0] * threads
    errors: list[BaseException] = []
    ready = threading.Barrier(threads)

    def work(place: int) -> None:
        try:
            call()
            ready.wait(TIMEOUT)
            ends = time.perf_counter() + seconds
            while time.perf_counter() < ends:
                call()
                counts[place] += 1
        except Exception as error:  # noqa: BLE001 - raised below, in the main thread
            ready.abort()
            errors.append(error)

    workers = [threading.Thread(target=work, args=(place,)) for place in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    if errors:
        raise errors[0]
    return sum(counts) / seconds
