"""The Autobahn test suite through the gateway, as caller and as endpoint: 247 cases of the protocol's corners each.

Whatever a bare aiohttp passes must pass with a session's two legs in between. Left out are speed and size, and
compression, which both legs decline.
"""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest
from aiohttp import WSMsgType, web

from proxy import Outcome
from tests.support.gateway import Gateway, gateway, routes
from tests.tools import ROOT, python_with

CASES = 247
AT_ONCE = 32
CONFORMS = frozenset({"OK", "NON-STRICT", "INFORMATIONAL"})
LENIENT = frozenset({"7.9.5"})  # aiohttp takes a close frame of code 1006, which is never sent; we do not

pytestmark = pytest.mark.sdk
Verdicts = dict[str, list[str]]


class Suite:
    """The suite's process, in one of its two roles."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdout is not None
        self._process = process
        self._said = process.stdout

    async def line(self) -> str:
        return (await self._said.readline()).decode().strip()

    async def failed(self) -> set[str]:
        """The cases that failed, once all have been run."""
        verdicts: Verdicts = json.loads(await self._said.read())
        assert len(verdicts) == CASES
        return {case for case, verdict in verdicts.items() if not CONFORMS.issuperset(verdict)}


@asynccontextmanager
async def suite(*arguments: str) -> AsyncIterator[Suite]:
    python, environment = python_with("autobahn")
    process = await asyncio.create_subprocess_exec(
        *(*python, str(ROOT / "tests/sdk/clients/autobahn.py"), *arguments), env=environment, stdout=-1
    )
    try:
        yield Suite(process)
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()


async def echo(socket: web.WebSocketResponse | aiohttp.ClientWebSocketResponse) -> None:
    async for message in socket:
        if message.type is WSMsgType.TEXT:
            await socket.send_str(message.data)
        elif message.type is WSMsgType.BINARY:
            await socket.send_bytes(message.data)


@asynccontextmanager
async def echoing_endpoint() -> AsyncIterator[str]:
    async def handle(request: web.BaseRequest) -> web.StreamResponse:
        socket = web.WebSocketResponse(compress=False, timeout=1)
        await socket.prepare(request)
        await echo(socket)
        return socket

    runner = web.ServerRunner(web.Server(handle, handler_cancellation=True), shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield "http://{}:{}".format(*runner.addresses[0][:2])
    finally:
        await runner.cleanup()


async def echo_every_case(url: str) -> None:
    """What a client under test does: ask how many cases there are, and connect for each."""
    turns = asyncio.Semaphore(AT_ONCE)

    async def one(session: aiohttp.ClientSession, target: str) -> None:
        async with turns, session.ws_connect(url + target) as socket:
            await echo(socket)

    async with aiohttp.ClientSession() as session:
        async with session.ws_connect(url + "/getCaseCount") as socket:
            count = json.loads((await socket.receive()).data)
        await asyncio.gather(*(one(session, f"/runCase?case={case}&agent=weir") for case in range(1, count + 1)))
        await one(session, "/updateReports?agent=weir")


async def quiet(weir: Gateway) -> None:
    async with asyncio.timeout(60):
        while weir.app.public.in_flight or weir.app.public.connections:
            await asyncio.sleep(0.01)


async def test_the_worst_caller(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with echoing_endpoint() as url, gateway(tmp_path, routes(url), monkeypatch) as weir:
        async with suite("caller", url) as direct, suite("caller", weir.url) as through:
            assert await direct.failed() <= LENIENT
            assert await through.failed() == set()
        await quiet(weir)
    records = weir.records()
    assert len(records) == CASES
    assert {record.outcome for record in records} <= {Outcome.COMPLETED, Outcome.CLIENT_GONE, Outcome.UPSTREAM_BROKE}
    assert {record.status for record in records} == {101}
    broke = {record.reason for record in records if record.outcome is Outcome.CLIENT_GONE}
    assert "PROTOCOL_ERROR_1002" in broke


async def test_the_worst_endpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with suite("endpoint") as direct, suite("endpoint") as through:
        url, other = [f"http://127.0.0.1:{await each.line()}" for each in (direct, through)]
        async with gateway(tmp_path, routes(other), monkeypatch) as weir:
            await asyncio.gather(echo_every_case(url), echo_every_case(weir.url))
            await quiet(weir)
        assert await direct.failed() <= LENIENT
        assert await through.failed() == set()
    records = weir.records()
    assert len(records) == CASES + 2
    assert {record.status for record in records} == {101}
    broke = {record.reason for record in records if record.outcome is Outcome.UPSTREAM_BROKE}
    assert "PROTOCOL_ERROR_1002" in broke
