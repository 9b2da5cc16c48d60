"""The write-ahead file: what counts in it, whose it is, and how much is let in before it has room."""

import asyncio
import errno
import os
import stat
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
import structlog
from structlog.testing import capture_logs

from plugins.usage_log.places import Place, Places, boot_id
from plugins.usage_log.slots import ROOM_BYTES, SLOT_BYTES, Entry, Kind, read_back
from plugins.usage_log.write_ahead import RETRY_SECONDS, WriteAhead
from tests.plugins.usage_log.disk import largest_file
from tests.support import ManualClock

SLOTS = 16  # the least that a map can begin at, where pages have 64 KiB
BOOT = boot_id()
ROOM_FOR = (SLOTS - 2) // 2  # exchanges

Make = Callable[..., Awaitable[WriteAhead]]


@pytest.fixture
async def make(tmp_path: Path) -> AsyncIterator[Make]:
    made: list[WriteAhead] = []

    async def make_ahead(clock: ManualClock | None = None, **seams: Any) -> WriteAhead:
        ahead = WriteAhead(tmp_path, clock or ManualClock(), structlog.get_logger(), chunk_slots=SLOTS, **seams)
        await asyncio.to_thread(ahead.open)
        made.append(ahead)
        return ahead

    yield make_ahead
    for ahead in made:
        await ahead.stop()


def entries(file: Path) -> list[Entry]:
    content = file.read_bytes()
    found = list(read_back(content[at : at + SLOT_BYTES] for at in range(0, len(content), SLOT_BYTES)))
    assert all(isinstance(entry, Entry) for entry in found)
    return sorted(entry for entry in found if isinstance(entry, Entry))


def lines(file: Path) -> list[tuple[Kind, bytes]]:
    return [(entry.kind, entry.line) for entry in entries(file) if entry.kind is not Kind.PLACE]


def places(file: Path) -> Places:
    last = [entry for entry in entries(file) if entry.kind is Kind.PLACE][-1]
    return msgspec.json.decode(last.line, type=Places)


async def test_an_id_has_its_last_line(make: Make, tmp_path: Path) -> None:
    ahead = await make()
    assert ahead.put("x", b"first", Kind.OPENING)
    assert ahead.put("y", b"other", Kind.OPENING)
    assert ahead.put("x", b"second", Kind.OPENING)
    assert lines(tmp_path / "ahead-1.wal") == [(Kind.OPENING, b"other"), (Kind.OPENING, b"second")]

    assert ahead.put("x", b"end", Kind.ENDED)
    assert lines(tmp_path / "ahead-1.wal") == [(Kind.OPENING, b"other"), (Kind.ENDED, b"end")]

    ahead.done(["x", "y", "never seen"])
    assert (lines(tmp_path / "ahead-1.wal"), ahead.held) == ([], 0)


async def test_a_long_line_takes_several_slots_and_gives_them_back(make: Make, tmp_path: Path) -> None:
    ahead = await make()
    long = os.urandom(3 * ROOM_BYTES)
    for _ in range(SLOTS):
        assert ahead.put("x", long, Kind.OPENING)
        assert ahead.put("x", b"short", Kind.ENDED)
        assert ahead.put("y", long, Kind.ENDED)
        assert lines(tmp_path / "ahead-1.wal") == [(Kind.ENDED, b"short"), (Kind.ENDED, long)]
        ahead.done(["x", "y"])
    assert ahead.size_bytes == SLOTS * SLOT_BYTES


async def test_a_line_that_has_no_room_changes_nothing(make: Make, tmp_path: Path) -> None:
    ahead = await make()
    assert ahead.put("x", b"opening", Kind.OPENING)

    assert not ahead.put("x", b"-" * SLOT_BYTES * SLOTS, Kind.ENDED)

    assert lines(tmp_path / "ahead-1.wal") == [(Kind.OPENING, b"opening")]


async def test_the_place_of_the_last_group_is_known(make: Make, tmp_path: Path) -> None:
    ahead = await make()
    assert places(tmp_path / "ahead-1.wal") == Places(BOOT, ())
    for offset in range(5):
        ahead.place("usage-2026-01-31.jsonl", offset)
        assert places(tmp_path / "ahead-1.wal") == Places(BOOT, (Place("usage-2026-01-31.jsonl", offset),))


async def test_every_process_has_a_file_of_its_own(make: Make, tmp_path: Path) -> None:
    first, second = await make(), await make()
    assert (first.name, second.name) == ("ahead-1.wal", "ahead-2.wal")
    assert stat.S_IMODE((tmp_path / "ahead-1.wal").stat().st_mode) | 0o640 == 0o640

    await first.stop()
    assert (tmp_path / "ahead-1.wal").stat().st_size == 0
    assert (await make()).name == "ahead-1.wal"


async def test_what_counts_at_the_end_stays_and_is_not_taken_over(make: Make, tmp_path: Path) -> None:
    ahead = await make()
    ahead.put("x", b"line", Kind.ENDED)
    await ahead.stop()

    assert lines(tmp_path / "ahead-1.wal") == [(Kind.ENDED, b"line")]
    assert (await make()).name == "ahead-2.wal"
    assert lines(tmp_path / "ahead-1.wal") == [(Kind.ENDED, b"line")]


async def test_it_grows_before_it_lets_in_more_than_it_has_room_for(make: Make, tmp_path: Path) -> None:
    ahead = await make()
    for number in range(ROOM_FOR):
        await ahead.enter()
        assert ahead.put(f"{number}", b"opening", Kind.OPENING)
    assert ahead.size_bytes == SLOTS * SLOT_BYTES

    await ahead.enter()

    assert ahead.size_bytes == (tmp_path / "ahead-1.wal").stat().st_size == 2 * SLOTS * SLOT_BYTES
    assert len(lines(tmp_path / "ahead-1.wal")) == ROOM_FOR


async def test_arrivals_in_one_moment_grow_it_once(make: Make) -> None:
    ahead = await make()
    await asyncio.gather(*(ahead.enter() for _ in range(ROOM_FOR + 5)))

    assert ahead.size_bytes == 2 * SLOTS * SLOT_BYTES


async def test_an_arrival_that_is_cut_while_room_is_made_does_not_have_it_made_twice(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two maps of one part of the file would hand out each of its slots twice."""
    ahead = await make()
    for _ in range(ROOM_FOR):
        await ahead.enter()
    pwrite, began, go_on = os.pwrite, threading.Event(), threading.Event()

    def held(fd: int, data: bytes, offset: int) -> int:
        began.set()
        assert go_on.wait(60)
        return pwrite(fd, data, offset)

    monkeypatch.setattr(os, "pwrite", held)
    cut = asyncio.ensure_future(ahead.enter())
    await asyncio.to_thread(began.wait, 60)
    cut.cancel()
    others = asyncio.gather(*(ahead.enter() for _ in range(ROOM_FOR)))
    for _ in range(1000):  # whoever would make room as well begins now
        await asyncio.sleep(0)
    go_on.set()
    await others

    assert ahead.size_bytes == (tmp_path / "ahead-1.wal").stat().st_size == 2 * SLOTS * SLOT_BYTES
    for number in range(2 * SLOTS - 2):
        assert ahead.put(f"{number}", b"line", Kind.OPENING)
    assert len(lines(tmp_path / "ahead-1.wal")) == 2 * SLOTS - 2


async def test_where_lines_outlive_a_power_cut_one_counts_until_the_next_is_on_the_disk(
    make: Make, tmp_path: Path
) -> None:
    ahead = await make(sync=True)
    file = tmp_path / "ahead-1.wal"
    ahead.put("x", b"first", Kind.OPENING)
    await ahead.synced("x")
    ahead.put("x", b"second", Kind.OPENING)
    assert [line for _, line in lines(file)] == [b"first", b"second"]

    await ahead.synced("x")
    assert [line for _, line in lines(file)] == [b"second"]

    ahead.put("x", b"end", Kind.ENDED)
    assert [line for _, line in lines(file)] == [b"second", b"end"]
    ahead.done(["x"])
    assert lines(file) == []
    for number in range(SLOTS - 2):  # every slot is free again, once
        assert ahead.put(f"{number}", b"line", Kind.ENDED)
    assert not ahead.put("one more", b"line", Kind.ENDED)


async def test_a_full_disk_lets_nobody_in_and_all_inside_settle(make: Make, tmp_path: Path) -> None:
    clock = ManualClock()
    ahead = await make(clock)
    with capture_logs() as logs:
        with largest_file(SLOTS * SLOT_BYTES + 100):
            for number in range(ROOM_FOR):
                await ahead.enter()
                assert ahead.put(f"{number}", b"opening", Kind.OPENING)
            for _ in range(3):
                with pytest.raises(OSError, match="too large"):
                    await ahead.enter()
            assert ahead.error is not None
            for number in range(ROOM_FOR):
                assert ahead.put(f"{number}", b"another try", Kind.OPENING)
            for number in range(ROOM_FOR):
                assert ahead.put(f"{number}", b"end", Kind.ENDED)
            assert (tmp_path / "ahead-1.wal").stat().st_size == SLOTS * SLOT_BYTES, "no hole is left at its end"
            await retry(clock, lambda: clock.now > 1_750_000_002)
            assert ahead.error is not None
        await retry(clock, lambda: ahead.error is None)
        await ahead.enter()
    assert [log["log_level"] for log in logs] == ["error", "warning"]
    assert ahead.size_bytes == 2 * SLOTS * SLOT_BYTES


async def test_many_wait_for_one_sync(make: Make) -> None:
    syncs: list[int] = []
    ahead = await make(sync_data=syncs.append)
    for number in range(5):
        ahead.put(f"{number}", b"opening", Kind.OPENING)

    await asyncio.gather(*(ahead.synced(f"{number}") for number in range(5)))
    assert len(syncs) == 1
    await ahead.synced("0")
    assert len(syncs) == 2


async def test_a_sync_that_began_before_a_line_is_not_its_own(make: Make) -> None:
    began, end = threading.Event(), threading.Event()
    seen: list[int] = []

    def sync(_: int) -> None:
        seen.append(ahead.held)
        began.set()
        assert end.wait(60)

    ahead = await make(sync_data=sync)
    ahead.put("1", b"opening", Kind.OPENING)
    first = asyncio.ensure_future(ahead.synced("1"))
    await asyncio.to_thread(began.wait, 60)
    ahead.put("2", b"opening", Kind.OPENING)
    second = asyncio.ensure_future(ahead.synced("2"))
    end.set()
    await asyncio.gather(first, second)

    assert seen == [1, 2]


async def test_a_sync_that_fails_is_every_waiter_s_and_is_made_again(make: Make) -> None:
    clock = ManualClock()
    broken = True

    def sync(_: int) -> None:
        if broken:
            raise OSError(errno.EIO, "input/output error")

    ahead = await make(clock, sync_data=sync)
    ahead.put("1", b"opening", Kind.OPENING)
    with capture_logs() as logs:
        failed = await asyncio.gather(ahead.synced("1"), ahead.synced("1"), return_exceptions=True)
        assert [type(error) for error in failed] == [OSError, OSError]
        assert "input/output" in (ahead.error or "")
        broken = False
        await retry(clock, lambda: ahead.error is None)
    assert [log["log_level"] for log in logs] == ["error", "warning"]
    await ahead.synced("1")


async def test_a_file_taken_away_is_noticed(make: Make, tmp_path: Path) -> None:
    ahead = await make()
    assert await asyncio.to_thread(ahead.in_place)
    (tmp_path / "ahead-1.wal").rename(tmp_path / "elsewhere")
    assert not await asyncio.to_thread(ahead.in_place)


async def retry(clock: ManualClock, true: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not true():  # what is awaited happens in a thread that sets no event
            await clock.advance(RETRY_SECONDS)
