"""Calls that wait: N exchanges in flight for so many seconds on one worker, and the small calls beside them.

    python bench/held.py [--calls 5000] [--seconds 20]

Prints failures, memory a held call, and the median small call alone and beside the held ones. Goal: none fails,
at most 40 KB each, the median beside them less than twice as slow.
"""

import argparse
import asyncio
import resource
import statistics
import time

from bench.stage import Stage, stage

TARGET = "/v1beta/models/gemini-2.5-flash:generateContent"


async def call(on: Stage, *headers: str) -> tuple[bool, float]:
    """One call on a connection of its own: whether it got a 200, and its seconds."""
    started = time.perf_counter()
    reader, writer = await asyncio.open_connection(on.host, on.port)
    writer.write(on.request(TARGET, "Connection: close", *headers))
    answer = await reader.read()
    writer.close()
    return answer.startswith(b"HTTP/1.1 200 "), time.perf_counter() - started


async def median_call(on: Stage, count: int) -> float:
    return statistics.median([(await call(on))[1] for _ in range(count)]) * 1000


async def measure(on: Stage, calls: int, seconds: float) -> None:
    await median_call(on, 50)  # warm
    idle = on.memory_mb
    alone = await median_call(on, 200)
    held = []
    for number in range(calls):
        held.append(asyncio.create_task(call(on, f"x-sim-fault: latency={seconds}")))
        if number % 100 == 99:
            await asyncio.sleep(0.02)  # arrive over a second or so, as callers do
    while on.metrics().get("weir_exchanges_in_flight", 0) < calls * 0.98:
        await asyncio.sleep(0.2)
    memory = on.memory_mb
    beside = await median_call(on, 200)
    results = await asyncio.gather(*held)
    failed = sum(not good for good, _ in results)
    print(
        f"{calls} calls held {seconds:.0f} s: {failed} failed; memory +{memory - idle:.0f} MB "
        f"({(memory - idle) * 1024 / calls:.0f} KiB each); median small call {alone:.2f} ms alone, "
        f"{beside:.2f} ms beside them ({beside / alone:.2f}x)"
    )


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--calls", type=int, default=5000)
    parser.add_argument("--seconds", type=float, default=20.0)
    asked = parser.parse_args()
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 4 * asked.calls + 1000), hard))
    with stage() as on:
        asyncio.run(measure(on, asked.calls, asked.seconds))


if __name__ == "__main__":
    main()
