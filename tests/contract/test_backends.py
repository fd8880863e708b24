"""Every backend of this package passes the contract, however it reaches its provider."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from .contract import BackendContract, LimitsContract, NetworkContract, PatienceContract, Rig, WireContract
from .rigs import ConsoleRig, LocMemRig, NumberVerification, ResponsesRig, SandboxRig, Verigator


class TestLocMem(BackendContract):
    @pytest.fixture
    def rig(self) -> Rig:
        return LocMemRig()


class TestLocMemWithoutUserRecords(BackendContract):
    @pytest.fixture
    def rig(self) -> Rig:
        return LocMemRig(keeps_users=False)


class TestConsole(BackendContract):
    @pytest.fixture
    def rig(self) -> Rig:
        return ConsoleRig()


@pytest.mark.parametrize("product", [Verigator, NumberVerification])
class TestOverResponses(BackendContract, LimitsContract, WireContract):
    @pytest.fixture
    def rig(self, product: type[Verigator | NumberVerification]) -> Iterator[Rig]:
        with ExitStack() as stack:
            yield ResponsesRig(stack, product())


@pytest.mark.parametrize("product", [Verigator, NumberVerification])
class TestOverHttp(BackendContract, LimitsContract, WireContract, NetworkContract):
    @pytest.fixture
    def rig(self, product: type[Verigator | NumberVerification]) -> Iterator[Rig]:
        with ExitStack() as stack:
            yield SandboxRig(stack, product(), tls=False)


@pytest.mark.parametrize("product", [Verigator, NumberVerification])
class TestOverTls(BackendContract, LimitsContract, WireContract, NetworkContract, PatienceContract):
    @pytest.fixture
    def rig(self, product: type[Verigator | NumberVerification]) -> Iterator[Rig]:
        with ExitStack() as stack:
            yield SandboxRig(stack, product(), tls=True)
