"""What the usage log costs an exchange: opening, pricing and record, on the loop, without HTTP around it.

    python -m bench.usage_log [--exchanges 20000] [--durability process]

The plugin runs as in a gateway, with its writer and its files in a temporary folder, around exchanges that do
nothing; the same without it is taken off. Prints the median and the best of many rounds of 100.
"""

import argparse
import asyncio
import statistics
import tempfile
import time
from pathlib import Path

from plugins.usage_log import UsageLog
from proxy import Attempt, AttemptRecord, Exchange, Outcome, ResponseHead, Usage, UsageState
from proxy.app import SystemClock
from tests.support import answer, make_exchange, make_services

ROUND = 100
HEAD = answer()
USAGE = Usage(
    input_tokens=12,
    output_tokens=1290,
    total_tokens=1302,
    input_by_modality={"text": 12},
    output_by_modality={"image": 1120, "text": 170},
    images=1,
    finish_reasons=("STOP",),
    model_version="gemini-3-pro-image-preview",
)


async def answered(_: Attempt) -> ResponseHead:
    return HEAD


def attempt_of(exchange: Exchange) -> Attempt:
    record = AttemptRecord(endpoint="studio-a", region="global", started_ms=0.4)
    exchange.attempts.append(record)
    return Attempt(exchange, exchange.candidates[0], record)


def end(exchange: Exchange) -> None:
    exchange.status, exchange.outcome = 200, Outcome.COMPLETED
    exchange.usage, exchange.usage_state = USAGE, UsageState.FINAL


async def rounds(folder: Path, count: int, durability: str) -> list[float]:
    clock = SystemClock()
    plugin = UsageLog(UsageLog.Config(durability=durability), make_services(clock=clock, state=folder))
    await plugin.start()

    async def with_it(exchange: Exchange) -> None:
        attempt = attempt_of(exchange)
        waits = plugin.before_attempt(attempt)
        if waits is not None:
            await waits
        await answered(attempt)
        end(exchange)

    async def without(exchange: Exchange) -> None:
        await answered(attempt_of(exchange))
        end(exchange)

    figures = []
    for number in range(count):
        exchanges = [make_exchange(team="studio") for _ in range(2 * ROUND)]
        for each, exchange in enumerate(exchanges):
            exchange.id = f"{number:08}{each:020}"
            exchange.started = clock.monotonic()
        began = time.perf_counter()
        for exchange in exchanges[:ROUND]:
            await plugin.around_exchange(exchange, with_it)
        between = time.perf_counter()
        for exchange in exchanges[ROUND:]:
            await without(exchange)
        figures.append((between - began - (time.perf_counter() - between)) / ROUND * 1e6)
        await asyncio.sleep(0.06)  # the writer's pause
    await plugin.stop()
    return figures


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--exchanges", type=int, default=20_000)
    parser.add_argument("--durability", choices=["process", "power"], default="process")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        figures = asyncio.run(rounds(Path(folder), asked.exchanges // ROUND, asked.durability))
    print(f"{asked.durability}: median {statistics.median(figures):.1f} us an exchange, best {min(figures):.1f}")


if __name__ == "__main__":
    main()
