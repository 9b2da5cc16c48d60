"""Live sessions over two workers: what a death and a rolling restart do to those that are open."""

import asyncio
import contextlib
import json
import os
import signal
from pathlib import Path

from proxy.usage import Outcome
from tests.support.frames import CLOSE, TEXT, accept, close_frame, frame, handshake, read_frame
from tests.support.raw import RawUpstream
from tests.test_workers import PATIENCE_SECONDS, Fleet, fleet, lives, until

LIVE = "/ws/google.ai.generativelanguage.v1beta.GenerativeService.BidiGenerateContent"
SETUP = b'{"setup": {"model": "models/gemini-3.8-live"}}'
SHUTDOWN_SECONDS = 5


class Session:
    """A caller's. `id` is its record's."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, id: str) -> None:
        self.id = id
        self._reader = reader
        self._writer = writer

    @classmethod
    async def open(cls, gateway: Fleet) -> "Session":
        reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
        writer.write(handshake(LIVE))
        head = await reader.readuntil(b"\r\n\r\n")
        session = cls(reader, writer, head.decode().split("x-weir-exchange: ")[1].split("\r\n")[0])
        assert await session.says(SETUP) == SETUP
        return session

    async def says(self, text: bytes) -> bytes:
        self._writer.write(frame(TEXT, text, masked=True))
        return (await read_frame(self._reader))[1]

    async def close(self) -> None:
        self._writer.write(close_frame(1000, masked=True))
        assert await self.end() == 1000

    async def end(self) -> int | None:
        """The code that it is closed with, or None when it just breaks off."""
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            async with asyncio.timeout(PATIENCE_SECONDS):
                while True:
                    kind, payload = await read_frame(self._reader)
                    if kind == CLOSE:
                        self._writer.write(frame(CLOSE, payload, masked=True))
                        self._writer.close()
                        return int.from_bytes(payload[:2], "big")
        self._writer.close()
        return None


async def echoes(_: RawUpstream, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await accept(reader, writer)
    while True:
        kind, payload = await read_frame(reader)
        writer.write(frame(kind, payload))
        if kind == CLOSE:
            return


async def on_both(gateway: Fleet, each: int) -> tuple[list[Session], list[Session]]:
    """So many open sessions or more on each worker; the kernel chooses."""
    sessions: tuple[list[Session], list[Session]] = ([], [])
    async with asyncio.timeout(PATIENCE_SECONDS):
        while min(map(len, sessions)) < each:
            session = await Session.open(gateway)
            first = await gateway.metric(0, "weir_exchanges_in_flight")
            sessions[0 if first > len(sessions[0]) else 1].append(session)
    return sessions


def outcomes(folder: Path) -> dict[str, tuple[str, str | None]]:
    """Outcome and reason of every record, by its id."""
    files = (folder / "config" / "var" / "usage").glob("usage-*.jsonl")
    lines = [json.loads(line) for file in files for line in file.read_bytes().splitlines()]
    assert len({line["id"] for line in lines}) == len(lines), "a session has one record"
    return {line["id"]: (line["outcome"], line.get("reason")) for line in lines}


async def test_sessions_outlive_a_restart_and_the_death_of_another_worker(tmp_path: Path) -> None:
    async with fleet(tmp_path, echoes, f'timeouts = {{ shutdown = "{SHUTDOWN_SECONDS}s" }}') as gateway:
        doomed, staying = await on_both(gateway, 3)
        killed, old = gateway.pids
        os.kill(killed, signal.SIGKILL)
        assert [await session.end() for session in doomed] == [None] * len(doomed)
        await until(lambda: gateway.named("worker_replaced"), lambda: gateway.log)
        assert [await session.says(b"still there") for session in staying] == [b"still there"] * len(staying)

        closed = staying.pop()
        await closed.close()
        gateway.process.send_signal(signal.SIGUSR2)
        await until(lambda: gateway.named("restarted") and len(gateway.named("stopping")) == 2, lambda: gateway.log)
        await asyncio.sleep(0.2)  # the law: after this the old ones let nobody in
        after = [await Session.open(gateway) for _ in range(4)]
        assert [await session.says(b"and now") for session in staying] == [b"and now"] * len(staying)
        assert await asyncio.gather(*(session.end() for session in staying)) == [1001] * len(staying)
        await until(lambda: not lives(old), lambda: "the old worker did not leave")
        assert [await session.says(b"new") for session in after] == [b"new"] * len(after)
        for session in after:
            await session.close()
    assert gateway.process.returncode == 0
    found = outcomes(tmp_path)
    assert [found[session.id] for session in (closed, *after)] == [(Outcome.COMPLETED, None)] * 5
    assert [found[session.id] for session in staying] == [(Outcome.LOST, "GATEWAY_STOPPED")] * len(staying)
    assert {found[session.id][0] for session in doomed if session.id in found} <= {Outcome.LOST}
