"""The plugin over a scripted exchange: one line whatever its end, and none lost to a bad disk."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
from structlog.testing import capture_logs

from plugins.usage_log import UsageLog
from plugins.usage_log.writer import GROUP, LAST_TRIES, Writer
from proxy import Exchange, Outcome, Refusal, Seconds, UsageRecord
from tests.support import ManualClock, make_exchange, make_services

FILE = "usage-2025-06-15.jsonl"


@asynccontextmanager
async def running(tmp_path: Path, clock: ManualClock, **settings: Any) -> AsyncIterator[UsageLog]:
    plugin = UsageLog(UsageLog.Config(**settings), make_services(clock=clock, state=tmp_path))
    await plugin.start()
    yield plugin
    await plugin.stop()


def records(folder: Path) -> list[UsageRecord]:
    files = sorted(folder.glob("usage-*.jsonl"))
    return [msgspec.json.decode(line, type=UsageRecord) for file in files for line in file.read_bytes().splitlines()]


async def complete(exchange: Exchange) -> None:
    exchange.status, exchange.outcome = 200, Outcome.COMPLETED


async def until(true: Callable[[], Awaitable[bool]]) -> None:
    """Let the loop and the writer's thread run until it is so."""
    async with asyncio.timeout(60):
        while not await true():  # what is awaited happens in a thread that sets no event
            await asyncio.sleep(0)


def status_is(plugin: UsageLog, **wanted: Any) -> Callable[[], Awaitable[bool]]:
    async def check() -> bool:
        status = await plugin.status()
        return all(status[name] == value for name, value in wanted.items())

    return check


async def refuse(exchange: Exchange) -> None:
    raise exchange.refuse(429, "Too many.", reason="QUOTA")


async def leave(exchange: Exchange) -> None:
    exchange.outcome = Outcome.CLIENT_GONE


async def break_off(exchange: Exchange) -> None:
    raise asyncio.CancelledError


@pytest.mark.parametrize(
    ("call_next", "raised", "outcome", "status"),
    [
        (complete, None, Outcome.COMPLETED, 200),
        (refuse, Refusal, Outcome.REFUSED, 429),
        (leave, None, Outcome.CLIENT_GONE, None),
        (break_off, asyncio.CancelledError, Outcome.LOST, None),
    ],
)
async def test_one_line_whatever_the_end(
    tmp_path: Path, call_next: Any, raised: type[BaseException] | None, outcome: Outcome, status: int | None
) -> None:
    clock = ManualClock()
    async with running(tmp_path, clock) as plugin:
        exchange = make_exchange(team="studio", clock=clock)
        clock.now += 2
        if raised is None:
            await plugin.around_exchange(exchange, call_next)
        else:
            with pytest.raises(raised):
                await plugin.around_exchange(exchange, call_next)

    (record,) = records(tmp_path / "usage")
    assert (record.id, record.team, record.outcome, record.status) == ("x-1", "studio", outcome, status)
    assert record.total_ms == 2000.0


async def test_a_task_cancelled_in_mid_exchange_leaves_its_line(tmp_path: Path) -> None:
    async def hang(exchange: Exchange) -> None:
        await asyncio.Event().wait()

    async with running(tmp_path, ManualClock()) as plugin:
        task = asyncio.ensure_future(plugin.around_exchange(make_exchange(), hang))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    assert [record.outcome for record in records(tmp_path / "usage")] == [Outcome.LOST]


async def test_the_end_is_the_exchange_s_own_when_it_knows_it(tmp_path: Path) -> None:
    clock = ManualClock()
    async with running(tmp_path, clock) as plugin:
        exchange = make_exchange(clock=clock)
        exchange.ended = exchange.started + 0.5
        clock.now += 2
        await plugin.around_exchange(exchange, complete)

    assert records(tmp_path / "usage")[0].total_ms == 500.0


async def test_lines_are_committed_in_groups_after_the_pause(tmp_path: Path) -> None:
    clock = ManualClock()
    async with running(tmp_path, clock, flush_every=Seconds(0.05)) as plugin:
        for _ in range(3):
            await plugin.around_exchange(make_exchange(), complete)
        await clock.advance(0)  # the writer begins its pause
        await clock.advance(0.04)
        assert records(tmp_path / "usage") == []
        assert await plugin.status() == {"queued": 3, "written": 0, "file": FILE, "error": None, "turned_away": 0}

        await clock.advance(0.02)
        await until(status_is(plugin, queued=0, written=3))
        assert len(records(tmp_path / "usage")) == 3


async def test_a_whole_group_does_not_wait_for_the_pause(tmp_path: Path) -> None:
    async with running(tmp_path, ManualClock()) as plugin:
        for _ in range(GROUP):
            await plugin.around_exchange(make_exchange(), complete)
        await until(status_is(plugin, queued=0, written=GROUP))


async def test_stop_writes_what_waits_in_order(tmp_path: Path) -> None:
    async with running(tmp_path, ManualClock(), durability="power") as plugin:
        for number in range(700):
            exchange = make_exchange()
            exchange.id = str(number)
            await plugin.around_exchange(exchange, complete)

    assert [record.id for record in records(tmp_path / "usage")] == [str(number) for number in range(700)]


async def test_a_line_goes_to_the_file_of_the_day_it_is_written(tmp_path: Path) -> None:
    clock = ManualClock()
    async with running(tmp_path, clock) as plugin:
        exchange = make_exchange(clock=clock)
        clock.now += 86_400
        await plugin.around_exchange(exchange, complete)

    assert (tmp_path / "usage" / FILE).read_bytes() == b""
    assert b'"time":"2025-06-15T' in (tmp_path / "usage" / "usage-2025-06-16.jsonl").read_bytes()


async def test_the_folder_can_be_set(tmp_path: Path) -> None:
    async with running(tmp_path, ManualClock(), path=tmp_path / "elsewhere") as plugin:
        await plugin.around_exchange(make_exchange(), complete)

    assert len(records(tmp_path / "elsewhere")) == 1


async def test_a_disk_that_fails_delays_records_then_stops_admission_then_recovers(tmp_path: Path) -> None:
    clock = ManualClock()
    with capture_logs() as logs:
        async with running(tmp_path, clock, queue=3) as plugin:
            in_the_way(tmp_path / "usage")
            gate = asyncio.Event()
            in_flight = asyncio.ensure_future(plugin.around_exchange(make_exchange(), held(gate)))
            await asyncio.sleep(0)
            for _ in range(3):
                await plugin.around_exchange(make_exchange(), complete)
            await clock.advance(0)
            await clock.advance(0.1)
            await until(has_error(plugin))
            assert (await plugin.status())["queued"] == 3

            refused = make_exchange()
            with pytest.raises(Refusal) as caught:
                await plugin.around_exchange(refused, never)
            assert (caught.value.code, caught.value.reason) == (503, "USAGE_LOG_FULL")
            assert caught.value.retry_after == Writer.RETRY_SECONDS
            assert refused.outcome is Outcome.REFUSED

            gate.set()  # what was admitted is recorded, full or not
            await in_flight
            status = await plugin.status()
            assert (status["queued"], status["turned_away"]) == (4, 1)

            (tmp_path / "usage").unlink()
            await clock.advance(0)
            await clock.advance(Writer.RETRY_SECONDS)
            await until(status_is(plugin, queued=0, written=4, error=None))
            await plugin.around_exchange(make_exchange(), complete)

    assert len(records(tmp_path / "usage")) == 5
    assert [log["log_level"] for log in logs] == ["error", "warning"]


async def test_what_cannot_be_written_at_the_end_goes_to_the_service_log(tmp_path: Path) -> None:
    clock = ManualClock()
    plugin = UsageLog(UsageLog.Config(), make_services(clock=clock, state=tmp_path))
    await plugin.start()
    await plugin.around_exchange(make_exchange(team="studio"), complete)
    in_the_way(tmp_path / "usage")

    with capture_logs() as logs:
        stopping = asyncio.ensure_future(plugin.stop())

        async def stopped() -> bool:
            await clock.advance(Writer.RETRY_SECONDS)
            return stopping.done()

        await until(stopped)
        await stopping

    last = logs[-1]
    assert (last["log_level"], len(logs)) == ("critical", 2)
    assert msgspec.json.decode(last["record"], type=UsageRecord).team == "studio"
    assert clock.now >= 1_750_000_000.0 + (LAST_TRIES - 1) * Writer.RETRY_SECONDS


async def test_a_journal_that_cannot_be_opened_keeps_the_gateway_from_starting(tmp_path: Path) -> None:
    (tmp_path / "usage").write_text("in the way")

    with pytest.raises(OSError, match="usage"):
        await UsageLog(UsageLog.Config(), make_services(state=tmp_path)).start()


@pytest.mark.parametrize(("settings", "key"), [({"flush_every": Seconds(0)}, "flush_every"), ({"queue": 0}, "queue")])
def test_settings_that_cannot_work_are_named(settings: dict[str, Any], key: str) -> None:
    with pytest.raises(ValueError, match=key):
        UsageLog(UsageLog.Config(**settings), make_services())


def in_the_way(folder: Path) -> None:
    """Make every further write fail, for any user: the folder goes, a file has its name."""
    for file in folder.iterdir():
        file.unlink()
    folder.rmdir()
    folder.write_text("in the way")


def held(gate: asyncio.Event) -> Callable[[Exchange], Awaitable[None]]:
    async def wait(exchange: Exchange) -> None:
        await gate.wait()

    return wait


async def never(exchange: Exchange) -> None:
    raise AssertionError("a full usage log must admit nothing")


def has_error(plugin: UsageLog) -> Callable[[], Awaitable[bool]]:
    async def check() -> bool:
        return (await plugin.status())["error"] is not None

    return check
