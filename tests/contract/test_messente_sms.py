"""The gateway of docs/adding-a-backend.md passes the contract, and speaks as messente-python does."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from django.core.checks import run_checks

from django_verigator import checks
from django_verigator.backends import Recipient
from django_verigator.constants import METHOD_SMS
from django_verigator.exceptions import (
    ConnectionFailedError,
    InternalError,
    InvalidDataError,
    ResourceForbiddenError,
    VerigatorError,
    WrongCredentialsError,
)
from django_verigator.flows.providers import another_may_send

from .contract import (
    ALICE,
    BackendContract,
    LimitsContract,
    NetworkContract,
    OwnPinsContract,
    PatienceContract,
    WireContract,
)
from .setups import MessenteSms, ResponsesSetup, SandboxSetup

NAME = "tests.contract.messente_sms.MessenteSmsBackend"


class TestOverResponses(OwnPinsContract, BackendContract, LimitsContract, WireContract):
    @pytest.fixture
    def setup(self) -> Iterator[ResponsesSetup]:
        with ExitStack() as stack:
            yield ResponsesSetup(stack, MessenteSms())


class TestOverHttp(OwnPinsContract, BackendContract, LimitsContract, WireContract, NetworkContract):
    @pytest.fixture
    def setup(self) -> Iterator[SandboxSetup]:
        with ExitStack() as stack:
            yield SandboxSetup(stack, MessenteSms(), tls=False)


class TestOverTls(OwnPinsContract, BackendContract, LimitsContract, WireContract, NetworkContract, PatienceContract):
    @pytest.fixture
    def setup(self) -> Iterator[SandboxSetup]:
        with ExitStack() as stack:
            yield SandboxSetup(stack, MessenteSms(), tls=True)


@pytest.fixture
def setup() -> Iterator[ResponsesSetup]:
    with ExitStack() as stack:
        yield ResponsesSetup(stack, MessenteSms())


# protocol: the codes of messente-python, sms.py. The next provider may send unless the number, or the call, is why.
@pytest.mark.parametrize(
    ("line", "kind", "another"),
    [
        ("ERROR 101", WrongCredentialsError, True),
        ("ERROR 102", InvalidDataError, False),
        ("ERROR 103", ResourceForbiddenError, True),
        ("ERROR 104", InvalidDataError, False),
        ("ERROR 105", InvalidDataError, False),
        ("ERROR 106", ResourceForbiddenError, True),
        ("ERROR 107", ResourceForbiddenError, True),
        ("ERROR 108", InvalidDataError, False),
        ("ERROR 111", ResourceForbiddenError, True),
        ("FAILED 209", InternalError, True),
    ],
)
def test_error__is_one_of_ours(setup: ResponsesSetup, line: str, kind: type[VerigatorError], another: bool) -> None:
    setup.answer(body=line)
    with pytest.raises(VerigatorError) as caught:
        setup.backend.start(Recipient("", ALICE), METHOD_SMS)
    assert type(caught.value) is kind
    assert another_may_send(caught.value) is another
    assert (caught.value.method, caught.value.path, caught.value.__context__) == ("GET", "/send_sms", None)


def test_text__is_sent_once_although_it_is_a_get() -> None:
    with ExitStack() as stack:
        setup = SandboxSetup(stack, MessenteSms(), tls=False)
        setup.cut(fault="reset", when="after", times=1)
        with pytest.raises(ConnectionFailedError) as caught:
            setup.backend.start(Recipient("", ALICE), METHOD_SMS)
        assert (setup.sendings(), setup.calls()) == (1, 1)
        assert setup.backend.check(Recipient(""), setup.last_pin(ALICE), caught.value.reference).verified is True


def test_message_id__is_the_gateway_s(setup: ResponsesSetup) -> None:
    setup.answer(body="OK 01ab-CD")
    started = setup.backend.start(Recipient("", ALICE), METHOD_SMS)
    assert started.message_id == "01ab-CD"
    assert started.reference != started.message_id


def test_settings__name_it_like_any_other(settings: Any) -> None:
    options = {"username": "u", "password": "p", "domain": "shop.example", "pin_length": 6, "connect_timeout": 2}
    settings.VERIGATOR = {"BACKENDS": {"default": {"BACKEND": NAME, "OPTIONS": options}}}
    assert run_checks(tags=[checks.TAG]) == []
    for wrong in ({"username": "u"}, {**options, "pin_lenght": 6}, {**options, "endpoint": "http://sms.example"}):
        settings.VERIGATOR = {"BACKENDS": {"default": {"BACKEND": NAME, "OPTIONS": wrong}}}
        assert [message.id for message in run_checks(tags=[checks.TAG])] == ["verigator.E002"]


def test_code__is_fifteen_lines_at_most() -> None:
    lines = Path(__file__).with_name("messente_sms.py").read_text(encoding="utf-8").splitlines()
    own = lines[lines.index("from django_verigator.client import SecretText, form_text, line_reader") + 1 :]
    assert len([line for line in own if line.strip()]) <= 15
