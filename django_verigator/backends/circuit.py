"""A circuit breaker and a bulkhead for each provider: nobody waits for one that is down, and never all threads for one.

What somebody waits for (a login, the registration of one user, a change of phone, the admin's action) goes through
``protected_call``. The commands and their workers do not: the sync and its lists of users, moving, exporting.

The circuit of a backend's alias has its state in Django's cache, so that the processes share it, and in this process
for a cache that does not keep it (one that is down, or a DummyCache):

- closed: calls go through. CIRCUIT_FAILURES calls in a row within CIRCUIT_WINDOW seconds that say "it is down" open it.
  Failures that one user, one number or one address may have caused count once in all.
- open: for CIRCUIT_OPEN_SECONDS no call is made, so nobody waits.
- half-open, after that: one call, the probe, goes through. If the provider answers it, the circuit closes. If not, it
  opens again; where the same user, number or address had failed before, the next call becomes the probe.

The cache lets nobody in: whoever flushes it makes calls go through, and no more.
"""

from __future__ import annotations

import logging
import secrets
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import astuple, dataclass
from enum import Enum
from typing import Any

from django.core.cache import cache
from django.core.cache.backends.locmem import LocMemCache
from django.core.signals import setting_changed
from django.dispatch import receiver
from django.utils.crypto import salted_hmac

from .. import conf
from ..addresses import rate_limit_key
from ..exceptions import (
    CircuitOpenError,
    ConnectionFailedError,
    InternalError,
    InvalidResponseError,
    NoSuchServiceError,
    ProviderBusyError,
    RequestTimeoutError,
    ResourceForbiddenError,
    ThrottledError,
    VerigatorError,
    WrongCredentialsError,
)
from .base import BaseBackend

logger = logging.getLogger("django_verigator")

SLOW_SECONDS = 0.25
"""Seconds after which a call is slow: no more threads wait behind it."""
LONGEST_WAIT = 3.0
"""Seconds that a call waits for its turn behind quick calls."""
LONGEST_OPEN = 600
"""Seconds that a circuit stays open at most, whatever a Retry-After says."""
_REMEMBERED = 24 * 3600
_RETRY_BEHIND_PROBE = 2
"""Seconds after which it is worth trying again while another call is the probe."""

_DOWN = (
    ConnectionFailedError,
    InternalError,
    InvalidResponseError,
    RequestTimeoutError,
    # With revoked credentials or a wrong service nothing works either, and the log should say so once.
    NoSuchServiceError,
    ResourceForbiddenError,
    WrongCredentialsError,
)

_local: Any = LocMemCache("django_verigator.circuit", {})


class CircuitState(Enum):
    """The value is the word that commands and logs show."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half open"


@dataclass(frozen=True, slots=True)
class CallOrigin:
    """On whose account a provider is called. A part that is not known is "", and tells nobody apart.

    Attributes:
        user: the primary key, as text.
        number: a digest of the phone number.
        address: where the request came from.
    """

    user: str = ""
    number: str = ""
    address: str = ""

    @classmethod
    def of(cls, user_pk: object, phone_digest: str = "", address: str | None = None) -> CallOrigin:
        """Return the origin of a call for this user, of whose address counts what rate limits count."""
        return cls(str(user_pk), phone_digest, rate_limit_key(address))


def _says_down(error: VerigatorError, is_hurried: bool) -> bool:
    """Say whether an error means that the provider is down."""
    if is_hurried and isinstance(error, RequestTimeoutError):  # A call that waits longer may get an answer.
        return False
    # A 429 may be meant for one number; with a Retry-After, and to everybody in a row, it is meant for us.
    return isinstance(error, _DOWN) or (isinstance(error, ThrottledError) and bool(error.retry_after))


def _may_be_about_one_user(error: VerigatorError) -> bool:
    """Say whether one user's number or record can make a working provider answer so, or not answer."""
    return error.sent and not isinstance(error, (NoSuchServiceError, WrongCredentialsError))


class Circuit:
    """The circuit breaker of one backend alias. The object has no state; the cache has it."""

    def __init__(self, alias: str) -> None:
        self.alias = alias
        # Keyed with SECRET_KEY, so that another site on the same cache has circuits of its own.
        key = salted_hmac("django_verigator.circuit", alias, algorithm="sha256").hexdigest()[:32]
        self._failures, self._open, self._tripped, self._probe, self._origins = (
            f"django_verigator.circuit.{key}.{name}" for name in ("failures", "open", "tripped", "probe", "origins")
        )

    @property
    def state(self) -> CircuitState:
        return self._state(self._read())

    def describe(self) -> str:
        """Return the state in words, with the seconds that it stays open: ``"open for 12 s"``."""
        known = self._read()
        seconds = self._open_seconds(known)
        return f"{self._state(known).value} for {seconds:.0f} s" if seconds else self._state(known).value

    def admit(self) -> bool:
        """Let a call through, unless the circuit is open; return whether its success has to be reported too."""
        known = self._read()
        if self._state(known) == CircuitState.OPEN:
            raise self._refusal(self._open_seconds(known))
        return bool(known)

    def take_probe(self, seconds: float) -> bool:
        """Make a call the probe of a half-open circuit, and return whether it is (False: the circuit is closed).

        After ``seconds`` another call may become the probe, should this one never come back.
        """
        if self._state(self._read()) == CircuitState.CLOSED:
            return False
        for store in (cache, _local):
            with _tolerating_cache_failures():
                if store.get(self._tripped):
                    if store.add(self._probe, 1, seconds):
                        return True
                    raise self._refusal(_RETRY_BEHIND_PROBE)
        return False

    def release_probe(self) -> None:
        """Let another call become the probe, since this one found nothing out."""
        self._delete(self._probe)

    def record_success(self) -> None:
        """Close the circuit: the provider has answered, whatever it said."""
        was = self.state
        self.forget()
        if was != CircuitState.CLOSED:
            logger.warning("circuit_closed backend=%s", self.alias, extra={"event": "circuit_closed"})

    def forget(self) -> None:
        """Close the circuit without a word in the log, as if no call had ever been made."""
        self._delete(self._failures, self._open, self._tripped, self._probe, self._origins)

    def record_failure(self, error: VerigatorError, origin: CallOrigin | None = None) -> None:
        """Count a call that says "it is down", and open the circuit where that is one too many."""
        for store in (cache, _local):
            with _tolerating_cache_failures():
                self._count_failure(store, error, origin)
                return

    def _count_failure(self, store: Any, error: VerigatorError, origin: CallOrigin | None) -> None:
        config = conf.current().LIMITS
        store.add(self._failures, 0, config.CIRCUIT_WINDOW)
        tripped = store.get(self._tripped)
        if origin is not None and _may_be_about_one_user(error):
            seconds = _REMEMBERED if tripped else config.CIRCUIT_WINDOW
            if not self._is_new_origin(store, origin, seconds):
                store.delete(self._probe)
                return
        failures = store.incr(self._failures)
        if failures < config.CIRCUIT_FAILURES and not tripped:
            return
        seconds = min(max(config.CIRCUIT_OPEN_SECONDS, error.retry_after or 0), LONGEST_OPEN)
        # This comes first, since a circuit that has tripped and is not open counts as half-open.
        store.set(self._open, (time.time() + seconds, seconds), seconds)
        if store.add(self._tripped, 1, _REMEMBERED):  # True for one call alone, so an outage has one line.
            details = error.details
            text = " ".join(f"{key}={value}" for key, value in details.items())
            extra = {f"verigator_{key}": value for key, value in details.items()}
            logger.error("circuit_opened backend=%s %s", self.alias, text, extra={"event": "circuit_opened", **extra})
        store.delete(self._probe)

    def _is_new_origin(self, store: Any, origin: CallOrigin, seconds: float) -> bool:
        """Say whether user, number and address all differ from those of earlier failures, and remember them."""
        # A new name after each success forgets all of them.
        store.add(self._origins, secrets.token_hex(8), _REMEMBERED)
        since = store.get(self._origins)
        digests = [
            salted_hmac("django_verigator.origin", f"{since}.{place}.{part}", algorithm="sha256").hexdigest()
            for place, part in enumerate(astuple(origin))
            if part
        ]
        keys = [f"{self._origins}.{digest}" for digest in digests]
        if store.get_many(keys):
            return False
        # Of calls that fail at the same time only one adds what they have in common.
        return all(store.add(key, 1, seconds) for key in keys)

    def _read(self) -> dict[str, Any]:
        keys = [self._failures, self._open, self._tripped]
        known: dict[str, Any] = _local.get_many(keys)
        with _tolerating_cache_failures():
            known |= cache.get_many(keys)
        return known

    def _state(self, known: dict[str, Any]) -> CircuitState:
        if self._open_seconds(known):
            return CircuitState.OPEN
        return CircuitState.HALF_OPEN if self._tripped in known else CircuitState.CLOSED

    def _open_seconds(self, known: dict[str, Any]) -> float:
        """Return for how many more seconds the circuit is open; 0: it is not."""
        until, seconds = known.get(self._open, (0.0, 0.0))
        remaining = float(until - time.time())
        # More than it was opened for means that the clock was put back, or that another machine's differs.
        return remaining if 0 < remaining <= seconds else 0.0

    def _refusal(self, seconds: float) -> CircuitOpenError:
        return CircuitOpenError("not asked: it did not answer lately", sent=False, retry_after=max(1, round(seconds)))

    def _delete(self, *keys: str) -> None:
        _local.delete_many(keys)
        with _tolerating_cache_failures():
            cache.delete_many(keys)


@contextmanager
def _tolerating_cache_failures() -> Iterator[None]:
    """Log what a cache raises in the block, and go on with what this process has seen itself."""
    try:
        yield
    except CircuitOpenError:
        raise
    except Exception as error:  # noqa: BLE001 - every cache has its own errors
        if not isinstance(error, ValueError):  # A DummyCache keeps nothing, and counts nothing up.
            logger.warning("cache_failed error=%s", type(error).__name__)


class Bulkhead:
    """Bounds how many calls to one provider this process waits for at a time."""

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._began: list[float] = []

    @contextmanager
    def enter(self, most: int) -> Iterator[None]:
        """Make a call in the block, as one of at most ``most``; wait for another to end only where those are quick."""
        with self._condition:
            deadline = time.monotonic() + LONGEST_WAIT
            while len(self._began) >= most:
                # It is soon our turn behind quick calls. Behind slow ones this thread has other pages to serve.
                wait = min(min(self._began) + SLOW_SECONDS, deadline) - time.monotonic()
                if wait <= 0:
                    raise ProviderBusyError("not asked: too many calls wait for it", sent=False, retry_after=1)
                self._condition.wait(wait)
            began = time.monotonic()
            self._began.append(began)
        try:
            yield
        finally:
            with self._condition:
                self._began.remove(began)
                self._condition.notify()


_bulkheads: dict[str, Bulkhead] = {}


@contextmanager
def protected_call(
    backend: BaseBackend, origin: CallOrigin | None = None, timeout: float | None = None, *, purpose: str = ""
) -> Iterator[None]:
    """Surround one call of a backend, and nothing else, with its circuit breaker and bulkhead.

    Args:
        origin: on whose account the call is made; None: on nobody's, so that each failure counts.
        timeout: seconds that the call may take. A time-out after much less than the backend's own total says nothing,
            unless the call has a purpose.
        purpose: what the call is for where logins can do without it. Such calls have a circuit breaker and a bulkhead
            of their own, so that no code is kept from being sent by them.

    Raises:
        CircuitOpenError: the call was not made (``sent`` is False), since the provider is down.
        ProviderBusyError: the call was not made, since too many others wait for the provider.
    """
    name = f"{backend.alias}/{purpose}" if purpose else backend.alias
    circuit = Circuit(name)
    reports_success = circuit.admit()
    is_hurried = not purpose and timeout is not None and timeout < backend.total_timeout / 2
    with _bulkheads.setdefault(name, Bulkhead()).enter(conf.current().LIMITS.PROVIDER_CALLS_AT_ONCE):
        is_probe = reports_success and circuit.take_probe(backend.total_timeout + _RETRY_BEHIND_PROBE)
        try:
            yield
        except VerigatorError as error:
            if _says_down(error, is_hurried):
                circuit.record_failure(error, origin)
            elif not error.sent or isinstance(error, (ThrottledError, RequestTimeoutError)):  # It says nothing.
                if is_probe:
                    circuit.release_probe()
            elif reports_success:
                circuit.record_success()
            raise
        except BaseException:
            if is_probe:
                circuit.release_probe()
            raise
        if reports_success:
            circuit.record_success()


def reset() -> None:
    """Forget what this process has seen; what is in the cache stays there."""
    _local.clear()


@receiver(setting_changed)
def _forget_on_change(*, setting: str, **kwargs: object) -> None:
    if setting == conf.NAME:
        reset()
