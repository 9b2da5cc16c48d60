"""`kill -9` under load, at any moment: no record is lost and none is doubled, by the simulator's own ledger.

A few kills; `python -m bench.kill` does as many as asked for.
"""

from pathlib import Path

import pytest

from tests.support.kills import doomed

pytestmark = pytest.mark.timeout(300)  # twelve starts of a gateway, on a busy machine

# Files so small that they are full several times between two kills, and groups so short that some die half written.
SMALL = 'max_bytes = "32 KiB"\nflush_every = "1ms"'


async def test_no_record_is_lost_or_doubled(tmp_path: Path) -> None:
    async with doomed(tmp_path, usage=SMALL) as gateway:
        async with gateway.load(callers=16):
            for kill in range(12):
                if kill % 4 == 3:  # while it starts, and recovers what the last kill left
                    await gateway.kill(within=(0.1, 0.9), of_start=True)
                else:
                    await gateway.kill(within=(0.02, 0.4))
        await gateway.end()
        found = gateway.audit()
    assert found.problems == []
    assert found.kills == 12
    assert found.lost > 0
    assert found.records > found.lost
    assert found.files > 1


async def test_a_killed_worker_s_records_are_recovered_beside_a_living_one(tmp_path: Path) -> None:
    async with doomed(tmp_path, workers=2, usage=SMALL) as gateway:
        async with gateway.load(callers=16):
            for _ in range(2):
                await gateway.kill_worker(within=(0.1, 0.3))
        await gateway.end()
        found = gateway.audit()
    assert found.problems == []
    assert found.lost > 0


async def test_with_durability_power(tmp_path: Path) -> None:
    async with doomed(tmp_path, usage=f'durability = "power"\n{SMALL}') as gateway:
        async with gateway.load(callers=16):
            for _ in range(2):
                await gateway.kill(within=(0.1, 0.3))
        await gateway.end()
        found = gateway.audit()
    assert found.problems == []
    assert found.lost > 0
