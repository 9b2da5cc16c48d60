"""Memory under large uploads: bodies by length, then in chunks, each of so many MiB, to an endpoint that reads along.

    python -m bench.uploads [--megabytes 1024] [--at-once 4]

Prints the gateway's resident memory when idle, at its peak and after, and the processor time for each MiB. What is
kept for another try (`[server.sizes] replay`) is a part of it, once for each upload under way. Goal: whatever the size,
the same.
"""

import argparse
import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from bench.stage import Stage, free_port, stage

TARGET = "/upload/v1beta/files?upload_id=bench"
PIECE = b"\x00" * (1 << 20)
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


class Sink:
    """An endpoint that takes what comes and keeps nothing. `taken`: bytes of bodies."""

    def __init__(self) -> None:
        self.url = ""
        self.taken = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        if b"\r\ncontent-length:" in head:
            await self._take(reader, int(head.split(b"\r\ncontent-length:")[1].split(b"\r\n")[0]))
        else:
            while size := int(await reader.readuntil(b"\r\n"), 16):
                await self._take(reader, size)
                await reader.readexactly(2)
            await reader.readexactly(2)
        writer.write(ANSWER)
        writer.close()

    async def _take(self, reader: asyncio.StreamReader, left: int) -> None:
        while left:
            piece = await reader.read(min(left, 1 << 18))
            if not piece:
                raise asyncio.IncompleteReadError(b"", left)
            left -= len(piece)
            self.taken += len(piece)


@asynccontextmanager
async def sink(port: int) -> AsyncIterator[Sink]:
    made = Sink()
    server = await asyncio.start_server(made.serve, "127.0.0.1", port, limit=1 << 18)
    try:
        yield made
    finally:
        server.close()


async def upload(on: Stage, megabytes: int, *, chunked: bool) -> bytes:
    """One caller; the head of its answer."""
    reader, writer = await asyncio.open_connection(on.host, on.port)
    framing = "Transfer-Encoding: chunked" if chunked else f"Content-Length: {megabytes << 20}"
    lines = [f"POST {TARGET} HTTP/1.1", f"Host: {on.host}", f"x-goog-api-key: {on.key}", framing, "Connection: close"]
    writer.write("\r\n".join([*lines, "", ""]).encode())
    for _ in range(megabytes):
        writer.write(b"%x\r\n%b\r\n" % (len(PIECE), PIECE) if chunked else PIECE)
        await writer.drain()
    if chunked:
        writer.write(b"0\r\n\r\n")
    head = await reader.read()
    writer.close()
    return head


async def measure(on: Stage, port: int, megabytes: int, at_once: int) -> None:
    async with sink(port) as endpoint:
        await upload(on, 1, chunked=False)  # warm
        for chunked in (False, True):
            idle = peak = on.memory_mb
            taken, spent, began = endpoint.taken, on.processor_seconds, time.perf_counter()
            tasks = [asyncio.create_task(upload(on, megabytes, chunked=chunked)) for _ in range(at_once)]
            while not all(task.done() for task in tasks):
                peak = max(peak, on.memory_mb)
                await asyncio.sleep(0.1)
            seconds, spent = time.perf_counter() - began, on.processor_seconds - spent
            whole = sum(task.result().startswith(b"HTTP/1.1 200 ") for task in tasks)
            arrived = (endpoint.taken - taken) >> 20
            print(
                f"{at_once} uploads of {megabytes} MiB{' in chunks' if chunked else ''}: idle {idle:.0f} MB, peak "
                f"{peak:.0f} MB (+{peak - idle:.0f}), after {on.memory_mb:.0f} MB; {whole} answered, {arrived} MiB "
                f"arrived in {seconds:.0f} s, {spent / max(arrived, 1) * 1e3:.2f} ms of processor time a MiB",
                flush=True,
            )


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--megabytes", type=int, default=1024)
    parser.add_argument("--at-once", type=int, default=4)
    asked = parser.parse_args()
    port = free_port()
    with stage(upstream=f"http://127.0.0.1:{port}") as on:
        asyncio.run(measure(on, port, asked.megabytes, asked.at_once))


if __name__ == "__main__":
    main()
