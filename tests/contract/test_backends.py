"""Every backend of this package passes the contract, however it reaches its provider."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from .contract import (
    BackendContract,
    ExpiryContract,
    LimitsContract,
    NetworkContract,
    OwnPinsContract,
    PatienceContract,
    Setup,
    WireContract,
)
from .setups import (
    ConsoleSetup,
    LocMemSetup,
    NumberVerification,
    Omnichannel,
    ResponsesSetup,
    SandboxSetup,
    TwilioVerify,
    Verigator,
)


class TestLocMem(BackendContract):
    @pytest.fixture
    def setup(self) -> Setup:
        return LocMemSetup()


class TestLocMemWithoutUserRecords(BackendContract):
    @pytest.fixture
    def setup(self) -> Setup:
        return LocMemSetup(keeps_users=False)


class TestConsole(BackendContract):
    @pytest.fixture
    def setup(self) -> Setup:
        return ConsoleSetup()


@pytest.mark.parametrize("product", [Verigator, NumberVerification, TwilioVerify])
class TestOverResponses(BackendContract, LimitsContract, WireContract):
    @pytest.fixture
    def setup(self, product: type[Verigator | NumberVerification | TwilioVerify]) -> Iterator[Setup]:
        with ExitStack() as stack:
            yield ResponsesSetup(stack, product())


@pytest.mark.parametrize("product", [Verigator, NumberVerification, TwilioVerify])
class TestOverHttp(BackendContract, LimitsContract, WireContract, NetworkContract):
    @pytest.fixture
    def setup(self, product: type[Verigator | NumberVerification | TwilioVerify]) -> Iterator[Setup]:
        with ExitStack() as stack:
            yield SandboxSetup(stack, product(), tls=False)


@pytest.mark.parametrize("product", [Verigator, NumberVerification, TwilioVerify])
class TestOverTls(BackendContract, LimitsContract, WireContract, NetworkContract, PatienceContract):
    @pytest.fixture
    def setup(self, product: type[Verigator | NumberVerification | TwilioVerify]) -> Iterator[Setup]:
        with ExitStack() as stack:
            yield SandboxSetup(stack, product(), tls=True)


class TestOmnichannelOverResponses(BackendContract, ExpiryContract, OwnPinsContract):
    @pytest.fixture
    def setup(self) -> Iterator[Setup]:
        with ExitStack() as stack:
            yield ResponsesSetup(stack, Omnichannel())


class TestOmnichannelOverHttp(BackendContract, ExpiryContract, OwnPinsContract, NetworkContract):
    @pytest.fixture
    def setup(self) -> Iterator[Setup]:
        with ExitStack() as stack:
            yield SandboxSetup(stack, Omnichannel(), tls=False)


class TestOmnichannelOverTls(BackendContract, ExpiryContract, OwnPinsContract, NetworkContract, PatienceContract):
    @pytest.fixture
    def setup(self) -> Iterator[Setup]:
        with ExitStack() as stack:
            yield SandboxSetup(stack, Omnichannel(), tls=True)
