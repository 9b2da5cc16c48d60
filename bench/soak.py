"""A soak: many exchanges of several kinds, some of whose callers leave, and what the gateway keeps of them.

    python bench/soak.py [--exchanges 200000] [--callers 32] [--leave 0.05]

Prints descriptors, memory and exchanges in flight before, and after everything is quiet again; and compares the
usage log with what was sent: one record an exchange, none twice. Goal: back within 5 %.
"""

import argparse
import asyncio
import json
import random
import time
from collections import Counter
from urllib.request import urlopen

from bench.stage import Stage, stage

UNARY = "/v1beta/models/gemini-2.5-flash:generateContent"
STREAM = "/v1beta/models/gemini-2.5-flash:streamGenerateContent?alt=sse"


async def caller(on: Stage, count: int, leave: float, seed: int) -> Counter[str]:
    """One caller that keeps its connection alive, but now and then hangs up in the middle."""
    chance = random.Random(seed)
    done: Counter[str] = Counter()
    reader = writer = None
    for _ in range(count):
        if writer is None or reader is None:
            reader, writer = await asyncio.open_connection(on.host, on.port)
        stream = chance.random() < 0.3
        writer.write(on.request(STREAM if stream else UNARY))
        await writer.drain()
        if chance.random() < leave:
            await asyncio.sleep(chance.random() * 0.004)
            writer.transport.abort()
            reader = writer = None
            done["left"] += 1
            continue
        head = await reader.readuntil(b"\r\n\r\n")
        if b"chunked" in head.lower():
            while size := int(await reader.readuntil(b"\r\n"), 16):
                await reader.readexactly(size + 2)
            await reader.readuntil(b"\r\n")
        else:
            await reader.readexactly(int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0]))
        done[head.split(b" ", 2)[1].decode()] += 1
    if writer is not None:
        writer.close()
    return done


async def quiet(on: Stage) -> None:
    """Wait until no exchange runs and the pooled connections have gone their way."""
    while on.metrics()["weir_exchanges_in_flight"]:
        await asyncio.sleep(0.2)
    await asyncio.sleep(32)  # `pool_idle` is 15 s, and aiohttp looks every 15


async def measure(on: Stage, exchanges: int, callers: int, leave: float) -> int:
    warm = await asyncio.gather(*(caller(on, 200, leave, -seed) for seed in range(callers)))
    await quiet(on)
    before = (on.memory_mb, on.descriptors)
    started, spent = time.perf_counter(), on.processor_seconds
    each = exchanges // callers
    results = await asyncio.gather(*(caller(on, each, leave, seed) for seed in range(callers)))
    seconds, spent = time.perf_counter() - started, on.processor_seconds - spent
    await quiet(on)
    total = sum(results, Counter())
    print(
        f"{each * callers} exchanges in {seconds:.0f} s ({each * callers / seconds:.0f}/s, "
        f"{spent / each / callers * 1e6:.0f} us of processor time each): {dict(total)}"
    )
    print(f"memory {before[0]:.1f} MB before, {on.memory_mb:.1f} after ({on.memory_mb / before[0] - 1:+.1%})")
    left = on.metrics()["weir_exchanges_in_flight"]
    print(f"descriptors {before[1]} before, {on.descriptors} after; {left:.0f} in flight")
    return sum(sum(warm, Counter()).values()) + sum(total.values())


def compare(on: Stage, sent: int) -> None:
    """Of a caller that left at once, the request may not have reached the gateway: fewer records, never more.

    What reached the simulator has its attempt in a record; of a caller that left, an attempt may not have arrived.
    """
    with urlopen(f"{on.upstream}/_simulator/ledger", timeout=30) as answer:
        seen = json.loads(answer.read())["entries"][-1]["number"]
    attempts = 0
    ids: Counter[str] = Counter()
    outcomes: Counter[str] = Counter()
    for file in (on.folder / "var" / "usage").glob("usage-*.jsonl"):
        for line in file.read_bytes().splitlines():
            record = json.loads(line)
            ids[record["id"]] += 1
            outcomes[record["outcome"]] += 1
            attempts += sum(attempt["sent"] for attempt in record["attempts"])
    doubled = sum(count > 1 for count in ids.values())
    print(f"{sent} requests sent, {len(ids)} records, {doubled} double: {dict(outcomes)}")
    print(f"{attempts} attempts recorded, {seen} requests seen by the simulator")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--exchanges", type=int, default=200_000)
    parser.add_argument("--callers", type=int, default=32)
    parser.add_argument("--leave", type=float, default=0.05)
    asked = parser.parse_args()
    with stage() as on:
        sent = asyncio.run(measure(on, asked.exchanges, asked.callers, asked.leave))
        compare(on, sent)


if __name__ == "__main__":
    main()
