"""Both sides of many sessions do what they like: say, ping, close, hang up, talk nonsense, in any order.

Whatever they do, each session ends in one record and leaves nothing behind, and what one side heard is the beginning
of what the other said: all of it where it also heard the other's close. A failure names its seed.
"""

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from proxy import Outcome
from tests.support.frames import BINARY, CLOSE, PING, PONG, TEXT, accept, close_frame, frame, handshake, read_frame
from tests.support.gateway import Gateway, gateway, routes
from tests.wire.test_live_relay import LIVE, READS

SEEDS = 3
SESSIONS = 120
AT_ONCE = 40
SETUP = b'{"setup": {"model": "models/gemini-3.8-live"}}'
NONSENSE = (b"\xff\xff\xff", b"\x83\x80", frame(CLOSE, b"x"), frame(PING, b"", fin=False), b"\x81\xff" + b"\xff" * 12)
GONE = (OSError, RuntimeError)  # the latter is uvloop's word for a transport that is closed
SERVER = 'timeouts = { caller_idle = "2s", first_byte = "2s" }\nsizes = { message = "1 MiB" }'


class Side:
    """One end of one session, and what it did."""

    def __init__(self, dice: random.Random, *, masked: bool) -> None:
        self.said: list[bytes] = []
        self.heard: list[bytes] = []
        self.closed_with: int | None = None
        self.close_heard: int | None = None
        self._dice = dice
        self._masked = masked

    async def live(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Until the connection is gone, one way or another."""
        hearing = asyncio.create_task(self._hear(reader, writer))
        try:
            await self._act(writer)
            if self._dice.random() < 0.2:
                hearing.cancel()  # it leaves without a look at what still comes
            await asyncio.wait([hearing])
        except GONE:
            pass  # the gateway was first
        finally:
            hearing.cancel()
            writer.transport.abort()
            await asyncio.gather(hearing, return_exceptions=True)

    async def _act(self, writer: asyncio.StreamWriter) -> None:
        for _ in range(self._dice.randrange(12)):
            match self._dice.randrange(8):
                case 0 | 1 | 2:
                    self._say(writer)
                case 3:
                    writer.write(frame(PING, self._dice.randbytes(self._dice.randrange(126)), masked=self._masked))
                case 4:
                    writer.write(frame(PONG, b"", masked=self._masked))
                case 5:
                    await writer.drain()
                case _:
                    await asyncio.sleep(self._dice.choice((0, 0, 0.001, 0.02)))
        match self._dice.randrange(6):
            case 0 | 1 | 2:
                self.closed_with = self._dice.randrange(4000, 5000)
                writer.write(close_frame(self.closed_with, "bye", masked=self._masked))
            case 3:
                writer.transport.abort()
            case 4:
                writer.write(self._dice.choice(NONSENSE))
            case 5:
                writer.write_eof()  # half a close: the way back stays open

    def _say(self, writer: asyncio.StreamWriter) -> None:
        kind = self._dice.choice((TEXT, BINARY))
        data = b"x" * self._dice.choice((0, 1, 125, 126, 70_000, 300_000)) + str(len(self.said)).encode()
        cut = self._dice.randrange(len(data))
        if cut % 2:
            writer.write(frame(kind, data, masked=self._masked))
        else:
            writer.write(frame(kind, data[:cut], fin=False, masked=self._masked))
            if cut % 4:
                writer.write(frame(PING, b"between", masked=self._masked))
            writer.write(frame(0, data[cut:], masked=self._masked))
        self.said.append(data)

    async def _hear(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, *GONE):
            while self.close_heard is None:
                kind, data = await read_frame(reader)
                if kind in (TEXT, BINARY):
                    self.heard.append(data)
                elif kind == PING and self._dice.random() < 0.8:
                    writer.write(frame(PONG, data, masked=self._masked))
                elif kind == CLOSE:
                    self.close_heard = int.from_bytes(data[:2], "big")
            if self.closed_with is None and self._dice.random() < 0.9:
                writer.write(frame(CLOSE, self.close_heard.to_bytes(2, "big"), masked=self._masked))


class Pair(Side):
    """The endpoint's side of a session, with what it makes of the handshake and of the first message."""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, live: bool) -> None:
        match self._dice.randrange(12):
            case 0:
                writer.write(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno")
                return
            case 1:
                return  # hangs up
            case 2:
                await reader.read()  # never answers
                return
        await accept(reader, writer)
        if live and self._dice.random() < 0.8:
            kind, first = await read_frame(reader)
            if kind == CLOSE:  # there was no first message
                return
            self.heard.append(first)
        await self.live(reader, writer)


@asynccontextmanager
async def endpoint(pairs: dict[int, Pair]) -> AsyncIterator[tuple[str, set[asyncio.Task[None]]]]:
    serving: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        serving.add(task)
        try:
            line = await reader.readuntil(b"\r\n")
            pair = pairs[int(line.split(b"n=")[1].split(b" ")[0])]
            await pair.serve(reader, writer, live=LIVE.encode() in line)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            serving.discard(task)
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield "http://{}:{}".format(*server.sockets[0].getsockname()[:2]), serving
    finally:
        server.close()
        await server.wait_closed()


async def call(weir: Gateway, number: int, dice: random.Random) -> Side:
    side = Side(dice, masked=True)
    path = dice.choice((LIVE, "/v1/anything"))
    reader, writer = await asyncio.open_connection(weir.host, weir.port)
    writer.write(handshake(f"{path}?n={number}"))
    if path == LIVE and dice.random() < 0.9:
        writer.write(frame(TEXT, SETUP, masked=True))
        side.said.append(SETUP)
    try:
        if dice.random() < 0.8:
            head = await reader.readuntil(b"\r\n\r\n")
            if not head.startswith(b"HTTP/1.1 101"):
                writer.transport.abort()
                return side
    except (ConnectionError, asyncio.IncompleteReadError):
        writer.transport.abort()
        return side
    await side.live(reader, writer)
    return side


async def nothing_left(weir: Gateway, serving: set[asyncio.Task[None]], tasks: int) -> None:
    async with asyncio.timeout(60):
        while weir.app.public.in_flight or weir.app.public.connections or serving or len(asyncio.all_tasks()) > tasks:
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("plugins", ['["usage"]', '["usage", "reads"]'], ids=["plain", "intent"])
@pytest.mark.parametrize("seed", range(SEEDS))
async def test_anything_may_happen(seed: int, plugins: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pairs = {number: Pair(random.Random(f"{seed}/endpoint/{number}"), masked=False) for number in range(SESSIONS)}
    turns = asyncio.Semaphore(AT_ONCE)

    async def one(number: int) -> Side:
        async with turns:
            return await call(weir, number, random.Random(f"{seed}/caller/{number}"))

    more = READS.replace(__name__, "tests.wire.test_live_relay")
    async with endpoint(pairs) as (url, serving):
        text = routes(url, plugins=plugins, server=SERVER, more=more)
        async with gateway(tmp_path, text, monkeypatch) as weir:
            tasks = len(asyncio.all_tasks())
            callers = await asyncio.gather(*(one(number) for number in range(SESSIONS)))
            await nothing_left(weir, serving, tasks)
    records = weir.records()
    assert len(records) == SESSIONS
    assert Outcome.LOST not in {record.outcome for record in records}
    assert "INTERNAL" not in {record.reason for record in records}
    assert len({(record.outcome, record.reason) for record in records}) > 5, "not much happened"
    for number, (caller, other) in enumerate(zip(callers, pairs.values(), strict=True)):
        assert caller.heard == other.said[: len(caller.heard)], number
        assert other.heard == caller.said[: len(other.heard)], number
        if caller.close_heard is not None and caller.close_heard == other.closed_with:
            assert caller.heard == other.said, number
        if other.close_heard is not None and other.close_heard == caller.closed_with:
            assert other.heard == caller.said, number
