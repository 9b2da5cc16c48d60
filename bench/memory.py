"""The phases that measure memory: slow readers, calls that wait, and large bodies up.

`phases.py` lists them; `run.py` calls each once, with a process just started. Each is bounded in time and count, and
slow readers hang up when the proxy takes too much.
"""

import asyncio
import statistics
import time

from bench.load import Line, SlowReader, connect
from bench.running import IMAGE, SMALL, Figures, Running

_SLOW_SECONDS = 4.0  # at about 1 MB a second each, then as fast as they can
_SLOW_STEP_SECONDS = 0.1
_BESIDE = 100
_UPLOADS, _UPLOAD_MEGABYTES = 4, 100
_PIECE = b"QUJD" * 250_000
_UPLOAD_STARTS = b'{"contents": [{"parts": [{"inlineData": {"mimeType": "image/png", "data": "'
_UPLOAD_ENDS = b'"}}]}]}'
_LIMIT_MB = 12_000.0  # of memory; beyond it a phase is given up


async def slow(on: Running) -> Figures:
    """64 callers that take 20 MB at a crawl."""
    return await _slow(on, 64, 20)


async def sealed(on: Running) -> Figures:
    """The same 64, the upstream over TLS."""
    return await _slow(on, 64, 20, "tls")


async def crowd(on: Running) -> Figures:
    """200 of them."""
    return await _slow(on, 200, 20)


async def large(on: Running) -> Figures:
    """64 that take 100 MB."""
    return await _slow(on, 64, 100)


async def _slow(on: Running, readers: int, megabytes: int, how: str = "") -> Figures:
    process = on.proxy()
    idle = process.memory_mb()
    process.forget_peak()
    lines = [await connect(on.port, SlowReader) for _ in range(readers)]
    request = on.caller.request(f"{IMAGE}?bench=image-{megabytes}")
    calls = [asyncio.create_task(line.call(request)) for line in lines]
    until = time.perf_counter() + _SLOW_SECONDS
    while time.perf_counter() < until and process.memory_mb() < _LIMIT_MB:
        await asyncio.sleep(_SLOW_STEP_SECONDS)
        for line in lines:
            line.go_on()
    for line in lines:
        line.slow = False
        line.go_on()
        if process.memory_mb() > _LIMIT_MB:
            line.transport.abort()
    await asyncio.gather(*calls, return_exceptions=True)
    whole = sum(line.good and line.body is not None and line.body.received >= megabytes * 1e6 for line in lines)
    for line in lines:
        line.transport.abort()
    name = how or f"{readers}x{megabytes}"
    return {
        f"slow.memory.{name}": (process.peak_mb() - idle) / readers,
        f"slow.broken.{name}": readers - whole,
    }


async def held(on: Running) -> Figures:
    """1,000 calls under way at once, each answered after 4 s, and small ones beside them."""
    return await _held(on, 1000, 4)


async def throng(on: Running) -> Figures:
    """5,000, each answered after 10 s."""
    return await _held(on, 5000, 10)


async def _held(on: Running, count: int, seconds: int) -> Figures:
    process = on.proxy()
    idle = process.memory_mb()
    process.forget_peak()
    request = on.caller.request(f"{SMALL}?bench=wait-{seconds}")

    async def one() -> float:
        line = await connect(on.port, Line)
        began = time.perf_counter()
        try:
            await asyncio.wait_for(line.call(request), 12 * seconds)
            if not line.good:
                raise ConnectionError(f"answered {line.head[:80]!r}")
        finally:
            line.transport.abort()
        return time.perf_counter() - began

    calls = []
    for number in range(count):
        calls.append(asyncio.create_task(one()))
        if number % 50 == 49:
            await asyncio.sleep(0.02)  # arriving over some time, as callers do
    await asyncio.sleep(1)
    beside = await _beside(on)
    results = await asyncio.gather(*calls, return_exceptions=True)
    took = sorted(result for result in results if isinstance(result, float))
    return {
        f"held.memory.{count}": (process.peak_mb() - idle) / count,
        f"held.failed.{count}": count - len(took),
        f"held.beside.{count}": beside,
        f"held.p99.{count}": took[int(len(took) * 0.99)] * 1e6 if took else float("nan"),
    }


async def _beside(on: Running) -> float:
    """The median small call of one caller, while others wait."""
    line = await connect(on.port, Line)
    microseconds = []
    for _ in range(_BESIDE):
        began = time.perf_counter_ns()
        await line.call(on.caller.request(SMALL))
        microseconds.append((time.perf_counter_ns() - began) / 1e3)
    line.transport.abort()
    return statistics.median(microseconds)


async def upload(on: Running) -> Figures:
    """Four prompts with a picture of 100 MB up at once, by length, then in chunks."""
    process = on.proxy()
    figures: Figures = {}
    pieces = [_UPLOAD_STARTS, *[_PIECE] * _UPLOAD_MEGABYTES, _UPLOAD_ENDS]
    for framing, head in (
        ("length", f"Content-Length: {sum(map(len, pieces))}\r\n"),
        ("chunked", "Transfer-Encoding: chunked\r\n"),
    ):
        idle = process.memory_mb()
        process.forget_peak()
        request = on.caller.request(SMALL, framing=head)
        lines = [await connect(on.port, Line) for _ in range(_UPLOADS)]
        before = on.spent()
        uploads = [line.upload(request, pieces) for line in lines]
        results = await asyncio.gather(*uploads, return_exceptions=True)
        refused = sum(
            isinstance(result, Exception) or not line.good for result, line in zip(results, lines, strict=True)
        )
        for line in lines:
            line.transport.abort()
        figures[f"upload.failed.{framing}"] = refused
        if not refused:
            figures[f"upload.cpu.{framing}"] = (on.spent() - before) / (_UPLOADS * _UPLOAD_MEGABYTES) * 1e6
            figures[f"upload.memory.{framing}"] = (process.peak_mb() - idle) / _UPLOADS
    return figures
