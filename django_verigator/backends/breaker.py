"""Leaving a provider alone that does not answer, and never waiting for it with all threads of a process.

What somebody waits for (a login, the registration of one user, a change of phone, the admin's action) goes through
``asking``. The commands and their workers do not: the sync and its lists of users, moving, exporting.

A circuit belongs to a backend's alias; its state is in Django's cache, so that the processes share it, and in this
process where the cache does not keep it (down, or a DummyCache):

- closed: calls go through. CIRCUIT_FAILURES calls in a row within CIRCUIT_WINDOW seconds that say "it is down" open it.
  What one user, one number or one address may have brought about counts once, however often it fails.
- open: for CIRCUIT_OPEN_SECONDS nobody asks, so nobody waits.
- half open, after that: one call goes through. If the provider answers, the circuit closes; if not, it is open again,
  or where the same user, number or address had failed before, the next call is let through.

Nobody gets in because of what stands in the cache: whoever flushes it gets calls made, no more.
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
"""A call that has lasted so long is one that more threads should not wait behind."""
LONGEST_WAIT = 3.0
"""Seconds for which a call waits for another one to end, where those are quick."""
LONGEST_OPEN = 600
"""Seconds; a Retry-After cannot keep a circuit open for longer."""
_REMEMBERED = 24 * 3600
_BEHIND_A_PROBE = 2
"""Seconds after which it is worth trying again when another call is just finding out."""

_DOWN = (
    ConnectionFailedError,
    InternalError,
    InvalidResponseError,
    RequestTimeoutError,
    # Nothing works with credentials that were revoked either, or with a wrong service, and somebody should hear of it,
    # once.
    NoSuchServiceError,
    ResourceForbiddenError,
    WrongCredentialsError,
)

_local: Any = LocMemCache("django_verigator.breaker", {})


class CircuitState(Enum):
    """The value is the word that commands and logs show."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half open"


@dataclass(frozen=True, slots=True)
class Cause:
    """On whose account a provider is asked. A part that is not known is "", and tells nobody apart.

    Attributes:
        user: the primary key, as text.
        number: a digest of the phone number.
        address: where the request came from.
    """

    user: str = ""
    number: str = ""
    address: str = ""


def _says_down(error: VerigatorError, in_a_hurry: bool) -> bool:
    if in_a_hurry and isinstance(error, RequestTimeoutError):  # whoever waits longer may get an answer
        return False
    # A 429 may be meant for one number; with a Retry-After, and to everybody in a row, it is meant for us.
    return isinstance(error, _DOWN) or (isinstance(error, ThrottledError) and bool(error.retry_after))


def _may_be_caused(error: VerigatorError) -> bool:
    """Whether one user's number or record can make a provider that works answer so, or not answer."""
    return error.sent and not isinstance(error, (NoSuchServiceError, WrongCredentialsError))


class Circuit:
    """The circuit of one backend alias; it has no state of its own."""

    def __init__(self, alias: str) -> None:
        self.alias = alias
        # Keyed, so that another site on the same cache does not answer for this one.
        key = salted_hmac("django_verigator.circuit", alias, algorithm="sha256").hexdigest()[:32]
        self._failures, self._open, self._tripped, self._probe, self._causes = (
            f"django_verigator.circuit.{key}.{name}" for name in ("failures", "open", "tripped", "probe", "causes")
        )

    @property
    def state(self) -> CircuitState:
        return self._state(self._read())

    def describe(self) -> str:
        """Return the state in a word, and for how long it is open: ``"open for 12 s"``."""
        known = self._read()
        left = self._left(known)
        return f"{self._state(known).value} for {left:.0f} s" if left else self._state(known).value

    def admit(self) -> bool:
        """Return whether the call that is about to be made is one that has to be reported however it ends.

        Raises:
            CircuitOpenError: it is open.
        """
        known = self._read()
        if self._state(known) == CircuitState.OPEN:
            raise self._refusal(self._left(known))
        return bool(known)

    def probe(self, seconds: float) -> bool:
        """Take the one call of a half open circuit; return whether this is it (False: the circuit is closed).

        Args:
            seconds: after which another one may go, if this one never comes back.

        Raises:
            CircuitOpenError: another call has it.
        """
        if self._state(self._read()) == CircuitState.CLOSED:
            return False
        for store in (cache, _local):
            try:
                if store.get(self._tripped):
                    if store.add(self._probe, 1, seconds):
                        return True
                    raise self._refusal(_BEHIND_A_PROBE)
            except CircuitOpenError:
                raise
            except Exception as error:  # noqa: BLE001 - every cache has its own errors
                _cache_failed(error)
        return False

    def release(self) -> None:
        """Give the probe back: nothing was asked."""
        self._delete(self._probe)

    def succeeded(self) -> None:
        """The provider has answered, whatever it said."""
        was = self.state
        self.forget()
        if was != CircuitState.CLOSED:
            logger.warning("circuit_closed backend=%s", self.alias, extra={"event": "circuit_closed"})

    def forget(self) -> None:
        """As if it had never been asked."""
        self._delete(self._failures, self._open, self._tripped, self._probe, self._causes)

    def failed(self, error: VerigatorError, cause: Cause | None = None) -> None:
        """The provider is down, as far as one call can tell."""
        for store in (cache, _local):
            try:
                self._note(store, error, cause)
            except Exception as problem:  # noqa: BLE001 - a ValueError from a DummyCache: it keeps nothing
                _cache_failed(problem)
            else:
                return

    def _note(self, store: Any, error: VerigatorError, cause: Cause | None) -> None:
        config = conf.current().LIMITS
        store.add(self._failures, 0, config.CIRCUIT_WINDOW)
        tripped = store.get(self._tripped)
        if cause is not None and _may_be_caused(error):
            seconds = _REMEMBERED if tripped else config.CIRCUIT_WINDOW
            if not self._is_another(store, cause, seconds):
                store.delete(self._probe)
                return
        failures = store.incr(self._failures)
        if failures < config.CIRCUIT_FAILURES and not tripped:
            return
        seconds = min(max(config.CIRCUIT_OPEN_SECONDS, error.retry_after or 0), LONGEST_OPEN)
        # First this, so that nobody sees a circuit that has tripped and takes it for half open.
        store.set(self._open, (time.time() + seconds, seconds), seconds)
        if store.add(self._tripped, 1, _REMEMBERED):  # by the one call that opens it: one line an outage
            details = error.details
            text = " ".join(f"{key}={value}" for key, value in details.items())
            extra = {f"verigator_{key}": value for key, value in details.items()}
            logger.error("circuit_opened backend=%s %s", self.alias, text, extra={"event": "circuit_opened", **extra})
        store.delete(self._probe)

    def _is_another(self, store: Any, cause: Cause, seconds: float) -> bool:
        """Whether user, number and address all differ from those of the failures noted so far; note them."""
        # Named anew after each success, which forgets all of them that way.
        store.add(self._causes, secrets.token_hex(8), _REMEMBERED)
        since = store.get(self._causes)
        digests = [
            salted_hmac("django_verigator.cause", f"{since}.{place}.{part}", algorithm="sha256").hexdigest()
            for place, part in enumerate(astuple(cause))
            if part
        ]
        keys = [f"{self._causes}.{digest}" for digest in digests]
        if store.get_many(keys):
            return False
        # Of calls that fail at the same time, too, only one adds what they have in common.
        return all(store.add(key, 1, seconds) for key in keys)

    def _read(self) -> dict[str, Any]:
        keys = [self._failures, self._open, self._tripped]
        known: dict[str, Any] = _local.get_many(keys)
        try:
            known |= cache.get_many(keys)
        except Exception as error:  # noqa: BLE001 - as above; then this process knows what it has seen itself
            _cache_failed(error)
        return known

    def _state(self, known: dict[str, Any]) -> CircuitState:
        if self._left(known):
            return CircuitState.OPEN
        return CircuitState.HALF_OPEN if self._tripped in known else CircuitState.CLOSED

    def _left(self, known: dict[str, Any]) -> float:
        until, seconds = known.get(self._open, (0.0, 0.0))
        left = float(until - time.time())
        # More than it was opened for: the clock was put back meanwhile, or another machine's differs.
        return left if 0 < left <= seconds else 0.0

    def _refusal(self, seconds: float) -> CircuitOpenError:
        return CircuitOpenError("not asked: it did not answer lately", sent=False, retry_after=max(1, round(seconds)))

    def _delete(self, *keys: str) -> None:
        _local.delete_many(keys)
        try:
            cache.delete_many(keys)
        except Exception as error:  # noqa: BLE001 - as above
            _cache_failed(error)


def _cache_failed(error: Exception) -> None:
    if not isinstance(error, ValueError):
        logger.warning("cache_failed error=%s", type(error).__name__)


class _Room:
    """The calls to one provider that this process waits for now."""

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._began: list[float] = []

    @contextmanager
    def enter(self, most: int) -> Iterator[None]:
        with self._condition:
            ends = time.monotonic() + LONGEST_WAIT
            while len(self._began) >= most:
                # Behind quick calls it is soon our turn. Behind slow ones this thread has other pages to serve.
                left = min(min(self._began) + SLOW_SECONDS, ends) - time.monotonic()
                if left <= 0:
                    raise ProviderBusyError("not asked: too many calls wait for it", sent=False, retry_after=1)
                self._condition.wait(left)
            began = time.monotonic()
            self._began.append(began)
        try:
            yield
        finally:
            with self._condition:
                self._began.remove(began)
                self._condition.notify()


_rooms: dict[str, _Room] = {}


@contextmanager
def asking(backend: BaseBackend, cause: Cause | None = None, timeout: float | None = None) -> Iterator[None]:
    """Surround one call of a backend, and nothing else; what it ends in opens or closes the circuit.

    Args:
        cause: on whose account it is asked; None: on nobody's, so that each failure counts.
        timeout: seconds that the call may take. That it did not end in much less than the backend's own is no sign.

    Raises:
        CircuitOpenError, ProviderBusyError: the call was not made (``sent`` is False); at once, or where other calls
            are quick, after a moment.
    """
    circuit = Circuit(backend.alias)
    noted = circuit.admit()
    in_a_hurry = timeout is not None and timeout < backend.total_timeout / 2
    with _rooms.setdefault(backend.alias, _Room()).enter(conf.current().LIMITS.PROVIDER_CALLS_AT_ONCE):
        probes = noted and circuit.probe(backend.total_timeout + _BEHIND_A_PROBE)
        try:
            yield
        except VerigatorError as error:
            if _says_down(error, in_a_hurry):
                circuit.failed(error, cause)
            elif not error.sent or isinstance(error, (ThrottledError, RequestTimeoutError)):  # says nothing
                if probes:
                    circuit.release()
            elif noted:
                circuit.succeeded()
            raise
        except BaseException:
            if probes:
                circuit.release()
            raise
        if noted:
            circuit.succeeded()


def reset() -> None:
    """Forget what this process has seen; what is in the cache stays there."""
    _local.clear()


@receiver(setting_changed)
def _forget(*, setting: str, **kwargs: object) -> None:
    if setting == conf.NAME:
        reset()
