"""How long `weir usage report` takes over a gigabyte of log, plain and gzipped, and how much memory.

Run with `python -m bench.usage_report`. The records are made up and all different; nothing else is started.
"""

import argparse
import gzip
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
from decimal import Decimal
from pathlib import Path

import msgspec

from proxy import AttemptRecord, ChargeLine, Outcome, Pricing, Usage, UsageRecord, UsageState, fixed

DAYS = 8
RATES = {"gemini-3-pro-image": (2, 12), "gemini-2.5-flash": ("0.3", "2.5"), "gemini-3.8-flash": ("0.75", "3.75")}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--megabytes", type=int, default=1024)
    size_bytes = parser.parse_args().megabytes << 20
    with tempfile.TemporaryDirectory() as folder:
        plain, gzipped = Path(folder, "plain"), Path(folder, "gzipped")
        for path in (plain, gzipped):
            path.mkdir()
        count = write(plain, size_bytes)
        for file in plain.iterdir():
            (gzipped / f"{file.name}.gz").write_bytes(gzip.compress(file.read_bytes(), 6))
        print(f"{count:,} records, {size(plain):,} bytes plain, {size(gzipped):,} gzipped, {os.cpu_count()} cores")
        for path in (plain, gzipped):
            for command in ("report --by team,model,day --format csv", f"export --focus --out {folder}/focus.csv"):
                print(f"  {path.name:<8} {command.partition(' ')[0]:<7} {seconds(command.split(), path):6.1f} s")
    print(f"most memory of one command: {resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss // 1024:,} MiB")


def write(folder: Path, size_bytes: int) -> int:
    numbers, encoder, count = random.Random(1), msgspec.json.Encoder(), 0
    for day in range(1, DAYS + 1):
        with (folder / f"usage-2026-11-{day:02}.jsonl").open("wb") as out:
            while out.tell() < size_bytes // DAYS:
                group = [encoder.encode(record(numbers, day)) + b"\n" for _ in range(1000)]
                out.write(b"".join(group))
                count += len(group)
    return count


def record(numbers: random.Random, day: int) -> UsageRecord:
    model = numbers.choice(list(RATES))
    counts = (numbers.randrange(10, 50_000), numbers.randrange(10, 9000))
    charges = tuple(
        ChargeLine(meter, count, str(rate), fixed(Decimal(rate) * count / 10**6))
        for meter, count, rate in zip(("input_text", "output_text"), counts, RATES[model], strict=True)
    )
    cost = sum((Decimal(line.cost) for line in charges), Decimal(0))
    endpoint = numbers.choice(["studio-a", "studio-b", "vertex-eu"])
    moment = f"{numbers.randrange(24):02}:{numbers.randrange(60):02}:{numbers.randrange(60):02}"
    return UsageRecord(
        time=f"2026-11-{day:02}T{moment}.{numbers.randrange(1000):03}Z",
        id=f"{numbers.getrandbits(128):032x}",
        route="gemini",
        team=f"team-{numbers.randrange(20)}",
        subject=f"person-{numbers.randrange(5000)}@example.com",
        key_id=f"k{numbers.randrange(200)}",
        operation="generateContent",
        api="gemini",
        location=None,
        model=model,
        method="POST",
        path=f"/v1beta/models/{model}:generateContent",
        endpoint=endpoint,
        region="global",
        attempts=[AttemptRecord(endpoint=endpoint, region="global", started_ms=0.4, status=200, sent=True)],
        outcome=Outcome.COMPLETED,
        status=200,
        reason=None,
        first_byte_ms=numbers.randrange(90_000) / 10,
        total_ms=numbers.randrange(90_000) / 10,
        request_bytes=numbers.randrange(100_000),
        response_bytes=numbers.randrange(100_000),
        usage_state=UsageState.FINAL,
        usage=Usage(
            input_tokens=counts[0],
            output_tokens=counts[1],
            total_tokens=sum(counts),
            input_by_modality={"text": counts[0]},
            finish_reasons=("STOP",),
            response_id=f"{numbers.getrandbits(96):024x}",
        ),
        tier="standard",
        pricing=Pricing.PRICED,
        cost=fixed(cost),
        cost_currency="USD",
        price=fixed(cost * Decimal("0.375")),
        price_currency="USD",
        price_list="internal",
        prices="2026-11-21.0123abcd",
        charges=charges,
    )


def seconds(command: list[str], folder: Path) -> float:
    began = time.perf_counter()
    weir = [sys.executable, "-m", "proxy", "usage", *command, "--in", str(folder)]
    subprocess.run(weir, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return time.perf_counter() - began


def size(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.iterdir())


if __name__ == "__main__":
    main()
