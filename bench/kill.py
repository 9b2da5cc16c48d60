"""`kill -9` at random moments under load, and the usage log against the simulator's own ledger.

    python -m bench.kill [--kills 60] [--callers 16] [--seed 1]

Three gateways take the kills in turn: one process, two workers, and one that syncs for power cuts; usage files
of 32 KiB, so that they are full many times between two kills; every fourth kill falls into a start. Prints what was
sent, seen, recorded and lost. Goal: 0 missing, 0 doubled; the exit status says so.
"""

import argparse
import asyncio
import sys
import tempfile
from pathlib import Path

from tests.support.kills import Audit, doomed

SMALL = 'max_bytes = "32 KiB"\nflush_every = "1ms"\n'
GATEWAYS = {
    "one process": (1, SMALL),
    "two workers": (2, SMALL),
    "power": (1, f'{SMALL}durability = "power"\n'),
}


async def run(kills: int, callers: int, workers: int, usage: str, seed: int) -> Audit:
    with tempfile.TemporaryDirectory() as folder:
        async with doomed(Path(folder), workers=workers, usage=usage, seed=seed) as gateway:
            async with gateway.load(callers):
                for kill in range(kills):
                    if workers > 1:
                        await gateway.kill_worker(within=(0.02, 0.5))
                    elif kill % 4 == 3:
                        await gateway.kill(within=(0.1, 0.9), of_start=True)
                    else:
                        await gateway.kill(within=(0.02, 0.5))
            await gateway.end()
            return gateway.audit()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--kills", type=int, default=60)
    parser.add_argument("--callers", type=int, default=16)
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    # A worker that dies young is replaced ever later: twenty kills of workers would take minutes.
    shares = {"two workers": asked.kills // 6, "power": asked.kills // 3}
    shares["one process"] = asked.kills - sum(shares.values())
    rows = ["kills", "sent", "answered", "seen", "records", "lost", "files", "sealed", "problems"]
    print(f"{'':12}" + "".join(f"{row:>10}" for row in rows))
    failed = False
    for name, (workers, usage) in GATEWAYS.items():
        found = asyncio.run(run(shares[name], asked.callers, workers, usage, asked.seed))
        figures = [getattr(found, row) for row in rows[:-1]]
        print(f"{name:12}" + "".join(f"{figure:>10}" for figure in (*figures, len(found.problems))), flush=True)
        for problem in found.problems:
            print(f"    {problem}")
        failed = failed or bool(found.problems)
    sys.exit(failed)


if __name__ == "__main__":
    main()
