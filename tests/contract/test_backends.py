"""Every backend of this package passes the contract, however it reaches its provider."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from .contract import (
    BackendContract,
    CountingContract,
    LimitsContract,
    NetworkContract,
    OwnPinsContract,
    PatienceContract,
    Setup,
    WireContract,
)
from .setups import ConsoleSetup, LocMemSetup, NumberVerification, Omnichannel, ResponsesSetup, SandboxSetup, Verigator


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


@pytest.mark.parametrize("product", [Verigator, NumberVerification])
class TestOverResponses(BackendContract, LimitsContract, CountingContract, WireContract):
    @pytest.fixture
    def setup(self, product: type[Verigator | NumberVerification]) -> Iterator[Setup]:
        with ExitStack() as stack:
            yield ResponsesSetup(stack, product())


@pytest.mark.parametrize("product", [Verigator, NumberVerification])
class TestOverHttp(BackendContract, LimitsContract, CountingContract, WireContract, NetworkContract):
    @pytest.fixture
    def setup(self, product: type[Verigator | NumberVerification]) -> Iterator[Setup]:
        with ExitStack() as stack:
            yield SandboxSetup(stack, product(), tls=False)


@pytest.mark.parametrize("product", [Verigator, NumberVerification])
class TestOverTls(BackendContract, LimitsContract, CountingContract, WireContract, NetworkContract, PatienceContract):
    @pytest.fixture
    def setup(self, product: type[Verigator | NumberVerification]) -> Iterator[Setup]:
        with ExitStack() as stack:
            yield SandboxSetup(stack, product(), tls=True)


class TestOmnichannelOverResponses(OwnPinsContract, BackendContract, LimitsContract, WireContract):
    @pytest.fixture
    def setup(self) -> Iterator[Setup]:
        with ExitStack() as stack:
            yield ResponsesSetup(stack, Omnichannel())


class TestOmnichannelOverHttp(OwnPinsContract, BackendContract, LimitsContract, WireContract, NetworkContract):
    @pytest.fixture
    def setup(self) -> Iterator[Setup]:
        with ExitStack() as stack:
            yield SandboxSetup(stack, Omnichannel(), tls=False)


class TestOmnichannelOverTls(
    OwnPinsContract, BackendContract, LimitsContract, WireContract, NetworkContract, PatienceContract
):
    @pytest.fixture
    def setup(self) -> Iterator[Setup]:
        with ExitStack() as stack:
            yield SandboxSetup(stack, Omnichannel(), tls=True)
