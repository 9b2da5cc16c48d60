"""The plugin over a scripted exchange: one line whatever its end, and none lost to a bad disk."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest
from structlog.testing import capture_logs

from plugins.usage_log import UsageLog
from plugins.usage_log.writer import GROUP, LAST_TRIES, Writer
from proxy import (
    Attempt,
    AttemptRecord,
    Bytes,
    Charge,
    EndpointFailed,
    Exchange,
    Outcome,
    Pricing,
    Refusal,
    ResponseHead,
    Seconds,
    UsageRecord,
)
from proxy.engine.chain import wrap_attempt
from tests.plugins.usage_log.disk import largest_file
from tests.support import ManualClock, make_endpoint, make_exchange, make_services

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
        for number in range(3):
            await plugin.around_exchange(numbered(number), complete)
        await clock.advance(0)  # the writer begins its pause
        await clock.advance(0.04)
        assert records(tmp_path / "usage") == []
        assert await plugin.status() == {
            "queued": 3,
            "written": 0,
            "file": FILE,
            "error": None,
            "turned_away": 0,
            "ahead": {"file": "ahead-1.wal", "lines": 3, "bytes": 4 << 20},
        }

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
            await plugin.around_exchange(numbered(number), complete)

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


async def test_a_full_disk_stops_admission_at_once_settles_and_recovers(tmp_path: Path) -> None:
    clock = ManualClock()
    with capture_logs() as logs:
        async with running(tmp_path, clock) as plugin:
            gate = asyncio.Event()
            in_flight = asyncio.ensure_future(plugin.around_exchange(numbered(0), held(gate)))
            with largest_file(100):
                await plugin.around_exchange(numbered(1), complete)
                await clock.advance(0)
                await clock.advance(0.1)
                await until(has_error(plugin))
                assert "EFBIG" in str(plugin.unready()) or "too large" in str(plugin.unready())

                refused = make_exchange()
                with pytest.raises(Refusal) as caught:
                    await plugin.around_exchange(refused, never)
                assert (caught.value.code, caught.value.reason) == (503, "USAGE_LOG_UNWRITABLE")
                assert caught.value.retry_after == Writer.RETRY_SECONDS
                assert refused.outcome is Outcome.REFUSED

                gate.set()  # what was admitted is recorded
                await in_flight
                status = await plugin.status()
                assert (status["queued"], status["turned_away"], status["ahead"]["lines"]) == (2, 1, 2)
                assert (tmp_path / "usage" / FILE).read_bytes() == b"", "no torn line"

            await clock.advance(0)
            await clock.advance(Writer.RETRY_SECONDS)
            await until(status_is(plugin, queued=0, written=2, error=None))
            assert plugin.unready() is None
            await plugin.around_exchange(numbered(2), complete)

    assert [record.id for record in records(tmp_path / "usage")] == ["1", "0", "2"]
    assert [log["log_level"] for log in logs] == ["error", "warning"]


async def test_a_disk_that_hangs_stops_admission_when_enough_wait(tmp_path: Path) -> None:
    async with running(tmp_path, ManualClock(), queue=3) as plugin:
        for number in range(3):
            assert plugin.unready() is None
            await plugin.around_exchange(numbered(number), complete)
        assert plugin.unready() == "3 records wait for a disk that hangs"
        with pytest.raises(Refusal):
            await plugin.around_exchange(make_exchange(), never)


async def test_what_cannot_be_written_at_the_end_is_written_by_the_next_start(tmp_path: Path) -> None:
    clock = ManualClock()
    plugin = UsageLog(UsageLog.Config(), make_services(clock=clock, state=tmp_path))
    await plugin.start()
    await plugin.around_exchange(make_exchange(team="studio"), complete)

    with capture_logs() as logs, largest_file(100):
        await stop(plugin, clock)
    assert records(tmp_path / "usage") == []
    assert [(log["log_level"], log.get("records")) for log in logs] == [("error", None), ("error", 1)]
    assert clock.now >= 1_750_000_000.0 + (LAST_TRIES - 1) * Writer.RETRY_SECONDS

    async with running(tmp_path, clock):
        pass
    assert [record.team for record in records(tmp_path / "usage")] == ["studio"]


async def test_where_no_start_would_find_it_the_service_log_gets_the_record(tmp_path: Path) -> None:
    clock = ManualClock()
    plugin = UsageLog(UsageLog.Config(), make_services(clock=clock, state=tmp_path))
    await plugin.start()
    await plugin.around_exchange(make_exchange(team="studio"), complete)
    in_the_way(tmp_path / "usage")

    with capture_logs() as logs:
        await stop(plugin, clock)

    last = logs[-1]
    assert (last["log_level"], len(logs)) == ("critical", 2)
    assert msgspec.json.decode(last["record"], type=UsageRecord).team == "studio"


async def test_an_exchange_has_a_line_before_its_attempt_is_sent_and_after_its_process_died(tmp_path: Path) -> None:
    """The file as it is when the attempt begins is what a kill would leave: another start gets a copy of it."""
    clock = ManualClock()
    services = make_services(clock=clock, state=tmp_path)
    plugin = UsageLog(UsageLog.Config(durability="power"), services)
    await plugin.start()
    exchange = make_exchange(team="studio", clock=clock)
    attempt = Attempt(exchange, make_endpoint("eu"), AttemptRecord(endpoint="eu", region="eu", started_ms=1.0))
    exchange.attempts.append(attempt.record)
    copied: list[bytes] = []

    async def die(attempt: Attempt) -> ResponseHead:
        assert attempt.record.sent is False, "whoever sends says so"
        copied.append(await asyncio.to_thread((tmp_path / "usage" / "ahead-1.wal").read_bytes))
        raise EndpointFailed("connect_failed", sent=False)

    async def call_next(exchange: Exchange) -> None:
        with pytest.raises(EndpointFailed):
            await wrap_attempt([plugin], die)(attempt)

    await plugin.around_exchange(exchange, call_next)
    await plugin.stop()
    again = tmp_path / "again"
    (again / "usage").mkdir(parents=True)
    (again / "usage" / "ahead-7.wal").write_bytes(copied[0])
    with capture_logs() as logs:
        async with running(again, clock):
            pass

    (record,) = records(again / "usage")
    assert (record.outcome, record.reason, record.team) == (Outcome.LOST, "GATEWAY_KILLED", "studio")
    assert [(tried.endpoint, tried.sent) for tried in record.attempts] == [("eu", True)]
    assert record.pricing is not Pricing.PRICED
    assert [log["lost"] for log in logs] == [1]


async def test_an_attempt_that_has_no_room_for_its_line_is_not_sent(tmp_path: Path) -> None:
    async def call_next(exchange: Exchange) -> None:
        exchange.labels |= {f"{number}": "x" * 256 for number in range(20_000)}  # more than the whole file
        record = AttemptRecord(endpoint="eu", region="eu", started_ms=1.0)
        exchange.attempts.append(record)
        await wrap_attempt([plugin], not_sent)(Attempt(exchange, make_endpoint("eu"), record))

    async with running(tmp_path, ManualClock()) as plugin:
        with pytest.raises(Refusal) as caught:
            await plugin.around_exchange(make_exchange(), call_next)
        assert caught.value.reason == "USAGE_LOG_UNWRITABLE"

    (record,) = records(tmp_path / "usage")  # memory holds it, and the disk takes it
    assert (record.outcome, record.attempts[0].sent) == (Outcome.REFUSED, False)


async def test_a_record_has_its_charge_and_so_has_the_exchange(tmp_path: Path) -> None:
    class Flat:
        def charge(self, record: UsageRecord) -> Charge:
            assert record.outcome is Outcome.COMPLETED
            return Charge(pricing=Pricing.PRICED, cost=Decimal("0.1385"), price=Decimal("0.09"), prices="2026-01-01")

    plugin = UsageLog(UsageLog.Config(), make_services(prices=Flat(), state=tmp_path))
    await plugin.start()
    exchange = make_exchange()
    await plugin.around_exchange(exchange, complete)
    await plugin.stop()

    (record,) = records(tmp_path / "usage")
    assert (record.pricing, record.cost, record.price, record.prices) == ("priced", "0.1385", "0.09", "2026-01-01")
    assert exchange.charge is not None
    assert exchange.charge.cost == Decimal("0.1385")


async def test_a_price_list_that_fails_costs_neither_the_record_nor_the_room_for_others(tmp_path: Path) -> None:
    class Broken:
        def charge(self, record: UsageRecord) -> Charge:
            raise ArithmeticError("planted")

    plugin = UsageLog(UsageLog.Config(), make_services(prices=Broken(), state=tmp_path))
    await plugin.start()
    with capture_logs() as logs:
        await plugin.around_exchange(make_exchange(team="studio"), complete)
    await plugin.stop()

    (record,) = records(tmp_path / "usage")
    assert (record.team, record.outcome, record.pricing) == ("studio", Outcome.COMPLETED, Pricing.UNPRICED)
    assert [(log["log_level"], log["record"]) for log in logs] == [("error", "x-1")]


async def test_a_record_that_cannot_be_made_takes_no_room_from_others(tmp_path: Path) -> None:
    class Nameless:
        def __str__(self) -> str:
            raise RuntimeError("planted")

    async def label(exchange: Exchange) -> None:
        exchange.labels["who"] = Nameless()  # type: ignore[assignment]  # a plugin may do that

    async with running(tmp_path, ManualClock()) as plugin:
        for _ in range(600):  # more than a write-ahead file has room for at first
            with pytest.raises(RuntimeError, match="planted"):
                await plugin.around_exchange(make_exchange(), label)
        status = await plugin.status()

    assert status["ahead"]["bytes"] == 4 << 20


async def test_a_start_that_fails_holds_nothing(tmp_path: Path) -> None:
    """A reload that was refused leaves the process running: the next one finds files and locks free."""

    def descriptors() -> int:
        return len(list(Path("/dev/fd").iterdir()))

    await asyncio.to_thread(descriptors)  # the thread that starts use
    before = descriptors()
    for _ in range(3):
        with largest_file(100), pytest.raises(OSError, match="too large: the usage log in ") as caught:
            await UsageLog(UsageLog.Config(), make_services(state=tmp_path)).start()
        assert str(tmp_path / "usage") in (caught.value.strerror or ""), "`weir serve` says that"
    assert descriptors() == before

    async with running(tmp_path, ManualClock()) as plugin:
        status = await plugin.status()
    assert (status["file"], status["ahead"]["file"]) == (FILE, "ahead-1.wal")


async def test_a_file_that_is_full_is_followed_by_another(tmp_path: Path) -> None:
    async with running(tmp_path, ManualClock(), max_bytes=Bytes(1000)) as plugin:
        for number in range(2 * GROUP):
            await plugin.around_exchange(numbered(number), complete)
            if number == GROUP:
                await until(is_written(plugin, GROUP))

    assert sorted(int(record.id) for record in records(tmp_path / "usage")) == list(range(2 * GROUP))
    assert len(list((tmp_path / "usage").glob("usage-*.jsonl"))) > 1


async def test_a_journal_that_cannot_be_opened_keeps_the_gateway_from_starting(tmp_path: Path) -> None:
    (tmp_path / "usage").write_text("in the way")

    with pytest.raises(OSError, match="usage"):
        await UsageLog(UsageLog.Config(), make_services(state=tmp_path)).start()


@pytest.mark.parametrize(
    ("settings", "key"),
    [
        ({"flush_every": Seconds(0)}, "flush_every"),
        ({"queue": 0}, "queue"),
        ({"max_bytes": Bytes(0)}, "max_bytes"),
    ],
)
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
    raise AssertionError("a usage log that cannot be written must admit nothing")


async def not_sent(attempt: Attempt) -> ResponseHead:
    raise AssertionError("an attempt without a line must not be sent")


def numbered(number: int) -> Exchange:
    exchange = make_exchange()
    exchange.id = str(number)
    return exchange


async def stop(plugin: UsageLog, clock: ManualClock) -> None:
    """To the end of its last tries."""
    stopping = asyncio.ensure_future(plugin.stop())

    async def stopped() -> bool:
        await clock.advance(Writer.RETRY_SECONDS)
        return stopping.done()

    await until(stopped)
    await stopping


def has_error(plugin: UsageLog) -> Callable[[], Awaitable[bool]]:
    async def check() -> bool:
        return (await plugin.status())["error"] is not None

    return check


def is_written(plugin: UsageLog, count: int) -> Callable[[], Awaitable[bool]]:
    async def check() -> bool:
        return bool((await plugin.status())["written"] >= count)

    return check
