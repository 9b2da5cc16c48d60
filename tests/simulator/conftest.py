"""A simulator on a loopback port and a client that decompresses nothing and follows nothing."""

from collections.abc import AsyncIterator

import aiohttp
import pytest

from proxy.simulator import Simulator
from tests.simulator.calling import Caller


@pytest.fixture
async def simulator() -> AsyncIterator[Simulator]:
    simulator = Simulator()
    await simulator.start()
    yield simulator
    await simulator.stop()


@pytest.fixture
async def caller(simulator: Simulator) -> AsyncIterator[Caller]:
    async with aiohttp.ClientSession(auto_decompress=False, read_bufsize=1 << 20) as session:
        yield Caller(session, simulator)
