"""Every call to the provider through every network that is not loopback, in one thread and in twenty.

N01, N05 and N07 are kinds of this. What holds for all: a call ends in time, in its answer or in one of our errors;
where the provider has seen it, the error's ``sent`` is True; nothing that costs money or a try is made twice; the next
call works.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from django_verigator.backends import Recipient
from django_verigator.backends.verigator import VerigatorBackend
from django_verigator.client import http
from django_verigator.exceptions import ConnectionFailedError, RequestTimeoutError, VerigatorError
from django_verigator.sandbox import Sandbox
from tests.deadlines import in_time

from .crowd import errors, side_by_side
from .relay import Relay, full_backlog, refusing_proxy

Make = Callable[..., VerigatorBackend]
PATIENT = {"connect_timeout": 10.0, "read_timeout": 10.0, "total_timeout": 20.0}
SHORT = 0.8
"""Seconds that a call is given where a time-out must come of it."""


class Caller:
    """One thread's user, and the calls that can be made for it."""

    def __init__(self, backend: VerigatorBackend, sandbox: Sandbox, number: int) -> None:
        self.backend, self.sandbox, self.number = backend, sandbox, number
        self.phone = f"+3725550{number:04}"
        self.spare = ""

    def begin(self) -> None:
        """Make the records, and a connection that is kept."""
        self.user = self.backend.register(self.phone, f"user{self.number}")
        self.spare = self.backend.register(f"+3725551{self.number:04}", f"spare{self.number}")
        self.start()

    def start(self) -> None:
        assert self.backend.start(Recipient(self.user), "sms").method == "sms"

    def check(self) -> None:
        assert self.backend.check(Recipient(self.user), self.sandbox.last_pin(self.phone), "").verified

    def register(self) -> None:
        assert self.backend.register(f"+3725552{self.number:04}", f"new{self.number}")

    def unregister(self) -> None:
        self.backend.unregister(self.spare)

    def users(self) -> None:
        assert self.user in {user.user_id for user in self.backend.users()}


CALLS = ("start", "check", "register", "unregister", "users")
ONCE = {"start": "auth.start", "check": "auth.verify", "register": "users.create"}
"""What is never made twice, and what the provider calls it."""


@dataclass(frozen=True)
class Fault:
    """What the network does, and what comes of a call: None for an answer, or the error and its ``sent``."""

    order: Callable[[Relay], None]
    outcome: tuple[type[VerigatorError], bool] | None
    repeated: tuple[type[VerigatorError], bool] | None = None
    is_slow: bool = False


def silent(relay: Relay) -> None:
    relay.silent = True
    relay.hang_up()


def slow(seconds: float) -> Callable[[Relay], None]:
    return lambda relay: setattr(relay, "slow", seconds)


BROKEN = (ConnectionFailedError, True)
LATE = (RequestTimeoutError, True)
FAULTS = {
    "resets what it forgot": Fault(lambda relay: relay.forget("reset"), BROKEN),
    "swallows what it forgot": Fault(lambda relay: relay.forget("swallow"), LATE, LATE, is_slow=True),
    "hangs up": Fault(Relay.hang_up, None),
    "accepts and is silent": Fault(silent, LATE, LATE, is_slow=True),
    "is slow": Fault(slow(0.2), None),
    "is too slow": Fault(slow(2 * SHORT), LATE, LATE, is_slow=True),
    "cuts requests": Fault(lambda relay: relay.cut(request=20), BROKEN),
    "cuts replies": Fault(lambda relay: relay.cut(reply=20), BROKEN),
}


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "FIRST_BACKOFF", 0.05)


@pytest.fixture(params=[*CALLS, "twenty threads"])
def made(request: pytest.FixtureRequest) -> list[str]:
    """Which call each thread makes: one thread this one, or of twenty threads four each of the five."""
    return [*CALLS] * 4 if request.param == "twenty threads" else [request.param]


@pytest.fixture
def callers(made: list[str], backend: Make, sandbox: Sandbox) -> list[Caller]:
    one = backend(**PATIENT)
    return [Caller(one, sandbox, number) for number in range(len(made))]


def outcomes(
    callers: list[Caller], made: list[str], order: Callable[[], None], heal: Callable[[], None], seconds: float
) -> list[VerigatorError | None]:
    """What came of the threads' calls after the order; when all is well again, a login of each has worked."""
    results: list[VerigatorError | None] = [None] * len(callers)

    def faulty(number: int) -> None:
        api = callers[number].backend.api
        with in_time(seconds), api.within(seconds):
            try:
                getattr(callers[number], made[number])()
            except VerigatorError as error:
                results[number] = error

    def again(number: int) -> None:
        callers[number].start()
        callers[number].check()
        callers[number].backend.close()

    turns = iter([order, heal])
    after = side_by_side(
        lambda number: callers[number].begin(), faulty, again, threads=len(callers), between=lambda: next(turns)()
    )
    assert errors(after) == []
    return results


def none_twice(sandbox: Sandbox, made: list[str]) -> None:
    """Beside two registrations, a start, and the login when all was well again, each call came once at most."""
    own = {"start": 2, "check": 1, "register": 2}
    for call, operation in ONCE.items():
        assert len(sandbox.calls(operation=operation)) <= own[call] * len(made) + made.count(call)


@pytest.mark.fault("N01")
@pytest.mark.parametrize("name", FAULTS)
def test_call__through_a_network_that(
    sandbox: Sandbox, relay: Relay, callers: list[Caller], made: list[str], scheme: str, name: str
) -> None:
    fault = FAULTS[name]
    seconds = SHORT if fault.is_slow else PATIENT["total_timeout"]
    results = outcomes(callers, made, lambda: fault.order(relay), relay.heal, seconds)
    none_twice(sandbox, made)
    for call, result in zip(made, results, strict=True):
        expected = fault.outcome if call in ONCE else fault.repeated
        if name == "accepts and is silent" and scheme == "https":
            expected = (RequestTimeoutError, False)  # in the handshake
        assert (result and (type(result), result.sent)) == expected, f"{call}: {result}"


DEAD = {
    "has a full backlog": (RequestTimeoutError, "connect_timeout"),
    "has nobody who listens": (ConnectionFailedError, "refused"),
    "has a proxy that refuses": (ConnectionFailedError, "proxy_auth"),
    "has a proxy with a full backlog": (RequestTimeoutError, "proxy_connect_timeout"),
    "has no such name": (ConnectionFailedError, "no_such_name"),
}


@pytest.fixture
def dead(name: str, backend: Make, monkeypatch: pytest.MonkeyPatch) -> Iterator[VerigatorBackend]:
    """A backend to which there is no way."""
    real = socket.getaddrinfo

    def getaddrinfo(host: str, *args: Any) -> Any:
        if host == "provider.invalid":
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return real(host, *args)

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    with full_backlog() as full, refusing_proxy() as refusing, socket.create_server(("127.0.0.1", 0)) as gone:
        nobody = gone.getsockname()[1]
        gone.close()
        options: dict[str, dict[str, Any]] = {
            "has a full backlog": {"endpoint": f"http://127.0.0.1:{full}"},
            "has nobody who listens": {"endpoint": f"http://127.0.0.1:{nobody}"},
            "has a proxy that refuses": {"proxies": {"https": f"http://127.0.0.1:{refusing}"}},
            "has a proxy with a full backlog": {"proxies": {"https": f"http://127.0.0.1:{full}"}},
            "has no such name": {"endpoint": "https://provider.invalid"},
        }
        yield backend(**{**PATIENT, "endpoint": "https://provider.invalid", **options[name]})


@pytest.mark.fault("N05", "N07")
@pytest.mark.parametrize("name", DEAD)
@pytest.mark.parametrize("scheme", ["http"], indirect=True)
def test_call__to_a_provider_that(
    sandbox: Sandbox, callers: list[Caller], made: list[str], dead: VerigatorBackend, name: str
) -> None:
    kind, why = DEAD[name]
    alive = callers[0].backend

    def lead_to(one: VerigatorBackend) -> Callable[[], None]:
        return lambda: [setattr(caller, "backend", one) for caller in callers] and None

    for result in outcomes(callers, made, lead_to(dead), lead_to(alive), SHORT):
        assert result is not None
        assert (type(result), result.why, result.sent) == (kind, why, False)
    none_twice(sandbox, made)


@pytest.mark.fault("N05")
def test_call__to_a_provider_whose_first_address_is_dead(
    sandbox: Sandbox, relay: Relay, callers: list[Caller], made: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """All are answered, with the short budget of a save."""
    with full_backlog() as full:
        found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port)) for port in (full, relay.port)]

        def move() -> None:
            relay.hang_up()
            monkeypatch.setattr(socket, "getaddrinfo", lambda *_: found)

        assert outcomes(callers, made, move, relay.heal, 2.0) == [None] * len(made)
    none_twice(sandbox, made)
