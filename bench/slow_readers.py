"""Memory under slow readers: N callers that each take an image of so many MB at a crawl, metered.

    python bench/slow_readers.py [--readers 200] [--megabytes 20] [--seconds 8] [--chunked]

Prints the gateway's resident memory when idle, at its peak and after; the peak above idle a reader; and whether
every answer came whole. Goal: 200 readers of 20 MB within 150 MB of memory over idle, whatever the size.
"""

import argparse
import asyncio

from bench.stage import Stage, stage

IMAGE = "/v1beta/models/gemini-3-pro-image-preview:generateContent"
PROMPT = b'{"contents":[{"parts":[{"text":"A butterfly"}]}],"generationConfig":{"responseModalities":["IMAGE"]}}'


async def read_slowly(on: Stage, size: int, seconds: float, *, chunked: bool) -> int:
    """One caller; the bytes it got."""
    headers = [f"x-sim-image-bytes: {size}", *(["x-sim-chunked: 1"] if chunked else []), "Connection: close"]
    reader, writer = await asyncio.open_connection(on.host, on.port, limit=16384)
    writer.write(on.request(IMAGE, *headers, body=PROMPT))
    total = 0
    slow_until = asyncio.get_running_loop().time() + seconds
    while data := await reader.read(65536):
        total += len(data)
        if asyncio.get_running_loop().time() < slow_until:
            await asyncio.sleep(0.05)
    writer.close()
    return total


async def measure(on: Stage, readers: int, megabytes: int, seconds: float, *, chunked: bool) -> None:
    await read_slowly(on, 1000, 0, chunked=chunked)  # warm
    idle = peak = on.memory_mb
    size = megabytes * 1_000_000
    tasks = [asyncio.create_task(read_slowly(on, size, seconds, chunked=chunked)) for _ in range(readers)]
    while not all(task.done() for task in tasks):
        peak = max(peak, on.memory_mb)
        await asyncio.sleep(0.1)
    whole = sum(task.result() > size for task in tasks)
    print(
        f"{readers} readers of {megabytes} MB{' chunked' if chunked else ''}: idle {idle:.0f} MB, "
        f"peak {peak:.0f} MB (+{peak - idle:.0f}, {(peak - idle) * 1024 / readers:.0f} KiB each), "
        f"after {on.memory_mb:.0f} MB; {whole} of {readers} came whole"
    )


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--readers", type=int, default=200)
    parser.add_argument("--megabytes", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=8.0)
    parser.add_argument("--chunked", action="store_true")
    asked = parser.parse_args()
    with stage() as on:
        asyncio.run(measure(on, asked.readers, asked.megabytes, asked.seconds, chunked=asked.chunked))


if __name__ == "__main__":
    main()
