"""The login of a site whose provider lies, over TLS: no answer lets anybody in, and none is a 500."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from http import HTTPStatus
from typing import Any

import pytest
from django.contrib.auth import SESSION_KEY
from django.test import Client

from django_verigator.backends import backends
from django_verigator.models import Challenge, Counter, VerigatorUser
from tests.conftest import PASSWORD, PHONE, WRONG_PIN, give_password
from tests.deadlines import in_time
from tests.site.models import User

from .contract import BREAKS, STALLS
from .setups import NumberVerification, Omnichannel, SandboxSetup, TwilioVerify, Verigator

PIN_PAGE = "/accounts/verify/"
CERTIFICATES = ["selfsigned.pem", "wronghost.pem", "expired.pem"]
ERRORS: dict[str, dict[str, Any]] = {
    f"status {status}": {"status": status, "body": '{"verified": true} VERIFIED'}
    for status in (301, 307, 400, 401, 403, 404, 409, 422, 429, 500, 502, 503, 504)
}


checked_by_the_provider = pytest.mark.parametrize("setup", [Verigator, NumberVerification, TwilioVerify], indirect=True)


@pytest.fixture(params=[Verigator, NumberVerification, TwilioVerify, Omnichannel])
def setup(request: pytest.FixtureRequest, settings: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[SandboxSetup]:
    with ExitStack() as stack:
        setup = SandboxSetup(stack, request.param(), tls=True)
        monkeypatch.setitem(backends._built, "default", setup.backend)
        yield setup


@pytest.fixture
def alice(setup: SandboxSetup, alice: User) -> User:
    """Registered at this provider."""
    return alice


@pytest.fixture
def db(setup: SandboxSetup, db: None) -> None:
    """The provider is there before the first user is."""


def start_over() -> Client:
    """A browser that nobody holds anything against."""
    Challenge.objects.all().delete()
    Counter.objects.all().delete()
    VerigatorUser.objects.update(consecutive_failures=0, locked_until=None, last_pin="")
    return Client()


class Watch:
    """No request of ours may outlive the provider's total and the grace."""

    def __init__(self, setup: SandboxSetup) -> None:
        self.most = setup.backend.total_timeout

    def post(self, browser: Client, url: str, data: dict[str, str]) -> Any:
        with in_time(self.most):
            response = browser.post(url, data)
        assert response.status_code in (HTTPStatus.OK, HTTPStatus.FOUND)
        return response


def test_control__an_honest_answer_lets_in(setup: SandboxSetup, alice: User) -> None:
    browser = Client()
    assert give_password(browser)["Location"] == PIN_PAGE
    assert browser.post(PIN_PAGE, {"pin": setup.last_pin(PHONE)})["Location"] == "/private/"
    assert browser.session[SESSION_KEY] == str(alice.pk)


@checked_by_the_provider
@pytest.mark.threat("M01", "M02", "M03", "M04", "M09", "M10")
def test_lie_about_a_pin__lets_nobody_in(setup: SandboxSetup, alice: User) -> None:
    watch, logins = Watch(setup), 0
    for name, answer in {**setup.strange_checks, **ERRORS}.items():
        browser = start_over()
        setup.answer()
        setup.wait(setup.life + 1)  # Twilio Verify sends one code five times at most.
        assert give_password(browser)["Location"] == PIN_PAGE, name
        pin = setup.last_pin(PHONE)
        setup.answer(**answer)
        before = setup.calls()
        watch.post(browser, PIN_PAGE, {"pin": pin})
        assert setup.calls() == before + 1, name
        logins += SESSION_KEY in browser.session
    assert logins == 0


@pytest.mark.threat("M01", "M02", "M03", "M04")
def test_strange_answer_to_a_start__lets_nobody_in(setup: SandboxSetup, alice: User) -> None:
    watch, logins = Watch(setup), 0
    for answer in {**setup.strange_starts, **ERRORS}.values():
        browser = start_over()
        setup.answer(**answer)
        watch.post(browser, "/accounts/login/", {"username": "alice", "password": PASSWORD})
        watch.post(browser, PIN_PAGE, {"pin": WRONG_PIN})
        assert browser.get(PIN_PAGE).status_code in (HTTPStatus.OK, HTTPStatus.FOUND)
        logins += SESSION_KEY in browser.session
    assert logins == 0


@pytest.mark.threat("M08")
@pytest.mark.parametrize("certificate", CERTIFICATES)
def test_bad_certificate__lets_nobody_in_and_sees_nothing(
    setup: SandboxSetup, alice: User, monkeypatch: pytest.MonkeyPatch, certificate: str
) -> None:
    with ExitStack() as stack:
        bad = SandboxSetup(stack, type(setup.product)(), tls=True, certificate=certificate)
        monkeypatch.setitem(backends._built, "default", bad.backend)
        browser = Client()
        watch = Watch(bad)
        watch.post(browser, "/accounts/login/", {"username": "alice", "password": PASSWORD})
        watch.post(browser, PIN_PAGE, {"pin": WRONG_PIN})
        assert SESSION_KEY not in browser.session
        assert bad.calls() == 0


@checked_by_the_provider
@pytest.mark.threat("R04", "R05", "M06", "M07")
@pytest.mark.parametrize("fault", ["headers that drip", "compressed"])
def test_provider_that_stalls__costs_its_deadline_at_most(
    setup: SandboxSetup, alice: User, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    browser = Client()
    give_password(browser)
    pin = setup.last_pin(PHONE)
    setup.hurry()
    monkeypatch.setitem(backends._built, "default", setup.backend)
    setup.cut(**{**BREAKS, **STALLS}[fault][0])
    watch = Watch(setup)
    watch.post(browser, PIN_PAGE, {"pin": pin})
    watch.post(start_over(), "/accounts/login/", {"username": "alice", "password": PASSWORD})
    assert SESSION_KEY not in browser.session
