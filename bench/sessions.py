"""Memory under slow sessions: N WebSocket sessions that are pushed messages of so many KB, and read them at a crawl.

    python -m bench.sessions [--sessions 200] [--kilobytes 1000] [--seconds 10] [--up]

Prints the gateway's memory over idle, by session and in messages, and how much the pushing side was let send, with
the kernel's buffers. Goal: the peak is reached by half time however long the other side pushes, and is at most four
messages a session, or 1 MB where they are small.
With --up the callers push, and the endpoint is slow.
"""

import argparse
import asyncio
import contextlib

from bench.stage import Stage, stage
from tests.support.frames import BINARY, accept, frame, handshake

PATH = "/ws/bench"
READ_BYTES = 16384
SAMPLE_SECONDS = 0.2


class Pushed:
    """What one side sends without a pause, and the other takes at a crawl."""

    def __init__(self, kilobytes: int, *, up: bool) -> None:
        self.sent = 0
        self._up = up
        self._message = frame(BINARY, b"x" * (kilobytes * 1000), masked=up)

    async def caller(self, on: Stage) -> None:
        reader, writer = await asyncio.open_connection(on.host, on.port, limit=READ_BYTES)
        writer.write(handshake(PATH).replace(b"\r\n\r\n", f"\r\nx-goog-api-key: {on.key}\r\n\r\n".encode()))
        head = await reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 101"), head
        await self._live(reader, writer, pushes=self._up)

    async def endpoint(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            await accept(reader, writer)
            await self._live(reader, writer, pushes=not self._up)

    async def _live(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, pushes: bool) -> None:
        try:
            while pushes:
                writer.write(self._message)
                await writer.drain()
                self.sent += len(self._message)
            while await reader.read(READ_BYTES):
                await asyncio.sleep(0.5)
        except ConnectionError:
            return
        finally:
            writer.transport.abort()


async def measure(sessions: int, kilobytes: int, seconds: float, *, up: bool) -> None:
    pushed = Pushed(kilobytes, up=up)
    server = await asyncio.start_server(pushed.endpoint, "127.0.0.1", 0, limit=READ_BYTES)
    url = "http://{}:{}".format(*server.sockets[0].getsockname()[:2])
    with contextlib.ExitStack() as stack:
        on = await asyncio.to_thread(stack.enter_context, stage(upstream=url))
        idle = on.memory_mb
        tasks = [asyncio.create_task(pushed.caller(on)) for _ in range(sessions)]
        loop = asyncio.get_running_loop()
        until, samples = loop.time() + seconds, [idle]
        while loop.time() < until:
            await asyncio.sleep(SAMPLE_SECONDS)
            samples.append(on.memory_mb)
        open_still = sum(not task.done() for task in tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        half, peak = max(samples[: len(samples) // 2]) - idle, max(samples) - idle
        each = peak * 1024 / sessions
        print(
            f"{sessions} sessions pushed messages of {kilobytes} KB {'up' if up else 'down'} for {seconds:.0f} s: "
            f"idle {idle:.0f} MB, +{half:.0f} at half time, +{peak:.0f} at the peak ({each:.0f} KiB a session, "
            f"{each / kilobytes:.1f} messages); {pushed.sent / sessions / 1e6:.1f} MB each let in; "
            f"{open_still} open to the end"
        )
        await asyncio.to_thread(stack.close)
    server.close()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--sessions", type=int, default=200)
    parser.add_argument("--kilobytes", type=int, default=1000)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--up", action="store_true")
    asked = parser.parse_args()
    asyncio.run(measure(asked.sessions, asked.kilobytes, asked.seconds, up=asked.up))


if __name__ == "__main__":
    main()
