"""What every backend has to pass: one suite, whatever the provider and however it is reached.

``BackendContract`` is for all of them; ``ExpiryContract`` for those whose codes expire, ``LimitsContract`` for those
whose provider counts tries too; ``WireContract`` for those that ask a provider over HTTP, ``OwnPinsContract`` in its
place for those that check PINs themselves; ``NetworkContract`` and ``PatienceContract`` where a real network lies in
between. A subclass brings a fixture ``setup``: a backend together with a provider to look into.
"""

from __future__ import annotations

import copy
import pickle
import threading
from abc import ABC, abstractmethod
from contextlib import suppress
from typing import Any, ClassVar

import pytest

from django_verigator.backends import BaseBackend, Checked, Recipient, RemoteUser, Started
from django_verigator.constants import METHOD_CALL, METHOD_SMS, METHOD_TOTP, METHOD_WHATSAPP
from django_verigator.exceptions import (
    ConnectionFailedError,
    InternalError,
    InvalidResponseError,
    NoSuchResourceError,
    RequestTimeoutError,
    ResourceAlreadyExistsError,
    VerigatorError,
)
from tests.deadlines import in_time

ALICE, BOB = "+37255500067", "+37255500068"
CANARIES = ("canary-user", "canary-password")
PIN = "2718281828"  # too long to be in an id by chance


class Setup(ABC):
    """A backend, with CANARIES as its credentials, and its provider."""

    backend: BaseBackend

    @abstractmethod
    def last_pin(self, to: str) -> str:
        """The PIN in the newest message to this number."""

    @abstractmethod
    def sendings(self) -> int:
        """How many messages went out in all."""


class LimitsSetup(Setup):
    """Attributes:
    life: seconds for which a code is good.
    forgets: what has expired is gone, so that there is no verdict on it.
    """

    tries: ClassVar[int] = 5
    life: ClassVar[int] = 300
    forgets: ClassVar[bool] = False

    @abstractmethod
    def wait(self, seconds: float) -> None:
        """Let so much time pass at the provider."""


class WireSetup(Setup):
    """Attributes:
    strange_starts, strange_checks: answers that the provider never gives, as keyword arguments of ``answer``; the
        latter are no verdict, or contradict themselves.
    reference: of a code that was started in better days, in the provider's form.
    """

    reference: ClassVar[str] = "reference"

    strange_starts: ClassVar[dict[str, dict[str, Any]]] = {}
    strange_checks: ClassVar[dict[str, dict[str, Any]]] = {}

    @abstractmethod
    def answer(self, **answer: Any) -> None:
        """Have the provider do nothing and say this to every call: ``status``, ``body``, ``headers``."""

    @abstractmethod
    def calls(self) -> int:
        """How many calls have come to the provider."""


class NetworkSetup(WireSetup):
    @abstractmethod
    def hurry(self) -> None:
        """Build the backend anew, with a total time-out of a second."""

    @abstractmethod
    def cut(self, **fault: Any) -> None:
        """Have the network do this to every call: a fault of the sandbox."""

    @abstractmethod
    def vanish(self) -> None:
        """Have nobody listen any more."""


def wrong(pin: str) -> str:
    """Another PIN of the same length."""
    return pin[:-1] + str((int(pin[-1]) + 1) % 10)


def recipient(backend: BaseBackend, phone_number: str = ALICE, name: str = "alice") -> Recipient:
    """As the flows name a user: registered first where the provider keeps records."""
    return Recipient(backend.register(phone_number, name) if backend.keeps_users else "", phone_number)


def is_refused(setup: Setup, to: Recipient, pin: str, reference: str) -> bool:
    """Whether this is no proof: the verdict says no, or there is none to be had."""
    try:
        verdict = setup.backend.check(to, pin, reference)
    except NoSuchResourceError:
        return True
    assert isinstance(verdict, Checked)
    assert isinstance(verdict.verified, bool)
    return not verdict.verified


class BackendContract:
    def test_start__sends_one_code_and_says_how(self, setup: Setup) -> None:
        to = recipient(setup.backend)
        started = setup.backend.start(to, METHOD_SMS, timeout=5)
        assert isinstance(started, Started)
        assert started.method == METHOD_SMS
        assert isinstance(started.reference, str)
        assert len(started.reference) <= 255
        assert setup.sendings() == 1
        assert setup.last_pin(ALICE).isdigit()

    def test_start__by_a_method_the_user_has_not_got_sends_a_text_and_says_so(self, setup: Setup) -> None:
        assert set(setup.backend.methods) <= {METHOD_SMS, METHOD_TOTP, METHOD_CALL, METHOD_WHATSAPP}
        assert METHOD_SMS in setup.backend.methods
        assert setup.backend.start(recipient(setup.backend), METHOD_TOTP).method == METHOD_SMS
        assert setup.sendings() == 1

    def test_check__right_pin_is_right_once(self, setup: Setup) -> None:
        """Where the provider checks it; else that is for the flows."""
        to = recipient(setup.backend)
        started = setup.backend.start(to, METHOD_SMS)
        pin = setup.last_pin(ALICE)
        verdict = setup.backend.check(to, pin, started.reference, timeout=5)
        assert verdict.verified is True
        assert (verdict.expired, verdict.throttled) == (False, False)
        assert verdict.method in ("", METHOD_SMS)
        # Where nobody is asked, the flows alone see to it that a PIN is used once.
        assert setup.backend.checks_pins_itself or is_refused(setup, to, pin, started.reference)

    def test_check__needs_no_phone_number(self, setup: Setup) -> None:
        """The flows do not know it any more when the PIN comes: the phone may have changed meanwhile."""
        to = recipient(setup.backend)
        started = setup.backend.start(to, METHOD_SMS)
        assert setup.backend.check(Recipient(to.user_id), setup.last_pin(ALICE), started.reference).verified is True

    @pytest.mark.parametrize("pin", ["wrong", "00000000", "0", "x", "１２３４", "' OR 1=1", "%00", "a" * 300, "-1"])
    def test_check__wrong_pin_is_wrong_and_the_right_one_still_right(self, setup: Setup, pin: str) -> None:
        to = recipient(setup.backend)
        started = setup.backend.start(to, METHOD_SMS)
        right = setup.last_pin(ALICE)
        try:
            assert is_refused(setup, to, wrong(right) if pin == "wrong" else pin, started.reference)
        except VerigatorError:  # what is no PIN at all may be refused as such
            assert pin != "wrong"
        assert setup.backend.check(to, right, started.reference).verified is True

    def test_check__pin_of_another_user_is_wrong(self, setup: Setup) -> None:
        alice = recipient(setup.backend)
        reference = setup.backend.start(alice, METHOD_SMS).reference
        # Somebody else each time, since a second start may send the same PIN again.
        for number in (BOB, *(f"{BOB[:-1]}{digit}" for digit in range(7))):
            bob = recipient(setup.backend, number, f"bob{number[-1]}")
            other = setup.backend.start(bob, METHOD_SMS).reference
            if setup.last_pin(number) != setup.last_pin(ALICE):
                break
        assert is_refused(setup, alice, setup.last_pin(number), reference)
        assert setup.backend.check(bob, setup.last_pin(number), other).verified is True

    def test_check__what_was_never_started_is_refused(self, setup: Setup) -> None:
        to = recipient(setup.backend)
        assert is_refused(setup, to, "1234", "")
        assert is_refused(setup, to, "1234", "no-such-reference")
        assert setup.sendings() == 0

    def test_start__again_makes_a_pin_that_counts(self, setup: Setup) -> None:
        to = recipient(setup.backend)
        setup.backend.start(to, METHOD_SMS)
        started = setup.backend.start(to, METHOD_SMS)
        assert setup.sendings() == 2
        assert setup.backend.check(to, setup.last_pin(ALICE), started.reference).verified is True

    def test_records__live_from_register_to_unregister(self, setup: Setup) -> None:
        backend = setup.backend
        if not backend.keeps_users:
            for call in (lambda: backend.register(ALICE, "alice"), lambda: backend.unregister("x")):
                with pytest.raises(NotImplementedError):
                    call()
            return
        user_id = backend.register(ALICE, "alice", timeout=5)
        assert 0 < len(user_id) <= 128
        with pytest.raises(ResourceAlreadyExistsError):
            backend.register(BOB, "alice")
        assert backend.register(ALICE, "alice-2") != user_id
        assert backend.exists(user_id, timeout=5) is True
        assert RemoteUser(user_id, "alice") in list(backend.users())
        for _ in range(2):
            backend.unregister(user_id, timeout=5)
        assert backend.exists(user_id) is False
        assert [user.id_in_service for user in backend.users()] == ["alice-2"]
        with pytest.raises(NoSuchResourceError):
            backend.start(Recipient(user_id, ALICE), METHOD_SMS)

    @pytest.mark.threat("F09")
    def test_backend__shows_and_carries_no_credential(self, setup: Setup) -> None:
        to = recipient(setup.backend)
        started = setup.backend.start(to, METHOD_SMS)
        shown = f"{setup.backend!r}{setup.backend!s}{to!r}{started!r}".replace(started.reference, "")
        assert [secret for secret in (*CANARIES, ALICE, setup.last_pin(ALICE)) if secret in shown] == []
        for carry in (pickle.dumps, copy.copy, copy.deepcopy):
            with pytest.raises(TypeError):
                carry(setup.backend)

    def test_threads__share_it(self, setup: Setup) -> None:
        users = [(recipient(setup.backend, f"+3725550{n:04}", f"user-{n}"), f"+3725550{n:04}") for n in range(8)]
        verdicts: list[bool] = []
        errors: list[BaseException] = []

        def log_in(to: Recipient, number: str) -> None:
            try:
                for _ in range(3):
                    reference = setup.backend.start(to, METHOD_SMS, timeout=5).reference
                    pin = setup.last_pin(number)
                    verdicts.append(setup.backend.check(to, wrong(pin), reference, timeout=5).verified)
                    verdicts.append(setup.backend.check(to, pin, reference, timeout=5).verified)
            except BaseException as error:  # noqa: BLE001 - told by the assertion
                errors.append(error)

        threads = [threading.Thread(target=log_in, args=user) for user in users]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert errors == []
        assert sorted(verdicts) == [False] * 24 + [True] * 24

    def test_checks__are_messages_and_empty_here(self, setup: Setup) -> None:
        assert setup.backend.system_checks() == []
        assert isinstance(setup.backend.alias, str)
        assert setup.backend.total_timeout > 0
        assert isinstance(setup.backend.is_stand_in, bool)


class ExpiryContract:
    """For codes that expire."""

    def test_check__code_that_expired(self, setup: LimitsSetup) -> None:
        to = recipient(setup.backend)
        started = setup.backend.start(to, METHOD_SMS)
        pin = setup.last_pin(ALICE)
        setup.wait(setup.life + 1)
        if setup.forgets:
            with pytest.raises(NoSuchResourceError):
                setup.backend.check(to, pin, started.reference)
            return
        verdict = setup.backend.check(to, pin, started.reference)
        assert verdict == Checked(False, expired=True, method=verdict.method)
        assert verdict.method in ("", METHOD_SMS)


class LimitsContract(ExpiryContract):
    """For providers whose codes expire, and who count wrong tries."""

    def test_check__too_many_tries(self, setup: LimitsSetup) -> None:
        to = recipient(setup.backend)
        started = setup.backend.start(to, METHOD_SMS)
        pin = setup.last_pin(ALICE)
        verdicts = [setup.backend.check(to, wrong(pin), started.reference) for _ in range(setup.tries)]
        method = verdicts[0].method
        assert method in ("", METHOD_SMS)
        assert verdicts == [Checked(False, method=method)] * setup.tries
        assert setup.backend.check(to, pin, started.reference) == Checked(False, throttled=True, method=method)


def failure(setup: WireSetup, call: str, *, calls: int = 1) -> VerigatorError:
    """What "start" or "check" ends in: in time, after so many calls to the provider at most, and without a secret."""
    to = recipient_of_before(setup)
    before = setup.calls()
    with in_time(setup.backend.total_timeout), pytest.raises(VerigatorError) as caught:
        if call == "start":
            setup.backend.start(to, METHOD_SMS)
        else:
            setup.backend.check(to, PIN, setup.reference)
    assert setup.calls() - before <= calls
    error = caught.value
    assert error.__context__ is None
    shown = f"{error!s}{error!r}{error.__dict__}"
    assert [secret for secret in (*CANARIES, ALICE, PIN, "canary") if secret in shown] == []
    return error


class EachCall:
    """Tries a test with each of the calls that ask the provider."""

    calls: ClassVar[tuple[str, ...]] = ("start", "check")

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        if "call" in metafunc.fixturenames:
            metafunc.parametrize("call", self.calls)


class SendingContract(EachCall):
    """Every failure is a VerigatorError that says whether the provider may have seen the call."""

    calls = ("start",)

    @pytest.mark.threat("M03", "M04")
    @pytest.mark.parametrize("status", [301, 302, 307, 400, 401, 403, 404, 405, 409, 418, 422, 429, 500, 502, 503, 504])
    def test_status__that_is_no_success(self, setup: WireSetup, call: str, status: int) -> None:
        headers = {"Location": "https://evil.example/"} if status < 400 else {}
        setup.answer(status=status, body=b'canary {"verified": true} VERIFIED', headers=headers)
        # After a 404 a backend may ask whether what the record belongs to is there; that is no second start.
        error = failure(setup, call, calls=2 if status == 404 else 1)
        assert error.sent is True
        assert error.status == status

    @pytest.mark.threat("R10", "M11")
    @pytest.mark.parametrize(("text", "wait"), [("17", 17), ("315360000", 3600), ("abc", None)])
    def test_wait__is_taken_over_and_bounded(self, setup: WireSetup, call: str, text: str, wait: int | None) -> None:
        setup.answer(status=429, headers={"Retry-After": text})
        assert failure(setup, call).retry_after == wait

    @pytest.mark.threat("M01", "M02")
    def test_strange_answer_to_a_start__is_an_invalid_one(self, setup: WireSetup) -> None:
        to = recipient_of_before(setup)
        assert len(setup.strange_starts) > 15
        for name, answer in setup.strange_starts.items():
            setup.answer(**answer)
            with pytest.raises(InvalidResponseError) as caught:
                setup.backend.start(to, METHOD_SMS)
            assert caught.value.sent is True, name

    def test_provider_that_is_back__is_used_again(self, setup: WireSetup) -> None:
        setup.answer(status=503)
        assert isinstance(failure(setup, "start"), InternalError)
        setup.answer()
        to = recipient(setup.backend)
        started = setup.backend.start(to, METHOD_SMS)
        assert setup.backend.check(to, setup.last_pin(ALICE), started.reference).verified is True


class OwnPinsContract(SendingContract):
    """And a check asks nobody."""

    def test_check__works_while_the_provider_does_not(self, setup: WireSetup) -> None:
        assert setup.backend.checks_pins_itself
        to = recipient(setup.backend)
        started = setup.backend.start(to, METHOD_SMS)
        pin, calls = setup.last_pin(ALICE), setup.calls()
        setup.answer(status=500)
        assert setup.backend.check(to, wrong(pin), started.reference) == Checked(False)
        assert setup.backend.check(to, pin, started.reference) == Checked(True)
        assert setup.calls() == calls


class WireContract(SendingContract):
    """And nothing but an explicit yes is one."""

    calls = ("start", "check")

    @pytest.mark.threat("M01", "M02", "M09", "M10")
    def test_strange_answer_to_a_check__is_never_a_yes(self, setup: WireSetup) -> None:
        to = recipient_of_before(setup)
        assert len(setup.strange_checks) > 20
        for name, answer in setup.strange_checks.items():
            setup.answer(**answer)
            verdicts: list[bool] = []
            with suppress(VerigatorError):
                verdicts.append(setup.backend.check(to, PIN, setup.reference).verified)
            assert verdicts in ([], [False]), name


Faults = dict[str, tuple[dict[str, Any], Any]]
STALLS: Faults = {
    "silence": ({"fault": "hang"}, RequestTimeoutError),
    "silence in the middle": ({"fault": "hang", "after_bytes": 20}, RequestTimeoutError),
    "headers that drip": ({"fault": "drip", "status": 200, "seconds": 0.05, "part": "all"}, RequestTimeoutError),
    "a body that drips": ({"fault": "drip", "status": 200, "seconds": 0.05, "body": " " * 900}, RequestTimeoutError),
    "late": ({"fault": "latency", "seconds": 3}, RequestTimeoutError),
}
BREAKS: Faults = {
    "closed": ({"fault": "close"}, ConnectionFailedError),
    "reset": ({"fault": "reset"}, ConnectionFailedError),
    "cut short": ({"fault": "body", "status": 200, "body": "x", "content_length": 99}, ConnectionFailedError),
    # However fast the machine is: cut at the cap, or at the end of the time.
    "endless": ({"fault": "body", "status": 200, "endless": True}, (InvalidResponseError, RequestTimeoutError)),
    "too long": ({"fault": "body", "status": 200, "size": 1 << 20}, InvalidResponseError),
    "compressed": ({"fault": "body", "status": 200, "size": 1 << 20, "gzip": True}, InvalidResponseError),
}


def failure_after_sending(setup: NetworkSetup, call: str, fault: dict[str, Any], kind: Any) -> None:
    setup.cut(**fault)
    error = failure(setup, call)
    assert isinstance(error, kind)
    assert error.sent is True


class NetworkContract(EachCall):
    @pytest.mark.threat("R06", "R07", "M06")
    @pytest.mark.parametrize("name", BREAKS)
    def test_network_that_breaks_after_sending(self, setup: NetworkSetup, call: str, name: str) -> None:
        failure_after_sending(setup, call, *BREAKS[name])

    @pytest.mark.threat("R01")
    def test_nobody_listens(self, setup: NetworkSetup, call: str) -> None:
        to = recipient_of_before(setup)
        setup.vanish()
        with pytest.raises(ConnectionFailedError) as caught:
            if call == "start":
                setup.backend.start(to, METHOD_SMS)
            else:
                setup.backend.check(to, PIN, setup.reference)
        assert caught.value.sent is False


class PatienceContract(EachCall):
    """The slow ones, each of which takes as long as the time-outs."""

    @pytest.mark.threat("R04", "R05", "M07")
    @pytest.mark.parametrize("name", STALLS)
    def test_network_that_stalls_after_sending(self, setup: NetworkSetup, call: str, name: str) -> None:
        setup.hurry()
        failure_after_sending(setup, call, *STALLS[name])


def recipient_of_before(setup: Setup) -> Recipient:
    """Somebody who was registered in better days."""
    return Recipient("8d0c9c2e-0000-4000-8000-000000000001" if setup.backend.keeps_users else "", ALICE)
