"""The phases that measure time: small calls, streams of events, images, and an upstream over TLS.

`phases.py` lists them, `run.py` calls them in every round. Each is bounded in time and count.
"""

import asyncio
import socket
import statistics
import time
from collections.abc import Iterable

from bench import machine
from bench.load import Events, Line, connect, connected
from bench.pound import Pounded, pound, pound_on
from bench.running import FRAMINGS, IMAGE, SMALL, STREAM, ZIPPED, Figures, Running

_MEGABYTES = 20
_STREAMS, _EVENTS, _GAP_MS = 64, 50, 20
_ACCEPT_SECONDS = 0.1
_MOST_BATCHES = 60  # of connections, until each worker has its share
_FIRST_BYTES = 60  # streams of one event, one after the other


async def _pound(on: Running, callers: int, target: str = SMALL, how: str = "") -> tuple[Pounded, Figures]:
    seen = await pound(on.caller.requests(target), on.port, callers, on.seconds, on.spent)
    how = how or str(callers)
    return seen, {
        f"small.cpu.{how}": seen.spent / seen.calls * 1e6,
        f"small.rate.{how}": seen.calls / seen.seconds,
        f"small.busy.{how}": seen.spent / seen.seconds,
        f"small.p50.{how}": seen.share(0.5),
        f"small.p99.{how}": seen.share(0.99),
        f"small.failed.{how}": seen.failed,
    }


async def small(on: Running) -> Figures:
    """650 bytes up, 1.1 KB down: one caller, 16, 64; and 64 who accept gzip."""
    figures: Figures = {}
    for callers in (1, 16, 64):
        figures |= (await _pound(on, callers))[1]
    return figures | (await _pound(on, 64, ZIPPED, "zipped"))[1]


async def busy(on: Running) -> Figures:
    """The same with 64 callers alone."""
    return (await _pound(on, 64))[1]


async def workers(on: Running) -> Figures:
    """The same with 64 callers of each worker: how many are carried, and how evenly the workers shared them."""
    process = on.proxy()
    sockets, share = await _evenly(on, 64)
    before = process.shares([0.0] * len(process.pids))
    seen = await pound_on(sockets, on.caller.requests(SMALL), on.seconds, on.spent)
    spent = process.shares(before)
    return {
        "workers.rate": seen.calls / seen.seconds,
        "workers.cpu": seen.spent / seen.calls * 1e6,
        "workers.share": max(spent) / sum(spent),
        "workers.accepted": share,
        "workers.failed": seen.failed,
    }


async def _evenly(on: Running, each: int) -> tuple[list[socket.socket], float]:
    """So many connections of each worker; and how many of all it took the one that takes the most.

    Which worker takes a connection is a race that the load itself decides here, by the core it runs on.
    """
    pids = on.proxy().pids[-on.workers :]
    by_pid: dict[int, list[socket.socket]] = {pid: [] for pid in pids}
    for _ in range(_MOST_BATCHES):
        made = [await connected(on.port) for _ in range(each)]
        await asyncio.sleep(_ACCEPT_SECONDS)
        held = machine.holders(on.port, pids)
        for sock in made:
            by_pid[held[sock.getsockname()[1]]].append(sock)
        if min(map(len, by_pid.values())) >= each:
            break
    else:
        raise TimeoutError("one worker takes hardly any connection")
    share = max(map(len, by_pid.values())) / sum(map(len, by_pid.values()))
    for sockets in by_pid.values():
        while len(sockets) > each:
            sockets.pop().close()
    return [sock for sockets in by_pid.values() for sock in sockets], share


async def events(on: Running) -> Figures:
    """Streams of events: to the first, one stream at a time; and what each costs with 64 streams at 50 a second."""
    waits = []
    for _ in range(_FIRST_BYTES):
        began = time.monotonic_ns()
        waits.append((await _stream(on, 1, 0)).first_at - began)
    before = on.spent()
    starting = []
    for _ in range(_STREAMS):
        starting.append(asyncio.create_task(_stream(on, _EVENTS, _GAP_MS)))
        await asyncio.sleep(_GAP_MS / 1000 / _STREAMS)
    streams = await asyncio.gather(*starting)
    latencies = [latency for stream in streams for latency in stream.latencies]
    return {
        "events.first": statistics.median(waits) / 1e3,
        "events.cpu": (on.spent() - before) / len(latencies) * 1e6,
        "events.late": statistics.median(latencies),
        "events.lost": _STREAMS * _EVENTS - len(latencies),
    }


async def _stream(on: Running, count: int, gap_ms: int) -> Events:
    line = await connect(on.port, Events)
    await line.call(on.caller.request(f"{STREAM}{count}-{gap_ms}"))
    line.transport.abort()
    if not line.good:
        raise ConnectionError(f"a stream was answered {line.head[:80]!r}")
    return line


async def image(on: Running) -> Figures:
    """20 MB down, one call after the other on one connection: by length, in chunks, gzipped."""
    return await _images(on, FRAMINGS, "image")


async def _images(on: Running, framings: Iterable[str], name: str) -> Figures:
    figures: Figures = {}
    for framing in framings:
        line = await connect(on.port, Line)
        request = on.caller.request(f"{IMAGE}?bench=image-{_MEGABYTES}-{framing}")
        await line.call(request)  # warm, and the upstream makes it
        megabytes, before, began = 0.0, on.spent(), time.perf_counter()
        while time.perf_counter() - began < on.seconds:
            await line.call(request)
            megabytes += _whole(line, _MEGABYTES * 1e6 * (0.7 if framing == "gzip" else 1)) / 1e6
        seconds, spent = time.perf_counter() - began, on.spent() - before
        line.transport.abort()
        figures |= {f"{name}.cpu.{framing}": spent / megabytes * 1e6, f"{name}.rate.{framing}": megabytes / seconds}
    return figures


def _whole(line: Line, least: float) -> int:
    """The size of an answer's body. ConnectionError when it is not what was asked for."""
    size = line.body.received if line.body else 0
    if not line.good or size < least:
        raise ConnectionError(f"an answer of {size} bytes: {line.head[:80]!r}")
    return size


async def tls(on: Running) -> Figures:
    """An upstream that speaks TLS 1.3: small calls of 64 callers, and 20 MB."""
    calls = (await _pound(on, 64))[1]
    return {f"tls.{name}": value for name, value in calls.items()} | await _images(
        on, ("length", "chunked"), "tls.image"
    )
