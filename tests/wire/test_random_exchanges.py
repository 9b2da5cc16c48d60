"""Callers and endpoints of many exchanges do what they like: cut, stall, answer early, twice or nonsense, hang up.

Whatever they do, each exchange ends in one record and leaves nothing behind; what one side got is the beginning of what
the other sent in this very exchange, and all of it where it ends as it said it would. A failure names its seed.
"""

import asyncio
import contextlib
import random
import re
import socket
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import uvloop

from proxy import Outcome
from tests.support.gateway import Gateway, gateway, routes

SEEDS = 2
CONNECTIONS = 100
AT_ONCE = 30
SIZES = (0, 1, 300, 5_000, 70_000, 400_000)
GONE = (OSError, RuntimeError)  # the latter is uvloop's word for a transport that is closed
SERVER = 'timeouts = { caller_idle = "2s", first_byte = "1s", upstream_idle = "1s", drain = "1s" }'
RETRYABLE = (429, 503)
STRAY = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nstray"
NONSENSE = (STRAY, b"HTTP/1.1 200 OK\r\nX: ", b"\0\r\n", b"zz\r\n\r\n", b"HTTP/1.1 100 Continue\r\n\r\n")
LOOPS = {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}


class Got:
    """A message as it came: how far, and whether to the end that its framing announces."""

    def __init__(self) -> None:
        self.head = b""
        self.body = bytearray()
        self.whole = False

    @property
    def number(self) -> int:
        return int(self.head.split(b"/n/")[1].split(b" ")[0])

    @property
    def status(self) -> int:
        return int(self.head.split(b" ")[1])

    async def read(self, reader: asyncio.StreamReader, *, of: str = "", pause: Callable[[], Any] | None = None) -> None:
        """Raises IncompleteReadError where it breaks off, and OSError."""
        await self.read_head(reader)
        await self.read_body(reader, of=of, pause=pause)

    async def read_head(self, reader: asyncio.StreamReader) -> None:
        self.head = await reader.readuntil(b"\r\n\r\n")
        while self.head.startswith(b"HTTP/1.1 100 "):
            self.head = await reader.readuntil(b"\r\n\r\n")

    async def read_body(
        self, reader: asyncio.StreamReader, *, of: str = "", pause: Callable[[], Any] | None = None
    ) -> None:
        lower = self.head.lower()
        if of == "HEAD" or lower.startswith(b"http/1.1 204"):
            pass
        elif b"\r\ntransfer-encoding: chunked" in lower:
            while size := int(await reader.readuntil(b"\r\n"), 16):
                await self._take(reader, size, pause)
                await reader.readexactly(2)
            await reader.readexactly(2)
        elif b"\r\ncontent-length: " in lower:
            await self._take(reader, int(lower.split(b"\r\ncontent-length: ")[1].split(b"\r\n")[0]), pause)
        elif of:
            while piece := await reader.read(10_000):
                self.body += piece
        self.whole = True

    async def _take(self, reader: asyncio.StreamReader, size: int, pause: Callable[[], Any] | None) -> None:
        while size:
            if pause is not None:
                await pause()
            piece = await reader.read(min(size, 10_000))
            if not piece:
                raise asyncio.IncompleteReadError(b"", size)
            self.body += piece
            size -= len(piece)


class Dice(random.Random):
    """What one side does next."""

    def data(self, number: int, side: str) -> bytes:
        word = f"{side}{number}."
        return (word * (self.choice(SIZES) // len(word) + 1)).encode()[: self.choice(SIZES)]

    async def pause(self) -> None:
        if self.random() < 0.1:
            await asyncio.sleep(self.choice((0, 0, 0.001, 0.01)))

    def framed(self, body: bytes) -> tuple[str, bytes]:
        """A header line and the body's bytes on the wire."""
        if self.random() < 0.5:
            return f"Content-Length: {len(body)}\r\n", body
        wire, at = b"", 0
        while at < len(body):
            size = min(self.choice((1, 100, 9_000, 300_000)) if at else self.choice((1, 60_000)), len(body) - at)
            size = max(size, len(body) // 20)
            piece = body[at : at + size]
            wire += b"%x\r\n%b\r\n" % (len(piece), piece)
            at += size
        return "Transfer-Encoding: chunked\r\n", wire + b"0\r\n\r\n"

    async def send(self, writer: asyncio.StreamWriter, data: bytes) -> None:
        """In segments."""
        at = 0
        while at < len(data):
            size = self.choice((1, 7, 1_000, 50_000, len(data)))
            writer.write(data[at : at + size])
            at += size
            if self.random() < 0.5:
                await writer.drain()
            await self.pause()


class Endpoint:
    """Answers requests as its dice want. What it got and said, by the exchange's number."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.got: dict[int, list[Got]] = {}
        self.said: dict[int, list[tuple[int, bytes, bool]]] = {}  # status, body, with nonsense in it
        self.serving: set[asyncio.Task[None]] = set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self.serving.add(task)
        try:
            with contextlib.suppress(asyncio.IncompleteReadError, *GONE):
                while await self._exchange(reader, writer):
                    pass
        finally:
            self.serving.discard(task)
            writer.close()

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        got = Got()
        await got.read_head(reader)
        tries = self.got.setdefault(got.number, [])
        tries.append(got)
        dice = Dice(f"{self.seed}/endpoint/{got.number}/{len(tries)}")
        act = dice.randrange(20)
        if act == 0:
            return False  # it hangs up
        if act == 1:
            reset(writer)
            return False
        early = asyncio.create_task(self._answer(got.number, dice, writer, act)) if act < 6 else None
        try:
            await got.read_body(reader)
            if early is None and act == 19:
                await reader.read()  # never answers
                return False
            return await (early or self._answer(got.number, dice, writer, act))
        finally:
            if early is not None:
                await asyncio.wait([early])
                early.exception()

    async def _answer(self, number: int, dice: Dice, writer: asyncio.StreamWriter, act: int) -> bool:
        status = dice.choice((200, 200, 200, 200, 404, *RETRYABLE, 204))
        body = b"" if status == 204 else dice.data(number, "down")
        line, wire = dice.framed(body)
        until_close = status != 204 and dice.random() < 0.1
        if until_close:
            line, wire = "", body
        head = f"HTTP/1.1 {status} Said\r\n{'' if status == 204 else line}\r\n".encode()
        wire = head + (b"" if status == 204 else wire)
        entry = (status, body, act == 8)
        self.said.setdefault(number, []).append(entry)
        match act:
            case 7:  # cut, at any byte
                await dice.send(writer, wire[: dice.randrange(len(wire))])
                if dice.random() < 0.5 or until_close:
                    reset(writer)
                return False
            case 8:
                await dice.send(writer, wire[: dice.randrange(len(wire))] + dice.choice(NONSENSE))
                return False
            case 9:
                await dice.send(writer, b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" + wire)
            case _:
                await dice.send(writer, wire)
        return not until_close and dice.random() < 0.8


def reset(writer: asyncio.StreamWriter) -> None:
    """Not the end of a stream, but of a connection."""
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


class Caller:
    """One connection and the exchanges on it, one after the other."""

    def __init__(self, seed: int, number: int) -> None:
        self.first = number * 10
        self.sent: dict[int, tuple[str, bytes]] = {}  # method, body
        self.got: dict[int, Got] = {}
        self.spoilt: set[int] = set()  # with nonsense in it
        self._dice = Dice(f"{seed}/caller/{number}")

    async def call(self, weir: Gateway) -> None:
        reader, writer = await asyncio.open_connection(weir.host, weir.port)
        try:
            with contextlib.suppress(asyncio.IncompleteReadError, *GONE):
                for number in range(self.first, self.first + self._dice.randrange(1, 9)):
                    if not await self._exchange(number, reader, writer):
                        return
        finally:
            writer.transport.abort()

    async def _exchange(self, number: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        dice = self._dice
        method = dice.choice(("GET", "HEAD", "POST", "POST", "POST", "PUT"))
        body = b"" if method in ("GET", "HEAD") else dice.data(number, "up")
        line, wire = ("", b"") if method in ("GET", "HEAD") else dice.framed(body)
        agents = "User-Agent: a\r\nUser-Agent: b\r\n" if dice.random() < 0.3 else ""
        data = f"{method} /n/{number} HTTP/1.1\r\nHost: h\r\n{agents}{line}\r\n".encode() + wire
        self.sent[number] = (method, body)
        got = self.got[number] = Got()
        leaves = dice.randrange(20)
        sending = asyncio.create_task(self._send(writer, number, data, leaves))
        try:
            if leaves == 1:
                await asyncio.wait([sending])
                return False  # without a look at the answer
            async with asyncio.timeout(dice.choice((0, 0.001, 0.02)) if leaves == 2 else None):
                await got.read(reader, of=method, pause=dice.pause)
            await asyncio.wait([sending])
            return b"\r\nconnection: close\r\n" not in got.head.lower()
        except TimeoutError:
            return False
        finally:
            sending.cancel()
            await asyncio.gather(sending, return_exceptions=True)

    async def _send(self, writer: asyncio.StreamWriter, number: int, data: bytes, leaves: int) -> None:
        dice = self._dice
        if leaves in (1, 3):
            data = data[: dice.randrange(len(data))]
        if leaves == 4:
            data = data[: dice.randrange(len(data))] + b"\0\0\r\n"
            self.spoilt.add(number)
        with contextlib.suppress(*GONE):
            await dice.send(writer, data)
            if leaves == 3:
                reset(writer) if dice.random() < 0.5 else writer.write_eof()


@pytest.mark.parametrize("loop", LOOPS.values(), ids=LOOPS)
@pytest.mark.parametrize("policy", ["drain", "cancel"])
@pytest.mark.parametrize("seed", range(SEEDS))
def test_anything_may_happen(
    seed: int, policy: str, loop: Callable[[], Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    endpoint = Endpoint(seed)
    callers = [Caller(seed, number) for number in range(CONNECTIONS)]
    faults: list[dict[str, Any]] = []

    async def main() -> Gateway:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: faults.append(context))
        turns = asyncio.Semaphore(AT_ONCE)

        async def one(caller: Caller) -> None:
            async with turns:
                await caller.call(weir)

        server = await asyncio.start_server(endpoint.serve, "127.0.0.1", 0)
        url = "http://{}:{}".format(*server.sockets[0].getsockname()[:2])
        text = routes(url, url, server=SERVER, route=f'on_disconnect = "{policy}"')
        async with gateway(tmp_path, text, monkeypatch) as weir:
            tasks = len(asyncio.all_tasks())
            async with asyncio.timeout(60):
                await asyncio.gather(*map(one, callers))
                await nothing_left(weir, endpoint, tasks)
        server.close()
        async with asyncio.timeout(60):
            while endpoint.serving:
                await asyncio.sleep(0.01)
        return weir

    with asyncio.Runner(loop_factory=loop) as runner:
        weir = runner.run(main())
    assert faults == []
    check(weir, endpoint, {n: c for c in callers for n in c.sent})


async def nothing_left(weir: Gateway, endpoint: Endpoint, tasks: int) -> None:
    public = weir.app.public
    while public.in_flight or public.connections or public._drains._count or public._pool.in_use:
        await asyncio.sleep(0.01)
    while len(asyncio.all_tasks()) > tasks + len(endpoint.serving):
        await asyncio.sleep(0.01)


def check(weir: Gateway, endpoint: Endpoint, callers: dict[int, Caller]) -> None:
    records = {int(record.path.removeprefix("/n/")): record for record in weir.records()}
    assert len(records) == len(weir.records()), "two records of one exchange"
    assert records.keys() >= endpoint.got.keys()
    assert Outcome.LOST not in {record.outcome for record in records.values()}
    assert "INTERNAL" not in {record.reason for record in records.values()}
    assert len({(record.outcome, record.reason) for record in records.values()}) > 3, "not much happened"
    for number, caller in callers.items():
        method, body = caller.sent[number]
        tries, said, got = endpoint.got.get(number, []), endpoint.said.get(number, []), caller.got[number]
        for one in () if number in caller.spoilt else tries:
            assert body.startswith(one.body), number
            assert not one.whole or one.body == body, number
        if method == "POST":
            for one, answer in zip(tries[:-1], said, strict=False):
                assert not one.body or answer[0] in RETRYABLE, number
        if not got.head or b"\r\nServer: weir\r\n" in got.head:
            continue
        assert number in records, number
        assert set(re.findall(rb"down(\d+)\.", got.body)) <= {str(number).encode()}, number
        if any(spoilt for *_, spoilt in said):
            continue
        matching = [entry for entry in said if entry[0] == got.status and entry[1].startswith(got.body)]
        assert matching, (number, got.head, got.body[:40], [(s, b[:20]) for s, b, _ in said])
        if got.whole and method != "HEAD":
            assert any(bytes(got.body) == told for _, told, _ in matching), number
