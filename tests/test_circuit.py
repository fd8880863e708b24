"""The circuit breaker and the bulkhead: who is asked, who is not, and what a login costs meanwhile."""

from __future__ import annotations

import contextlib
import logging
import tempfile
import threading
import time

import pytest
from django.core.cache import cache
from django.core.management import call_command
from django.db import connection

from django_verigator.backends import BaseBackend, CallOrigin, Circuit, backends, locmem, protected_call
from django_verigator.backends import CircuitState as State
from django_verigator.backends import circuit as circuits
from django_verigator.exceptions import (
    CircuitOpenError,
    ConnectionFailedError,
    InternalError,
    InvalidResponseError,
    NoSuchResourceError,
    ProviderBusyError,
    RequestTimeoutError,
    ResourceForbiddenError,
    ThrottledError,
    WrongCredentialsError,
)
from django_verigator.models import Challenge, VerigatorUser
from tests.deadlines import in_time
from tests.site.models import User

from .conftest import PASSWORD, give_password, sent_pin

PIN_PAGE, RESEND = "/accounts/verify/", "/accounts/verify/resend/"
FAILURES = 4
CACHES = {
    "file": {
        "BACKEND": "django.core.cache.backends.filebased.FileBasedCache",
        "LOCATION": tempfile.mkdtemp(prefix="verigator-"),
    },
    "locmem": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"},
    "down": {"BACKEND": "tests.site.caches.BrokenCache"},
    "dummy": {"BACKEND": "django.core.cache.backends.dummy.DummyCache"},
}


class Provider(BaseBackend):
    """Answers, or raises ``error``; ``calls`` counts what got through."""

    error: Exception | None = None
    calls = 0

    def ask(self, cause: CallOrigin | None = None, timeout: float | None = None) -> None:
        with protected_call(self, cause, timeout):
            self.calls += 1
            if self.error is not None:
                raise self.error

    def fail(self, error: Exception | None = None, times: int = FAILURES, **how: object) -> None:
        self.error = error or ConnectionFailedError(sent=False)
        for _ in range(times):
            with pytest.raises(type(self.error)):
                self.ask(**how)


@pytest.fixture
def provider():
    return Provider("default")


@pytest.fixture
def circuit():
    return Circuit("default")


def use_cache(settings, kind):
    settings.CACHES = {"default": CACHES[kind]}
    with contextlib.suppress(ConnectionError):
        cache.clear()


def pass_open_time(circuit):
    """As if the time were over in which nobody asks."""
    for store in (cache, circuits._local):
        try:
            store.delete(circuit._open)
        except ConnectionError:  # the cache that is down
            continue


@pytest.mark.threat("R26")
@pytest.mark.parametrize("kind", CACHES)
def test_circuit__opens_probes_and_closes_with_every_kind_of_cache(provider, circuit, settings, kind):
    use_cache(settings, kind)
    provider.fail(times=FAILURES - 1)
    assert circuit.state == State.CLOSED
    provider.fail(times=1)
    assert circuit.state == State.OPEN
    with pytest.raises(CircuitOpenError) as refused:
        provider.ask()
    assert provider.calls == FAILURES
    assert not refused.value.sent
    assert 1 <= refused.value.retry_after <= 30
    pass_open_time(circuit)
    assert circuit.state == State.HALF_OPEN
    provider.fail(times=1)
    assert circuit.state == State.OPEN, "one probe that failed is enough"
    pass_open_time(circuit)
    provider.error = None
    provider.ask()
    assert circuit.state == State.CLOSED
    provider.fail(times=FAILURES - 1)
    assert circuit.state == State.CLOSED, "counted from the beginning"


@pytest.mark.parametrize("kind", ["file", "locmem"])
def test_circuit__is_shared_by_all_who_share_the_cache(provider, circuit, settings, kind):
    use_cache(settings, kind)
    provider.fail(times=FAILURES - 1)
    circuits.reset()  # as another process, which has seen nothing itself
    provider.fail(times=1)
    circuits.reset()
    assert circuit.state == State.OPEN


@pytest.mark.threat("R40")
@pytest.mark.parametrize("kind", CACHES)
def test_half_open__lets_one_call_through(provider, circuit, settings, kind):
    use_cache(settings, kind)
    provider.fail()
    pass_open_time(circuit)
    provider.error, provider.calls = None, 0
    inside = protected_call(provider)
    inside.__enter__()
    for _ in range(3):
        with pytest.raises(CircuitOpenError):
            provider.ask()
    assert provider.calls == 0
    inside.__exit__(None, None, None)
    provider.ask()
    assert provider.calls == 1


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("a bug of ours"),
        NoSuchResourceError("known without asking", sent=False),
        ThrottledError(status=429),
    ],
    ids=["bug", "not asked", "429"],
)
def test_half_open__call_that_proves_nothing_leaves_the_probe_to_another(provider, circuit, error):
    provider.fail()
    pass_open_time(circuit)
    provider.error = error
    with pytest.raises(type(error)):
        provider.ask()
    assert circuit.state == State.HALF_OPEN
    provider.error = None
    provider.ask()
    assert circuit.state == State.CLOSED


@pytest.mark.threat("R11")
@pytest.mark.parametrize(
    "error",
    [
        ConnectionFailedError(sent=False),
        RequestTimeoutError(),
        InternalError(status=500),
        InvalidResponseError(status=302),
        WrongCredentialsError(status=401),
        ResourceForbiddenError(status=403),
        ThrottledError(status=429, retry_after=90),
    ],
    ids=lambda error: error.reason,
)
def test_provider_that_is_down__is_told_about_in_one_line(provider, circuit, error, caplog):
    provider.fail(error)
    for _ in range(20):
        with pytest.raises(CircuitOpenError):
            provider.ask()
    told = [record for record in caplog.records if record.levelno >= logging.ERROR]
    assert [record.getMessage() for record in told] == [
        f"circuit_opened backend=default reason={error.reason} status={error.status}"
    ]
    pass_open_time(circuit)
    provider.fail(error, times=1)
    assert len([record for record in caplog.records if record.levelno >= logging.ERROR]) == 1, "still the same outage"
    pass_open_time(circuit)
    provider.error = None
    provider.ask()
    assert caplog.records[-1].getMessage() == "circuit_closed backend=default"


@pytest.mark.parametrize("error", [NoSuchResourceError(status=404), ThrottledError(status=429)], ids=repr)
def test_answer_that_is_about_one_user__opens_nothing(provider, circuit, error):
    provider.fail(error, times=3 * FAILURES)
    assert circuit.state == State.CLOSED


def test_success_in_between__begins_the_count_anew(provider, circuit):
    for _ in range(3):
        provider.fail(times=FAILURES - 1)
        provider.error = None
        provider.ask()
    assert circuit.state == State.CLOSED


@pytest.mark.threat("R10")
@pytest.mark.parametrize(("asked", "seconds"), [(None, 30), (5, 30), (90, 90), (3600, 600)])
def test_retry_after__is_heeded_within_bounds(provider, circuit, asked, seconds):
    provider.fail(ThrottledError(status=429, retry_after=asked) if asked else InternalError(status=503))
    with pytest.raises(CircuitOpenError) as refused:
        provider.ask()
    assert seconds - 2 <= refused.value.retry_after <= seconds


@pytest.mark.threat("R30")
@pytest.mark.parametrize("minutes", [-10, 10])
def test_clock_that_jumps__neither_holds_the_circuit_open_nor_floods_the_provider(
    provider, circuit, monkeypatch, minutes
):
    provider.fail()
    now = time.time
    # Only our own clock: the cache has its server's.
    monkeypatch.setattr(circuits.time, "time", lambda: now() + 60 * minutes, raising=True)
    assert circuit.state != State.CLOSED
    known = circuit._read() | {circuit._open: (now() + 30, 30)}
    assert circuit._open_seconds(known) == 0
    provider.fail(times=1)
    with pytest.raises(CircuitOpenError) as refused:
        provider.ask()
    assert 1 <= refused.value.retry_after <= 30


@pytest.mark.threat("R30")
def test_no_negative_wait(circuit):
    assert circuit._open_seconds({circuit._open: (time.time() - 5, 30)}) == 0


def test_two_sites_on_one_cache__do_not_share_a_circuit(provider, circuit, settings):
    provider.fail()
    settings.SECRET_KEY = "another site"
    assert Circuit("default").state == State.CLOSED


def test_two_aliases__have_a_circuit_each(provider):
    provider.fail()
    assert Circuit("other").state == State.CLOSED


OOPS = InternalError(status=500)
SHARED = [{"user": "7"}, {"number": "a digest"}, {"address": "9.9.9.9"}]


def somebody(number, /, **shared):
    return CallOrigin(**{"user": f"u{number}", "number": f"n{number}", "address": f"a{number}", **shared})


@pytest.mark.fault("T03")
@pytest.mark.parametrize("kind", CACHES)
@pytest.mark.parametrize("shared", SHARED, ids=lambda shared: next(iter(shared)))
def test_failures_of_one_user_number_or_address__open_nothing_for_others(provider, circuit, settings, kind, shared):
    use_cache(settings, kind)
    for number in range(3 * FAILURES):
        provider.fail(OOPS, times=1, cause=somebody(number, **shared))
    assert circuit.state == State.CLOSED


@pytest.mark.fault("T03")
@pytest.mark.parametrize("kind", CACHES)
def test_failures_of_several_users__open_the_circuit_and_a_success_begins_anew(provider, circuit, settings, kind):
    use_cache(settings, kind)
    for _ in range(3):
        for number in range(FAILURES - 1):
            provider.fail(OOPS, times=1, cause=somebody(number))
        provider.error = None
        provider.ask()
    for number in range(FAILURES):
        assert circuit.state == State.CLOSED
        provider.fail(OOPS, times=1, cause=somebody(number))
    assert circuit.state == State.OPEN


@pytest.mark.fault("T03")
def test_failures_without_a_number_and_an_address__are_told_apart_by_the_user(provider, circuit):
    for number in range(FAILURES):
        provider.fail(OOPS, times=1, cause=CallOrigin(f"u{number}"))
    assert circuit.state == State.OPEN


@pytest.mark.fault("T03")
@pytest.mark.parametrize("error", [ConnectionFailedError(sent=False), WrongCredentialsError(status=401)], ids=repr)
def test_failure_that_no_number_can_bring_about__counts_for_everybody(provider, circuit, error):
    provider.fail(error, cause=somebody(1))
    assert circuit.state == State.OPEN


@pytest.mark.fault("T03")
def test_half_open__somebody_who_has_failed_before_does_not_open_it_again(provider, circuit):
    for number in range(FAILURES):
        provider.fail(OOPS, times=1, cause=somebody(number))
    pass_open_time(circuit)
    provider.fail(OOPS, times=3, cause=somebody(0))
    assert circuit.state == State.HALF_OPEN, "the next one may try"
    provider.fail(OOPS, times=1, cause=somebody(99))
    assert circuit.state == State.OPEN


@pytest.mark.fault("N05")
def test_time_out_of_somebody_in_a_hurry__opens_nothing_for_those_who_wait_longer(provider, circuit):
    provider.fail(RequestTimeoutError(), times=3 * FAILURES, timeout=2.0)
    assert circuit.state == State.CLOSED
    provider.fail(timeout=2.0)
    assert circuit.state == State.OPEN, "no connection is none, however long one waits"
    pass_open_time(circuit)
    provider.fail(RequestTimeoutError(), times=2, timeout=2.0)
    assert circuit.state == State.HALF_OPEN
    provider.fail(RequestTimeoutError(), times=1, timeout=7.5)
    assert circuit.state == State.OPEN


# --- what a login costs -----------------------------------------------------------------------------------------------


@pytest.fixture
def never(monkeypatch):
    """Nobody may be asked."""

    def refuse(*args, **kwargs):
        raise AssertionError("the provider was asked")

    for operation in ("start", "check", "register", "unregister"):
        monkeypatch.setattr(backends.default, operation, refuse)


def open_circuit() -> None:
    for _ in range(FAILURES):
        Circuit("default").record_failure(ConnectionFailedError(sent=False))


@pytest.mark.threat("R01", "R26")
@pytest.mark.parametrize("kind", CACHES)
def test_open__login_is_answered_at_once_and_lets_nobody_in(alice, browser, settings, never, kind):
    use_cache(settings, kind)
    open_circuit()
    assert give_password(browser)["Location"] == PIN_PAGE
    text = browser.get(PIN_PAGE).content.decode()
    assert "We cannot send or check PINs" in text
    assert "A recovery code works also now" in text
    assert 'data-wait="' in text, "when it makes sense to try again"
    assert "Try again in" in browser.post(RESEND).content.decode()
    assert browser.get("/private/").status_code == 302


def test_open__pin_that_was_sent_is_good_afterwards_and_no_try_is_lost(alice, browser):
    give_password(browser)
    open_circuit()
    text = browser.post(PIN_PAGE, {"pin": sent_pin()}).content.decode()
    assert "We cannot send or check PINs at the moment" in text
    assert "Try again in" in text
    assert Challenge.objects.get().tries == 0
    pass_open_time(Circuit("default"))
    assert browser.post(PIN_PAGE, {"pin": sent_pin()})["Location"] == "/private/"
    assert Circuit("default").state == State.CLOSED


def test_open__new_user_is_left_to_sync_and_it_counts_as_no_attempt(transactional_db, never):
    open_circuit()
    User.objects.create_user("alice", password=PASSWORD, phone_number="+37255500067")
    link = VerigatorUser.objects.get()
    assert (link.state, link.attempts, link.last_error) == ("pending", 0, "circuit_open")


def test_status__shows_the_circuit(db, capsys):
    call_command("verigator_status")
    assert "provider default: LocMemBackend, circuit closed" in capsys.readouterr().out
    open_circuit()
    call_command("verigator_status")
    assert "circuit open for" in capsys.readouterr().out


def test_status__of_an_entry_that_cannot_be_built(db, settings, capsys):
    entry = {"BACKEND": "django_verigator.backends.locmem.LocMemBackend", "OPTIONS": {"no_such": "option"}}
    settings.VERIGATOR = {**settings.VERIGATOR, "BACKENDS": {**settings.VERIGATOR["BACKENDS"], "broken": entry}}
    call_command("verigator_status")
    out = capsys.readouterr().out
    assert "provider default: LocMemBackend, circuit closed" in out
    assert "provider broken: cannot be used" in out


def test_admin__shows_the_circuit(admin_client, settings):
    settings.VERIGATOR = {**settings.VERIGATOR, "REQUIRED": "none"}
    url = "/admin/django_verigator/verigatoruser/"
    assert "Providers: default: in order" in admin_client.get(url).content.decode()
    open_circuit()
    assert "default: does not answer, and is left alone" in admin_client.get(url).content.decode()


# --- the room ---------------------------------------------------------------------------------------------------------


class Crowd:
    """Threads that ask a provider which answers when it is told to."""

    def __init__(self, provider: BaseBackend, settings, most: int) -> None:
        settings.VERIGATOR = {**settings.VERIGATOR, "LIMITS": {"PROVIDER_CALLS_AT_ONCE": most}}
        self.provider = provider
        self.answer = threading.Event()
        self.inside = threading.Semaphore(0)
        self.ended: list[object] = []
        self.threads: list[threading.Thread] = []

    def ask(self) -> None:
        try:
            with protected_call(self.provider):
                self.inside.release()
                self.answer.wait(10)
        except ProviderBusyError as error:
            self.ended.append(error)
        else:
            self.ended.append("answered")
        finally:
            connection.close()

    def send(self, count: int) -> None:
        new = [threading.Thread(target=self.ask) for _ in range(count)]
        for thread in new:
            thread.start()
        self.threads += new

    def join(self) -> None:
        for thread in self.threads:
            thread.join(10)


@pytest.mark.threat("R40")
def test_provider_that_hangs__holds_no_more_threads_than_allowed(provider, settings, monkeypatch):
    monkeypatch.setattr(circuits, "SLOW_SECONDS", 0.2)
    crowd = Crowd(provider, settings, most=2)
    crowd.send(2)
    assert crowd.inside.acquire(timeout=5)
    assert crowd.inside.acquire(timeout=5)
    time.sleep(0.25)
    with in_time(0.5):
        for _ in range(50):
            with pytest.raises(ProviderBusyError) as refused, protected_call(provider):
                raise AssertionError("asked")
    assert not refused.value.sent
    crowd.answer.set()
    crowd.join()
    assert crowd.ended == ["answered"] * 2
    with protected_call(provider):
        pass


def test_quick_calls__wait_for_one_another(provider, settings, monkeypatch):
    monkeypatch.setattr(circuits, "SLOW_SECONDS", 10)  # they are quick, also on a busy machine
    crowd = Crowd(provider, settings, most=2)
    crowd.send(10)
    assert crowd.inside.acquire(timeout=5)
    assert crowd.inside.acquire(timeout=5)
    assert not crowd.inside.acquire(timeout=0.1), "two at a time"
    crowd.answer.set()
    crowd.join()
    assert crowd.ended == ["answered"] * 10


def test_busy__counts_no_send_and_goes_on_to_the_next_backend(alice, browser, settings, monkeypatch):
    path = "django_verigator.backends.locmem.LocMemBackend"
    entries = {"default": {"BACKEND": path}, "next": {"BACKEND": path, "OPTIONS": {"keeps_users": False}}}
    settings.VERIGATOR = {**settings.VERIGATOR, "BACKENDS": entries, "LIMITS": {"PROVIDER_CALLS_AT_ONCE": 1}}
    monkeypatch.setattr(circuits, "SLOW_SECONDS", 0)
    with protected_call(backends.default):
        give_password(browser)
    assert Challenge.objects.get().backend == "next"
    assert browser.post(PIN_PAGE, {"pin": locmem.outbox[-1].pin})["Location"] == "/private/"
